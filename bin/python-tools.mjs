/**
 * Installs the Python tools that tests hold our output against, those of python-tools.txt, into a virtual environment below .set-up/. Once: it is made anew only
 * when the list or the interpreter changes. Where PyPI cannot be reached that is said, and the tests that need such a tool are skipped by name.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lastLines, readTextOr, root, run, say, seconds, withLock } from './set-up.mjs';

const listPath = join(root, 'bin', 'python-tools.txt');
const environment = join(root, '.set-up', 'python-tools');
const recordPath = join(environment, 'installed.txt');

/** Resolves with whether the tools are in place; never rejects because of PyPI. */
export async function ensurePythonTools() {
  const { code, output: version } = await run('python3', ['--version']);
  if (code !== 0) return failed('python3 is not installed');
  const wanted = `${version.trim()}\n${readFileSync(listPath, 'utf8')}`;
  const isInPlace = () => readTextOr(recordPath, '') === wanted;
  if (isInPlace()) return true;
  return withLock('python-tools', async () => {
    if (isInPlace()) return true;
    const since = performance.now();
    say('installing the Python tools of bin/python-tools.txt with pip');
    rmSync(environment, { recursive: true, force: true });
    mkdirSync(join(root, '.set-up'), { recursive: true });
    const made = await run('python3', ['-m', 'venv', environment]);
    if (made.code !== 0) return failed(`python3 -m venv ended with status ${made.code}`, made.output);
    const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--quiet', '--no-deps', '--retries=2', '--timeout=30', '--requirement', listPath];
    const installed = await run(join(environment, 'bin', 'python3'), pip);
    if (installed.code !== 0) return failed(`pip install ended with status ${installed.code}`, installed.output);
    // Last, so that an installation that was cut off is not taken for a whole one.
    writeFileSync(recordPath, wanted);
    say(`Python tools are in place (${seconds(since)})`);
    return true;
  });
}

function failed(why, output = '') {
  const lines = lastLines(output, 4);
  say(`${why}, so tests that need a Python tool are skipped; mend it and run node bin/python-tools.mjs${lines === '' ? '' : `\n${lines}`}`);
  return false;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = (await ensurePythonTools()) ? 0 : 1;
