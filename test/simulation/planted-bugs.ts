/** Bugs that the simulation has to find, each as a change to a copy of the sources. A text that no longer stands there fails the test: the bug must be planted anew. */
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly changes: readonly { readonly find: string; readonly replace: string }[];
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'acknowledge before commit',
    file: 'shared/stage/run.ts',
    changes: [
      {
        find: '        await execute(run);\n        return final;',
        replace: '        isBackground = true;\n        void execute(run).catch(() => undefined).finally(release);\n        return final;',
      },
    ],
  },
  {
    name: 'a draining worker takes builds',
    file: 'shared/stage/run.ts',
    changes: [{ find: '      isHeld = true;\n      subscription?.pause();\n', replace: '' }],
  },
  { name: 'outbox not relayed', file: 'shared/stage/outbox.ts', changes: [{ find: '    await send(bus, entry);\n', replace: '    void send;\n' }] },
  {
    name: 'fence not checked',
    file: 'shared/stage/run.ts',
    changes: [
      {
        find: 'build.state === stage.state && (run.token === null ? build.claim === null : build.claim?.token === run.token)',
        replace: 'build.state === stage.state && run !== null',
      },
    ],
  },
  {
    name: 'end state overwritten',
    file: 'shared/build/build.ts',
    changes: [
      { find: '  if (isEnded(build.state)) return undefined;\n', replace: '' },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: this is the text of a source file.
      { find: '  if (!isPast(state, build.state)) throw new Error(`stage ${stage} cannot move a build from ${build.state} to ${state}`);\n', replace: '' },
    ],
  },
  {
    name: 'random event ids',
    file: 'shared/build/build.ts',
    changes: [{ find: 'const id = eventId(build.id, cause?.id ?? null, stage, emitted.type);', replace: 'const id: string = crypto.randomUUID();' }],
  },
];

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the simulation over the changed copy until a seed finds a violation. Resolves with its exit status (1: found) and what it printed. */
export async function simulateWith(bug: PlantedBug, seeds: number): Promise<{ readonly exitCode: number | null; readonly output: string }> {
  const copy = await mkdtemp(join(tmpdir(), 'spindle-planted-bug-'));
  try {
    for (const name of ['shared', 'services', 'test', 'examples', 'package.json', 'tsconfig.json'])
      await cp(join(root, name), join(copy, name), { recursive: true });
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
    const path = join(copy, bug.file);
    let source = await readFile(path, 'utf8');
    for (const { find, replace } of bug.changes) {
      if (source.split(find).length !== 2) throw new Error(`${bug.file} no longer has exactly one place that reads: ${find}`);
      source = source.replace(find, replace);
    }
    await writeFile(path, source);
    return await runSimulation(copy, seeds);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

function runSimulation(directory: string, seeds: number): Promise<{ readonly exitCode: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/simulation/main.ts', '--seeds', String(seeds), '--stop-at-first'], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 240_000,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, output }));
  });
}
