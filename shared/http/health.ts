/** Routes for those who watch the service: is the process there, and can it work. */
import { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Bus } from '../bus/bus.ts';
import type { Clock } from '../clock/clock.ts';
import type { Files } from '../files/files.ts';
import type { Store } from '../store/store.ts';
import type { App } from './section.ts';

const checkTimeoutMs = 3000;

export interface HealthPorts {
  readonly store: Pick<Store, 'ping'>;
  readonly files: Pick<Files, 'ping'>;
  readonly bus: Pick<Bus, 'ping'>;
  readonly clock: Clock;
}

export function healthRoutes(app: App, { store, files, bus, clock }: HealthPorts): void {
  const checks = { store: () => store.ping(), files: () => files.ping(), bus: () => bus.ping() };
  const Readiness = z.object({
    status: z.enum(['ready', 'not-ready']),
    checks: z.record(z.string(), z.enum(['ok', 'failed'])),
    /** Of those that failed: why. */
    problems: z.record(z.string(), z.string()),
  });

  /** Why it cannot be used now; undefined where it can. */
  const problemOf = async (check: () => Promise<void>): Promise<string | undefined> => {
    const timeout = new AbortController();
    const silent = `it did not answer within ${checkTimeoutMs / 1000} s`;
    try {
      const late = clock.sleep(checkTimeoutMs, timeout.signal).then(
        () => silent,
        () => silent,
      );
      return await Promise.race([check().then(() => undefined), late]);
    } catch (error) {
      // Messages with a code are made for people; others may hold anything.
      return error instanceof SpindleError ? `${error.code}: ${error.message}` : 'it cannot be used';
    } finally {
      timeout.abort();
    }
  };

  app.route({
    method: 'GET',
    url: '/healthz',
    schema: { tags: ['service'], summary: 'The process answers', response: { 200: z.object({ status: z.literal('ok') }) } },
    handler: async () => ({ status: 'ok' as const }),
  });

  app.route({
    method: 'GET',
    url: '/readyz',
    schema: { tags: ['service'], summary: 'Every port can be used', response: { 200: Readiness, 503: Readiness } },
    handler: async (_request, reply) => {
      const found = await Promise.all(Object.entries(checks).map(async ([name, check]) => [name, await problemOf(check)] as const));
      const problems = Object.fromEntries(found.flatMap(([name, problem]) => (problem === undefined ? [] : [[name, problem]])));
      const isReady = Object.keys(problems).length === 0;
      reply.code(isReady ? 200 : 503);
      return {
        status: isReady ? ('ready' as const) : ('not-ready' as const),
        checks: Object.fromEntries(found.map(([name, problem]) => [name, problem === undefined ? ('ok' as const) : ('failed' as const)])),
        problems,
      };
    },
  });
}
