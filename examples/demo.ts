/** `npm run demo`: the whole service in one process, one image asked for as a user would, and the paths of what came of it, one a line. */
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli } from '../clients/cli/cli.ts';
import { startEmbedded } from '../services/embedded.ts';
import { systemClock } from '../shared/clock/system.ts';
import { readConfig } from '../shared/config/config.ts';
import { createLog } from '../shared/log/log.ts';
import { openEmbeddedStore } from '../shared/store/embedded.ts';

const example = fileURLToPath(new URL('./hello-live.yaml', import.meta.url));
const stateDir = resolve('.spindle-demo');
const resultDir = join(stateDir, 'result');
const letterMs = 30_000;
const clock = systemClock();

/** The command-line client against this service; what it says goes to standard error, what it answers comes back. */
async function spindle(url: string, ...args: readonly string[]): Promise<{ readonly status: number; readonly answer: string }> {
  let answer = '';
  const status = await runCli([...args, '--url', url], {
    stdout: (text) => {
      answer += text;
    },
    stderr: (text) => process.stderr.write(text),
    ...(process.stderr.isTTY ? { columns: process.stderr.columns ?? 80 } : {}),
    stdin: process.stdin,
    clock,
    environment: {},
  });
  return { status, answer };
}

/** The letter is sent after the end of the build, by a service of its own. */
async function letterPath(): Promise<string> {
  const directory = join(stateDir, 'mail');
  const deadline = clock.now() + letterMs;
  for (;;) {
    const name = (await readdir(directory).catch(() => [])).find((entry) => entry.endsWith('.eml'));
    if (name !== undefined) {
      await copyFile(join(directory, name), join(resultDir, 'letter.eml'));
      return join(resultDir, 'letter.eml');
    }
    if (clock.now() > deadline) throw new Error(`no letter came within ${letterMs / 1000} s`);
    await clock.sleep(100);
  }
}

async function demo(): Promise<number> {
  // Refused where another demo runs: what it works with must not be removed.
  await (await openEmbeddedStore({ path: join(stateDir, 'lock.sqlite') })).close();
  // Each demo begins anew; only the sample distribution, which takes the longest to make, is kept.
  for (const name of ['store', 'files', 'mail', 'work', 'result']) await rm(join(stateDir, name), { recursive: true, force: true });
  await mkdir(resultDir, { recursive: true });
  const config = readConfig({ SPINDLE_STATE_DIR: stateDir, SPINDLE_LISTEN: '127.0.0.1:0', SPINDLE_LOG_LEVEL: 'warn' });
  const service = await startEmbedded(config, createLog({ level: config.logLevel, destination: process.stderr }));
  try {
    process.stderr.write(`Spindle listens on ${service.url}; asking for ${'examples/hello-live.yaml'}\n`);
    const submitted = await spindle(service.url, 'build', 'submit', '-f', example, '--wait', '--output', 'json');
    const build =
      submitted.answer === ''
        ? undefined
        : (JSON.parse(submitted.answer) as { readonly id: string; readonly verdict: string | null; readonly verdictReason: string | null });
    if (!build || submitted.status !== 0) return submitted.status || 1;
    const downloaded = await spindle(service.url, 'build', 'download', build.id, '-o', resultDir, '--output', 'json');
    if (downloaded.status !== 0) return downloaded.status;
    const files = await readdir(resultDir);
    process.stderr.write(`boot verdict: ${build.verdict}: ${build.verdictReason}\n`);
    const image = files.find((name) => name.endsWith('.iso')) ?? 'no-image.iso';
    for (const path of [join(resultDir, image), join(resultDir, 'manifest.json'), join(resultDir, 'build.log'), await letterPath()])
      process.stdout.write(`${path}\n`);
    return build.verdict === 'booted' ? 0 : 1;
  } finally {
    await service.stop();
  }
}

process.exitCode = await demo();
