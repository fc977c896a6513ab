/** Looks for packages that no repository has among Koji's builds and Bodhi's updates, to tell the requester where they are. Only ever a help: what goes wrong here is left out. */
import type { Bodhi } from '../bodhi/bodhi.ts';
import type { Clock } from '../clock/clock.ts';
import { parseNvr } from '../fedora/nvr.ts';
import type { Koji } from '../koji/koji.ts';
import type { Release } from '../releases/releases.ts';

export interface KnownBuild {
  readonly nvr: string;
  /** The Koji tag that holds it. */
  readonly tag: string;
  /** Of an update that is not stable yet. */
  readonly advisory: string | null;
}

export interface KnownBuildsOptions {
  readonly release: Release;
  readonly koji: Koji | undefined;
  readonly bodhi: Bodhi | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const namesMax = 20;
const patienceMs = 10_000;

/** By package name. Never rejects but with the signal's reason. */
export async function knownBuilds(
  names: readonly string[],
  { release, koji, bodhi, clock, signal }: KnownBuildsOptions,
): Promise<ReadonlyMap<string, readonly KnownBuild[]>> {
  const asked = names.filter((name) => parseNvr(`${name}-1-1`) !== undefined).slice(0, namesMax);
  const tags = [...new Set([...Object.values(release.koji?.tags ?? {}).filter((tag) => tag !== undefined), ...(release.koji?.candidateTags ?? [])])];
  if (asked.length === 0 || !koji || tags.length === 0) return new Map();
  const ending = new AbortController();
  const forget = clock.after(patienceMs, () => ending.abort(new Error('it took too long')));
  const leave = () => ending.abort(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    const [answers, updates] = await Promise.all([
      Promise.all(tags.map((tag) => koji.getLatestBuilds(tag, asked, ending.signal))),
      release.bodhi && bodhi
        ? bodhi.findUpdates({ releaseName: release.bodhi.name, statuses: ['pending', 'testing'], packages: asked }, ending.signal).catch(() => [])
        : [],
    ]);
    return new Map(
      asked.map((name, place) => {
        const found = new Map(answers.flatMap((answer) => answer[place] ?? []).map(({ build, tag }) => [build.nvr, tag]));
        const builds = [...found].map(([nvr, tag]) => ({
          nvr,
          tag,
          advisory: updates.find((update) => update.builds.some((build) => build.nvr === nvr))?.alias ?? null,
        }));
        return [name, builds];
      }),
    );
  } catch {
    signal.throwIfAborted();
    return new Map();
  } finally {
    forget();
    signal.removeEventListener('abort', leave);
  }
}
