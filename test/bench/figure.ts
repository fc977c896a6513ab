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
  return { ours: median(ours), reference: median(reference), rounds, spread: Math.max(spreadOf(ours), spreadOf(reference)) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function spreadOf(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / 2 / median(values);
}

const rounded = (value: number) => Number(value.toPrecision(4));

export function print(name: string, unit: string, { ours, reference, rounds, spread }: Figure, more: Readonly<Record<string, unknown>> = {}): void {
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
}
