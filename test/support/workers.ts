/** Worker records for tests. */
import type { Worker, WorkerEngine } from '../../shared/workers/worker.ts';
import { startMs } from './build-records.ts';

export const kiwiEngine: WorkerEngine = {
  name: 'kiwi',
  imageTypes: ['live'],
  version: '9.24.43',
  missing: [],
  install: { debian: ['kiwi'], fedora: ['kiwi-cli'] },
};

/** A node that can make live images with KIWI and does nothing. */
export function workerRecord(changes: Partial<Worker> = {}): Worker {
  return {
    id: 'node-1',
    role: 'image-builder',
    host: 'builder.example',
    version: '1.0.0',
    arch: 'x86_64',
    engines: [kiwiEngine],
    slots: 2,
    builds: [],
    freeBytes: 77_800_000_000,
    memoryBytes: 8_000_000_000,
    kvm: true,
    startedAt: new Date(startMs).toISOString(),
    heartbeatAt: startMs,
    stoppedAt: null,
    draining: false,
    isTaking: true,
    ...changes,
  };
}
