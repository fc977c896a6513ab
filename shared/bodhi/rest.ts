/** The Bodhi port on the real service: its REST API over the egress port. Reads only, never logs in. */
import { z } from 'zod';
import { failureKinds, SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Egress } from '../egress/egress.ts';
import { NvrText } from '../fedora/nvr.ts';
import { type Bodhi, type BodhiUpdate, type UpdateStatus, updateStatuses } from './bodhi.ts';

export interface BodhiRestOptions {
  /** `https://bodhi.…/`, with or without the slash. */
  readonly url: string;
  readonly egress: Egress;
  /** With it, a Bodhi that does not answer is asked again, twice at most. */
  readonly clock?: Pick<Clock, 'sleep'>;
  readonly deadlineMs?: number;
}

const answerBytesMax = 16 * 1024 * 1024;
/** Older servers refuse more. */
const rowsPerPage = 100;
const pagesMax = 20;
/** So that an address stays far below the 8 kB that servers take. */
const valuesAtOnceMax = 50;
const pausesMs = [500, 2000];

/** Only what is used; what servers add or leave out besides is their matter. */
const Update = z
  .object({
    alias: z.string().max(256),
    status: z.enum(updateStatuses),
    request: z.string().max(100).nullish(),
    locked: z.boolean().nullish(),
    from_tag: z.string().max(256).nullish(),
    release: z.object({ name: z.string().max(100) }),
    builds: z.array(z.object({ nvr: NvrText, signed: z.boolean().nullish(), epoch: z.number().int().nonnegative().nullish() })).max(2000),
  })
  .transform(
    ({ alias, status, request, locked, from_tag, release, builds }): BodhiUpdate => ({
      alias,
      status,
      request: request ?? null,
      isLocked: locked ?? false,
      releaseName: release.name,
      fromTag: from_tag ?? null,
      builds: builds.map(({ nvr, signed, epoch }) => ({ nvr, isSigned: signed ?? false, epoch: epoch ?? 0 })),
    }),
  );

/** A page of `/updates/`. `pages` is 0 where there is nothing. */
const UpdatesPage = z.object({ updates: z.array(Update), pages: z.number().int().nonnegative() });
/** What `/updates/{alias}` answers. */
export const SingleUpdate = z.object({ update: Update });

type Query = readonly (readonly [string, string])[];

export function bodhiRest({ url, egress, clock, deadlineMs = 60_000 }: BodhiRestOptions): Bodhi {
  const base = url.replace(/\/+$/, '');
  const unreachable = (why: string, cause?: unknown) =>
    new SpindleError('BODHI_UNREACHABLE', `Bodhi at ${base} ${why}; this says nothing about the advisories, so try again later`, { cause });

  const getOnce = async (query: Query, signal: AbortSignal | undefined): Promise<z.infer<typeof UpdatesPage>> => {
    // The slash at the end of the path belongs to the route.
    const address = `${base}/updates/?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
    const request = { url: address, headers: { accept: 'application/json' }, bytesMax: answerBytesMax, deadlineMs, ...(signal ? { signal } : {}) };
    const answer = await egress.fetchText(request).catch((error: unknown) => {
      // Only what is about the host becomes Bodhi's trouble: a cancel stays a cancel.
      if (error instanceof SpindleError && (failureKinds[error.code].retry === 'remote' || error.code === 'REMOTE_TOO_LARGE')) {
        throw unreachable(`could not be asked (${error.message})`, error);
      }
      throw error;
    });
    const type = answer.headers['content-type'] ?? 'no content type';
    const isJson = /^application\/json\b/i.test(type);
    if (answer.status !== 200) throw unreachable(`answered with HTTP status ${answer.status}${isJson ? `: ${reasonOf(answer.text)}` : ''}`);
    // Whatever else comes is somebody standing in between: a bot wall, a proxy, a maintenance page.
    if (!isJson) throw unreachable(`answered with ${type.slice(0, 80)} instead of JSON`);
    const page = UpdatesPage.safeParse(parsed(answer.text));
    if (page.success) return page.data;
    const issue = page.error.issues[0];
    throw unreachable(`answered in an unknown form: ${issue?.path.join('.')} ${issue?.message}`.slice(0, 500));
  };

  const get = async (query: Query, signal: AbortSignal | undefined): Promise<z.infer<typeof UpdatesPage>> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await getOnce(query, signal);
      } catch (error) {
        const pauseMs = pausesMs[attempt];
        if (!clock || pauseMs === undefined || !(error instanceof SpindleError) || error.code !== 'BODHI_UNREACHABLE') throw error;
        await clock.sleep(pauseMs, signal);
      }
    }
  };

  /** Every page, each update once: pages may shift while they are read. */
  const getAll = async (query: Query, countMax: number, signal: AbortSignal | undefined): Promise<readonly BodhiUpdate[]> => {
    const found = new Map<string, BodhiUpdate>();
    for (let page = 1; page <= pagesMax; page += 1) {
      const { updates, pages } = await get([...query, ['rows_per_page', String(rowsPerPage)], ['page', String(page)]], signal);
      for (const update of updates) if (!found.has(update.alias)) found.set(update.alias, update);
      if (page >= pages || found.size >= countMax) break;
    }
    return [...found.values()].slice(0, countMax);
  };

  return {
    getUpdates: async (aliases, signal) => {
      const wanted = [...new Set(aliases)];
      const found = new Map<string, BodhiUpdate>();
      for (let start = 0; start < wanted.length; start += valuesAtOnceMax) {
        const batch = wanted.slice(start, start + valuesAtOnceMax);
        const updates = await getAll(
          batch.map((alias) => ['alias', alias] as const),
          rowsPerPage * pagesMax,
          signal,
        );
        for (const update of updates) found.set(update.alias, update);
      }
      return aliases.map((alias) => found.get(alias));
    },
    findUpdates: async ({ releaseName, statuses, packages = [], builds = [] }, signal) => {
      if (packages.length + builds.length === 0) return [];
      const common: Query = [['releases', releaseName], ...statuses.map((status: UpdateStatus) => ['status', status] as const)];
      const found = new Map<string, BodhiUpdate>();
      // Different parameters are taken together by Bodhi, so packages and builds are asked for one after the other.
      for (const [name, values] of [
        ['packages', packages],
        ['builds', builds],
      ] as const) {
        for (let start = 0; start < values.length; start += valuesAtOnceMax) {
          const batch = values.slice(start, start + valuesAtOnceMax);
          const updates = await getAll([...common, ...batch.map((value) => [name, value] as const)], rowsPerPage, signal);
          for (const update of updates) found.set(update.alias, update);
        }
      }
      return [...found.values()].slice(0, rowsPerPage);
    },
  };
}

/** Cornice's error body, or as much of the text as a person wants to read. */
function reasonOf(text: string): string {
  const shape = z.object({ errors: z.array(z.object({ description: z.string() })).min(1) }).safeParse(parsed(text));
  return (shape.data?.errors[0]?.description ?? text).slice(0, 200);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
