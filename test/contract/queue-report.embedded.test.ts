/** The embedded bus's report of its queues against the queue report contract. */
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { embeddedBroker } from '../../shared/bus/embedded.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { memoryStore } from '../../shared/store/memory.ts';
import { queueReportContract } from './queue-report.contract.ts';

queueReportContract(
  'embedded',
  async () => {
    const broker = embeddedBroker({ deadLetters: await memoryStore().collection(deadLetterCollection), clock: systemClock() });
    return { bus: broker.connect(), report: broker, dispose: async () => {} };
  },
  30_000,
);
