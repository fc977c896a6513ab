/** What every queue report promises. Called by the adapters' own small test files. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Bus } from '../../shared/bus/bus.ts';
import type { QueueReport } from '../../shared/bus/queue-report.ts';
import { until } from '../support/until.ts';

export interface QueueReportSetup {
  readonly bus: Bus;
  readonly report: QueueReport;
  dispose(): Promise<void>;
}

/** `make` resolves with a sentence where there is no server. */
export function queueReportContract(name: string, make: () => Promise<QueueReportSetup | string>, timeoutMs: number): void {
  describe(`the queue report contract, ${name}`, () => {
    let setup: QueueReportSetup | string;
    beforeEach(async () => {
      setup = await make();
      if (typeof setup !== 'string') {
        await setup.bus.assert({
          queues: [
            { name: 'one', bindings: ['thing.one'] },
            { name: 'two', bindings: ['thing.two'] },
          ],
        });
      }
    }, timeoutMs);
    afterEach(async () => {
      if (typeof setup === 'string') return;
      await setup.bus.close();
      await setup.dispose();
    });

    test('it tells of depth, of what is in hand, of readers and rates, and of the dead letters', { timeout: timeoutMs }, async (context) => {
      if (typeof setup === 'string') return context.skip(setup);
      const { bus, report } = setup;
      const named = async (queue: string) => (await report.queues()).find((state) => state.name === queue);
      // A broker counts anew every few seconds.
      const patience = { timeoutMs: 40_000 };
      for (let index = 0; index < 5; index += 1) await bus.publish({ id: `m${index}`, routingKey: 'thing.one', body: '{}' });
      const release: (() => void)[] = [];
      const subscription = await bus.subscribe({ queues: ['one'], prefetch: 2 }, async () => {
        await new Promise<void>((resolve) => release.push(resolve));
        return 'ack';
      });
      await bus.deadLetter({
        id: 'l1',
        at: '2026-11-22T10:00:00.000Z',
        stage: 'resolver',
        queue: 'one',
        routingKey: 'thing.one',
        reason: 'it was given up',
        code: 'INTERNAL',
        attempts: 1,
        body: '{}',
      });
      await until(async () => {
        const one = await named('one');
        return one?.depth === 3 && one.inHand === 2 && one.consumers === 1;
      }, patience);
      expect(await named('two')).toMatchObject({ depth: 0, inHand: 0, consumers: 0 });
      await until(async () => (await named('spindle.dead-letters'))?.depth === 1, patience);
      await until(() => {
        for (const each of release.splice(0)) each();
        return report.queues().then((states) => {
          const one = states.find((state) => state.name === 'one');
          return one?.depth === 0 && one.inHand === 0 && (one.publishRate ?? 0) > 0 && (one.ackRate ?? 0) > 0;
        });
      }, patience);
      await subscription.close();
    });
  });
}
