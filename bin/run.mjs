/**
 * What the npm scripts start: `node bin/run.mjs demo|start|test|check|sim|bench [arguments]`. It sets up what the command needs, then runs the real thing:
 * services in this very process, so that a signal sent to it reaches them, and tools as children.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { orExplain, root, setUp } from './set-up.mjs';

/** Runs a TypeScript module of this repository as if it had been the program's main file. */
async function runModule(path, args) {
  const { register } = await import('tsx/esm/api');
  register();
  const entry = join(root, path);
  process.argv = [process.execPath, entry, ...args];
  await import(pathToFileURL(entry).href);
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Runs one of Node's tools from node_modules. Signals are passed on, so that ending this process ends the tool. */
function runTool(path, args, { keepOutput = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'node_modules', path), ...args], {
      cwd: root,
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

/** Counts vitest's JSON report. A file that could not even be loaded counts as one failed test. */
function countTests(report) {
  const counts = { passed: 0, failed: 0, skipped: [] };
  for (const { name: file, status, assertionResults, message } of report.testResults ?? []) {
    const failedBefore = counts.failed;
    for (const test of assertionResults) {
      if (test.status === 'passed') counts.passed += 1;
      else if (test.status === 'failed') counts.failed += 1;
      else counts.skipped.push(`${relative(root, file)}: ${test.fullName}`);
    }
    if (status === 'failed' && counts.failed === failedBefore) {
      counts.failed += 1;
      process.stdout.write(`failed as a whole: ${relative(root, file)}: ${String(message).split('\n')[0]}\n`);
    }
  }
  return counts;
}

/** `npm test [-- project or file names, vitest flags, --require-servers]`. Its last line is always `N passed, N failed, N skipped`. */
async function test(args) {
  const requireServers = args.includes('--require-servers');
  const rest = args.filter((argument) => argument !== '--require-servers');
  const projects = testProjects();
  const chosen = rest.flatMap((argument) => (projects.includes(argument) ? ['--project', argument] : [argument]));
  const directory = mkdtempSync(join(tmpdir(), 'spindle-test-report-'));
  const reportPath = join(directory, 'report.json');
  let counts = { passed: 0, failed: 1, skipped: [] };
  let code = 1;
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`];
    ({ code } = await runTool('vitest/vitest.mjs', ['run', '--config', 'test/vitest.config.ts', ...reporters, ...chosen]));
    counts = countTests(JSON.parse(readFileSync(reportPath, 'utf8')));
  } catch (error) {
    process.stdout.write(`vitest ended with status ${code} and left no report: ${error.message}\n`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  // An error outside of every test, such as an unhandled rejection, fails the run too.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  if (counts.skipped.length > 0) process.stdout.write(`\nskipped:\n${counts.skipped.map((name) => `  ${name}\n`).join('')}`);
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped\n`);
  process.exitCode = counts.failed > 0 || (requireServers && counts.skipped.length > 0) ? 1 : 0;
}

const commands = {
  demo: { hostTools: true, run: (args) => runModule('examples/demo.ts', args) },
  start: { hostTools: true, run: (args) => runModule('services/embedded.ts', args) },
  test: { hostTools: true, run: test },
  check: { hostTools: false, run: check },
  sim: { hostTools: false, run: (args) => runModule('test/simulation/main.ts', args) },
  bench: { hostTools: true, run: (args) => runModule('test/bench/run.ts', args) },
};

const [name = '', ...args] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command === undefined) {
  process.stderr.write(`usage: node bin/${basename(import.meta.filename)} ${Object.keys(commands).join('|')} [arguments]\n`);
  process.exitCode = 2;
} else {
  await orExplain(() => setUp({ hostTools: command.hostTools }));
  await command.run(args);
}
