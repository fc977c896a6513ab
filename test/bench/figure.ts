/** How a figure is measured and printed: subject and reference alternate in one run; medians and spread, one JSON line. */
export interface Figure {
  readonly ours: number;
  readonly reference: number;
  readonly rounds: number;
  /** Half the distance between the smallest and the largest, as a part of the median; the worse of the two sides. */
  readonly spread: number;
}

export async function compare(rounds: number, sides: { readonly ours: () => Promise<number>; readonly reference: () => Promise<number> }): Promise<Figure> {
  const ours: number[] = [];
  const reference: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    // The order changes with each round, so that none profits from what the other left warm.
    if (round % 2 === 0) {
      ours.push(await sides.ours());
      reference.push(await sides.reference());
    } else {
      reference.push(await sides.reference());
      ours.push(await sides.ours());
    }
  }
  return figureOf(ours, reference);
}

/** Of one value a round from each side. */
export function figureOf(ours: readonly number[], reference: readonly number[]): Figure {
  return { ours: median(ours), reference: median(reference), rounds: ours.length, spread: Math.max(spreadOf(ours), spreadOf(reference)) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function spreadOf(values: readonly number[]): number {
  const middle = median(values);
  return middle === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / 2 / middle;
}

/** What each figure must reach: undefined where it does, else what was wanted. */
const targets: Readonly<Record<string, (figure: Figure) => string | undefined>> = {
  'pipeline-embedded': ({ ours }) => (ours >= 500 ? undefined : 'at least 500 builds a second'),
  'pipeline-rabbitmq': ({ ours, reference }) => (ours / reference >= 0.3 ? undefined : 'a ratio of at least 0.3'),
  'idle-latency-rabbitmq': ({ ours, reference }) => (ours / reference <= 3 ? undefined : 'a ratio of at most 3'),
  'start-latency': ({ ours }) => (ours <= 50 ? undefined : 'at most 50 ms'),
  'resolve-warm': ({ ours, reference }) => (ours <= 300 && ours / reference <= 1.5 ? undefined : 'at most 300 ms and a ratio of at most 1.5'),
  'resolve-cold': ({ ours, reference }) => (ours / reference <= 1.3 ? undefined : 'a ratio of at most 1.3'),
  'package-search': ({ ours }) => (ours <= 5 ? undefined : 'at most 5 ms'),
  'resolver-memory': ({ ours }) => (ours <= 200 ? undefined : 'at most 200 MB'),
  'engine-native': ({ ours, reference }) => (ours / reference <= 1.05 ? undefined : 'a ratio of at most 1.05'),
  'engine-kiwi': ({ ours, reference }) => (ours / reference <= 1.05 ? undefined : 'a ratio of at most 1.05'),
  download: ({ ours, reference }) => (ours / reference <= 1.3 ? undefined : 'a ratio of at most 1.3'),
  upload: ({ ours, reference }) => (ours / reference <= 1.1 ? undefined : 'a ratio of at most 1.1'),
  'side-repo-1000-cached': ({ ours, reference }) => (ours / reference <= 1 ? undefined : 'a ratio of at most 1.0'),
  'side-repo-plus-one': ({ ours }) => (ours <= 500 ? undefined : 'at most 500 ms'),
  'side-repo-same': ({ ours }) => (ours <= 50 ? undefined : 'at most 50 ms'),
  'smoke-live': ({ ours, reference }) => (ours <= 30 && ours / reference <= 1.1 ? undefined : 'at most 30 s and a ratio of at most 1.10'),
  'two-builds': ({ ours, reference }) => (ours / reference <= 2.1 ? undefined : 'a ratio of at most 2.1'),
  overhead: ({ ours, reference }) => (ours / reference <= 1.1 ? undefined : 'a ratio of at most 1.10'),
};

export const rounded = (value: number) => Number(value.toPrecision(4));

/** Everything but the figures goes to standard error. */
export function note(text: string): void {
  console.error(text);
}

/** One line of JSON. A figure that misses its target is printed all the same; the exit status of the process is 1 then. */
export function print(name: string, unit: string, figure: Figure, more: Readonly<Record<string, unknown>> = {}): void {
  const { ours, reference, rounds, spread } = figure;
  console.log(
    JSON.stringify({
      name,
      ours: rounded(ours),
      reference: rounded(reference),
      ratio: rounded(ours / reference),
      unit,
      rounds,
      spread: rounded(spread),
      ...more,
    }),
  );
  const wanted = targets[name]?.(figure);
  if (wanted !== undefined) missed(name, wanted);
}

export function missed(name: string, wanted: string): void {
  note(`bench: ${name} misses its target: ${wanted}`);
  process.exitCode = 1;
}
