/**
 * What the npm scripts start: `node bin/run.mjs demo|start|test|check|topology|sim|bench [arguments]`. It sets up what the command needs, then runs the real thing:
 * services in this very process, so that a signal sent to it reaches them, and tools as children.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePythonTools } from './python-tools.mjs';
import { orExplain, root, setUp } from './set-up.mjs';
import { ensureTestServers } from './test-servers.mjs';

/** Runs a module of this repository, compiled, as if it had been the program's main file. */
async function runModule(path, args) {
  const { compile } = await import('./compile.mjs');
  const entry = (await compile())(path);
  process.argv = [process.execPath, fileURLToPath(entry), ...args];
  await import(entry.href);
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Runs one of Node's tools from node_modules. Signals are passed on, so that ending this process ends the tool. */
function runTool(path, args, { keepOutput = false, env = process.env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'node_modules', path), ...args], {
      cwd: root,
      env,
      stdio: keepOutput ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    });
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    const passOn = (signal) => child.kill(signal);
    for (const signal of signals) process.on(signal, passOn);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      for (const name of signals) process.off(name, passOn);
      resolve({ code: code ?? 128 + (constants.signals[signal] ?? 0), output: Buffer.concat(chunks).toString('utf8') });
    });
  });
}

async function check() {
  const vitest = ['run', '--config', 'test/vitest.config.ts', '--project', 'architecture', '--passWithNoTests'];
  const checks = [
    ['types', 'typescript/bin/tsc', ['--noEmit', '-p', '.']],
    ['lint and format', '@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']],
    ['dead code', 'knip/bin/knip.js', []],
    ['architecture', 'vitest/vitest.mjs', vitest],
  ];
  const results = await Promise.all(
    checks.map(async ([name, path, args]) => {
      const since = performance.now();
      const { code, output } = await runTool(path, args, { keepOutput: true });
      return { name, code, output, seconds: ((performance.now() - since) / 1000).toFixed(1) };
    }),
  );
  for (const { name, code, output, seconds } of results) {
    if (code !== 0) process.stdout.write(`${output.trimEnd()}\n`);
    process.stdout.write(`check: ${name} ${code === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`);
  }
  process.exitCode = results.every(({ code }) => code === 0) ? 0 : 1;
}

const testProjects = () =>
  readdirSync(join(root, 'test'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);

/** Nothing in these asks for a server, so running them alone needs no Go. */
const projectsWithoutServers = ['unit', 'golden', 'architecture', 'simulation'];

/** Minutes that a run before every landing cannot spare. */
const onlyWhenAsked = 'long';

/** `npm test [-- project or file names, vitest flags, --require-servers]`. Its last line is always `N passed, N failed, N skipped`. */
async function test(args) {
  const requireServers = args.includes('--require-servers');
  const rest = args.filter((argument) => argument !== '--require-servers');
  const needsServers = rest.length === 0 || rest.some((argument) => !projectsWithoutServers.includes(argument));
  await orExplain(() => Promise.all([ensurePythonTools(), ...(needsServers ? [ensureTestServers()] : [])]));
  const projects = testProjects();
  const named = rest.flatMap((argument) => (projects.includes(argument) ? ['--project', argument] : [argument]));
  const chosen = rest.some((argument) => !argument.startsWith('-')) ? named : [...named, '--project', `!${onlyWhenAsked}`];
  const directory = mkdtempSync(join(tmpdir(), 'spindle-test-report-'));
  const reportPath = join(directory, 'report.json');
  let report = { passed: 0, failed: 0, skipped: [], broken: [] };
  let code = 1;
  try {
    const reporters = ['--reporter=default', `--reporter=${join(root, 'bin', 'test-report.mjs')}`];
    const env = { ...process.env, SPINDLE_TEST_REPORT: reportPath };
    ({ code } = await runTool('vitest/vitest.mjs', ['run', '--config', 'test/vitest.config.ts', ...reporters, ...chosen], { env }));
    report = JSON.parse(readFileSync(reportPath, 'utf8'));
  } catch (error) {
    report.broken.push(`vitest ended with status ${code} and left no report: ${error.message}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const failed = Math.max(report.failed, report.broken.length, code === 0 ? 0 : 1);
  const lines = [
    ...report.broken.map((text) => `broken: ${text}`),
    ...report.skipped.map(({ name, reason }) => `skipped: ${name}${reason ? ` (${reason})` : ''}`),
    `${report.passed} passed, ${failed} failed, ${report.skipped.length} skipped`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  process.exitCode = failed > 0 || (requireServers && report.skipped.length > 0) ? 1 : 0;
}

const commands = {
  demo: { hostTools: true, run: (args) => runModule('examples/demo.ts', args) },
  start: { hostTools: true, run: (args) => runModule('services/embedded.ts', args) },
  test: { hostTools: true, servers: true, run: test },
  check: { hostTools: false, run: check },
  topology: { hostTools: false, run: (args) => runModule('services/topology.ts', args) },
  sim: { hostTools: false, run: (args) => runModule('test/simulation/main.ts', args) },
  build: { hostTools: false, run: async () => void (await (await import('./compile.mjs')).compile()) },
  bench: { hostTools: true, servers: true, run: (args) => runModule('test/bench/run.ts', args) },
};

const [name = '', ...args] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command === undefined) {
  process.stderr.write(`usage: node bin/${basename(import.meta.filename)} ${Object.keys(commands).join('|')} [arguments]\n`);
  process.exitCode = 2;
} else {
  await orExplain(() => setUp({ hostTools: command.hostTools, servers: command.servers }));
  await command.run(args);
}
