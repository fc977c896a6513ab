/** The solver contract on dnf 4 of this machine. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import { spawnedPrograms } from '../../shared/programs/spawned.ts';
import { dnfSolver } from '../../shared/solver/dnf.ts';
import { directoryRepositories } from '../support/metadata-repository.ts';
import { solverContract } from './solver.contract.ts';

solverContract('dnf 4', async (directory) => {
  const home = join(directory, 'solver');
  const solver = dnfSolver({
    directory: home,
    repositories: directoryRepositories(),
    programs: spawnedPrograms(),
    clock: systemClock(),
    atOnceMax: 2,
    ...(process.getuid?.() === 0 ? { isolation: 'private-no-network' as const } : {}),
  });
  return {
    solver,
    kill: async () => {
      for (const pid of await pidsBelow(home)) process.kill(pid, 'SIGKILL');
    },
    close: () => solver.close(),
  };
});

/** The interpreters that work in a directory of this solver. */
async function pidsBelow(directory: string): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [environment, command] = await Promise.all(['environ', 'comm'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')));
      return environment?.includes(`HOME=${directory}`) && command?.startsWith('python3') ? [pid] : [];
    }),
  );
  return found.flat();
}
