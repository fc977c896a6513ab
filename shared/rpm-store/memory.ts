/** The RPM store in memory: repositories are laid out in the workspaces themselves. For the simulation, benches and tests. */
import type { Clock } from '../clock/clock.ts';
import type { Files } from '../files/files.ts';
import { knownFiles } from './known-files.ts';
import { makeRepository } from './make-repository.ts';
import type { RpmStore } from './rpm-store.ts';

/** A file's own store has no journal either: what is in memory goes together. */
export function memoryRpmStore(options: { readonly files: Files; readonly clock: Clock; readonly bytesMax?: number }): RpmStore {
  const { files, clock, bytesMax = Number.MAX_SAFE_INTEGER } = options;
  const journal = { note: () => {}, close: async () => {} };
  const known = knownFiles({ files, clock, records: new Map(), journal, bytesMax });
  return {
    pin: known.pin,
    check: known.check,
    verdicts: known.verdicts,
    noteVerdicts: known.noteVerdicts,
    lend: async (rpms, workspace, folder) => {
      for (const { sha256, size } of rpms) await workspace.place({ sha256, size }, `${folder}/${sha256}.rpm`);
      return () => workspace.remove(folder);
    },
    makeRepository: (rpms, making) => makeRepository(rpms, { files, known, keep: async () => {} }, making),
    showRepository: async (all, workspace, at, signal) => {
      for (const { path, sha256, size } of all) {
        signal.throwIfAborted();
        await workspace.place({ sha256, size }, `${at}/${path}`);
      }
      return `${workspace.path}/${at}`;
    },
    evict: async (inUse) => {
      const { victims, bytesOver } = known.surplus(inUse);
      let bytes = 0;
      for (const sha256 of victims) {
        bytes += known.record(sha256)?.size ?? 0;
        await known.remove(sha256);
      }
      return { files: victims.length, bytes, bytesOver };
    },
    recheck: (most, signal) => known.reread(known.longestUnread(most), signal),
    close: known.close,
  };
}
