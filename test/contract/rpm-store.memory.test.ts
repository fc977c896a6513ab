/** The RPM store in memory against its contract. */
import { virtualClock } from '../../shared/clock/virtual.ts';
import { memoryFiles } from '../../shared/files/memory.ts';
import { simulatedPrograms } from '../../shared/programs/simulated.ts';
import { memoryRpmStore } from '../../shared/rpm-store/memory.ts';
import { memoryWorkspaces } from '../../shared/workspace/memory.ts';
import { simulatedRpmTools } from '../support/simulated-fedora.ts';
import { rpmStoreContract } from './rpm-store.contract.ts';

rpmStoreContract('the RPM store in memory', async () => {
  const clock = virtualClock({ seed: 1, startMs: Date.UTC(2026, 10, 22) });
  let ahead = 0;
  const moved = { ...clock, now: () => clock.now() + ahead };
  const files = memoryFiles({ clock: moved });
  const workspaces = memoryWorkspaces({ files });
  return {
    files,
    workspaces,
    programs: simulatedPrograms(simulatedRpmTools(workspaces), clock),
    clock: moved,
    shown: async (path, at) =>
      workspaces
        .listBelow(`${path}/${at}`)
        .map((each) => each.slice(path.length + at.length + 2))
        .sort(),
    advance: (ms) => {
      ahead += ms;
    },
    open: async (bytesMax) => memoryRpmStore({ files, clock: moved, ...(bytesMax === undefined ? {} : { bytesMax }) }),
    close: async () => {},
  };
});
