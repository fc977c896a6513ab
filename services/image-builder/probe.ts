/** Finds out which engines a node can run: whether what each needs is installed, and which version its tool is. */
import type { Programs } from '../../shared/programs/programs.ts';
import type { WorkerEngine } from '../../shared/workers/worker.ts';
import type { ImageEngine } from './engines/engine.ts';

const versionDeadlineMs = 60_000;

/** Looks for programs only, which costs next to nothing. Versions that are known already are kept where the engine is still whole. */
export async function probeEngines(engines: readonly ImageEngine[], programs: Programs, known: readonly WorkerEngine[] = []): Promise<readonly WorkerEngine[]> {
  return Promise.all(
    engines.map(async ({ name, imageTypes, needs }) => {
      const found = await Promise.all(needs.commands.map((command) => programs.has(command)));
      const missing = needs.commands.filter((_, index) => !found[index]);
      const before = known.find((each) => each.name === name);
      return {
        name,
        imageTypes: [...imageTypes],
        version: missing.length === 0 ? (before?.version ?? null) : null,
        missing,
        install: { debian: [...needs.install.debian], fedora: [...needs.install.fedora] },
      };
    }),
  );
}

/** Asks each present engine's tool for its version where that is not known; one after the other, since they cost a second of a processor each. */
export async function askVersions(
  states: readonly WorkerEngine[],
  engines: readonly ImageEngine[],
  programs: Programs,
  signal: AbortSignal,
): Promise<readonly WorkerEngine[]> {
  const asked: WorkerEngine[] = [];
  for (const state of states) {
    const engine = engines.find(({ name }) => name === state.name);
    if (!engine || state.missing.length > 0 || state.version !== null || signal.aborted) {
      asked.push(state);
      continue;
    }
    const { command, args, read } = engine.version;
    const answer = await programs.run({ command, args, deadlineMs: versionDeadlineMs, signal }).catch(() => undefined);
    asked.push({ ...state, version: (answer?.exitCode === 0 ? read(answer.stdout) : undefined) ?? null });
  }
  return asked;
}
