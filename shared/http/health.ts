/** Routes for those who watch the service: is the process there, and can it work. */
import { z } from 'zod';
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
  const Readiness = z.object({ status: z.enum(['ready', 'not-ready']), checks: z.record(z.string(), z.enum(['ok', 'failed'])) });

  const isOk = async (check: () => Promise<void>): Promise<boolean> => {
    const timeout = new AbortController();
    try {
      const late = clock.sleep(checkTimeoutMs, timeout.signal).then(
        () => false,
        () => false,
      );
      return await Promise.race([check().then(() => true), late]);
    } catch {
      return false;
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
      const results = await Promise.all(Object.entries(checks).map(async ([name, check]) => [name, (await isOk(check)) ? 'ok' : 'failed'] as const));
      const isReady = results.every(([, result]) => result === 'ok');
      reply.code(isReady ? 200 : 503);
      return { status: isReady ? ('ready' as const) : ('not-ready' as const), checks: Object.fromEntries(results) };
    },
  });
}
