/** The world outside (Koji, a mirror, the host's tools) with its troubles: it takes its time, breaks for a while, breaks for good, or hangs. */

import { simulatedMachines } from '../../services/boot-test/simulated-machine.ts';
import type { VirtualMachines } from '../../services/boot-test/virtual-machine.ts';
import { kiwi } from '../../services/image-builder/engines/kiwi.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Clock } from '../../shared/clock/clock.ts';
import type { MemoryDisk } from '../../shared/downloads/memory.ts';
import type { Egress } from '../../shared/egress/egress.ts';
import { simulatedEgress } from '../../shared/egress/simulated.ts';
import type { ProgramRequest, ProgramResult, Programs } from '../../shared/programs/programs.ts';
import { type SimulatedProgram, simulatedPrograms } from '../../shared/programs/simulated.ts';
import type { Solver } from '../../shared/solver/solver.ts';
import type { MemoryWorkspaces } from '../../shared/workspace/memory.ts';
import { simulatedRoutes, simulatedRpmTools, simulatedSolver, solveByName } from '../support/simulated-fedora.ts';
import { simulatedImageReport, simulatedImageTools } from '../support/simulated-image-tools.ts';
import type { Faults } from './faults.ts';
import { mortal, mortalClock, type SimulatedProcess } from './process.ts';

/** Milliseconds at most, where nothing is wrong. The others take none. */
const usualMs: Readonly<Record<string, number>> = { createrepo_c: 100, 'kiwi-ng': 8_000 };
const solveMs = 400;
const hangMs = 100 * 3_600_000;
/** Few of the longest: hours of virtual heartbeats cost the simulation as much as ten other seeds. */
const longHangs = 0.2;

export interface SimulatedTools {
  programsOf(process: SimulatedProcess): Programs;
  egressOf(process: SimulatedProcess): Egress;
  virtualMachinesOf(process: SimulatedProcess): VirtualMachines;
  solverOf(process: SimulatedProcess): Solver;
  /** Tools that run now, of all processes. */
  running(): number;
}

export function simulatedTools(world: {
  readonly clock: Clock;
  readonly random: () => number;
  readonly faults: Faults;
  readonly workspaces: MemoryWorkspaces;
  readonly disk: MemoryDisk;
}): SimulatedTools {
  const { clock, random, faults, workspaces, disk } = world;
  const running = new Set<symbol>();

  /** The tool's own answer, unless trouble comes first. */
  const troubled =
    (command: string, tool: SimulatedProgram): SimulatedProgram =>
    async (request: ProgramRequest, input): Promise<Partial<ProgramResult>> => {
      const usual = usualMs[command];
      if (usual === undefined || request.args.includes('--version')) return tool(request, input);
      const mayHang = usual < 1_000 || random() < longHangs;
      await clock.sleep(
        mayHang && faults.strikes('tool hangs') ? hangMs : faults.strikes('slow tool') ? 10_000 + random() * 50_000 : random() * usual,
        request.signal,
      );
      if (faults.strikes('tool breaks for a while')) throw new SpindleError('DISK_FULL', 'no space was left for the tool');
      if (faults.strikes('tool breaks for good')) return { exitCode: 1, stderr: 'the tool broke' };
      return tool(request, input);
    };

  // A node has an engine where all that it needs is there, also what nothing here runs.
  const installed = Object.fromEntries(kiwi.needs.commands.map((command): [string, SimulatedProgram] => [command, async () => ({})]));
  const tools = { ...installed, ...simulatedRpmTools(workspaces), ...simulatedImageTools(workspaces) };
  const handlers = Object.fromEntries(Object.entries(tools).map(([command, tool]) => [command, troubled(command, tool)]));

  return {
    running: () => running.size,
    programsOf: (process) => {
      const programs = simulatedPrograms(handlers, mortalClock(clock, process));
      // A tool dies with the process that started it, and counts as running until it has ended.
      const counted = async <T>(ended: Promise<T>): Promise<T> => {
        const mark = Symbol('tool');
        running.add(mark);
        process.onDeath(() => running.delete(mark));
        try {
          return await ended;
        } finally {
          running.delete(mark);
        }
      };
      const counting: Programs = {
        has: (command) => programs.has(command),
        run: (request) => counted(programs.run(request)),
        start: async (request) => {
          const started = await programs.start(request);
          counted(started.ended).catch(() => undefined);
          return started;
        },
      };
      return mortal(counting, process, ['start']);
    },
    solverOf: (process) => {
      const ownClock = mortalClock(clock, process);
      const solver = simulatedSolver(async (request, signal) => {
        await ownClock.sleep(faults.strikes('tool hangs') ? hangMs : faults.strikes('slow tool') ? 10_000 + random() * 50_000 : random() * solveMs, signal);
        if (faults.strikes('tool breaks for a while')) throw new SpindleError('DISK_FULL', 'no space was left for the solver');
        if (faults.strikes('tool breaks for good')) throw new SpindleError('SOLVER_FAILED', 'the simulated solver broke');
        return solveByName(request);
      });
      return mortal(solver, process);
    },
    virtualMachinesOf: (process) => {
      const machines = simulatedMachines(
        async ({ medium = '' }) => {
          if (faults.strikes('tool breaks for a while')) throw new SpindleError('BOOT_TEST_BROKEN', 'the simulated machine did not start');
          const bootMs = faults.strikes('slow tool') ? 60_000 : 2_000 + random() * 5_000;
          // One that hangs prints nothing: the boot test gives up by itself.
          return { serial: faults.strikes('tool hangs') ? [] : simulatedImageReport(workspaces, medium, bootMs), screenshot: new Uint8Array([0x89, 0x50]) };
        },
        mortalClock(clock, process),
      );
      return mortal(machines, process, ['start']);
    },
    egressOf: (process) => {
      const routes: typeof simulatedRoutes = async (hop, signal) => {
        await clock.sleep(random() * 50, signal);
        return faults.strikes('download cut') ? undefined : simulatedRoutes(hop, signal);
      };
      const { write, read, remove } = disk;
      return mortal(simulatedEgress({ routes, clock: mortalClock(clock, process), write, read, remove }), process);
    },
  };
}
