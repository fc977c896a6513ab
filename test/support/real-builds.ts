/** Builds of Sample Linux in the real service: submitted and followed over its REST interface. */
import { expect } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import type { RealService } from './real-service.ts';
import { until } from './until.ts';

const clock = systemClock();
const buildMs = 240_000;

export interface ShownBuild {
  readonly id: string;
  readonly state: string;
  readonly verdict: string | null;
  readonly verdictReason: string | null;
  readonly failure: unknown;
  readonly stage: { readonly name: string; readonly startedAt: string | null } | null;
  readonly artifacts: readonly { readonly name: string; readonly sha256: string }[];
}

/** Resolves with the id of the accepted build. */
export async function submit(service: RealService, request: object): Promise<string> {
  const answer = await fetch(`${service.url}/api/v1/builds`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ release: 'sample', ...request }),
  });
  expect(answer.status, await answer.clone().text()).toBe(202);
  return ((await answer.json()) as ShownBuild).id;
}

/** The build, once `holds`. */
export function build(service: RealService, id: string, what: string, holds: (build: ShownBuild) => boolean): Promise<ShownBuild> {
  return until(
    async () => {
      const shown = (await (await fetch(`${service.url}/api/v1/builds/${id}`)).json()) as ShownBuild;
      if (holds(shown)) return shown;
      await clock.sleep(50);
      return undefined;
    },
    { timeoutMs: buildMs, what: `build ${id} to be ${what}` },
  );
}

export const hasEnded = ({ state }: ShownBuild) => ['finished', 'failed', 'canceled'].includes(state);
