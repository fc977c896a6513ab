/**
 * 500 files as RPMs are, from a loopback server in a process of its own, into the store, divided by `curl --parallel` with as many connections.
 *
 * Ours: each file is fetched over a kept connection, hashed as it comes, compared with its SHA-256 and size, its header read to see that it is the package that was asked for, and linked to its name
 * in the store. curl's: each file is written to a name of its own in one directory of the same file system; nothing is hashed. Neither side waits for the disk: the side-repo stage makes all of a
 * build's files durable in one go, once they are there, and `syncS` says how long that takes. Starting curl counts, some hundredths of a second; our process and its threads stand, as the service's do.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerReady } from './download-server.ts';
import type { SubjectAnswer, SubjectOrder } from './download-subject.ts';
import { compare, median, missed, note, print, rounded } from './figure.ts';
import { nextMessage, startSubject } from './subject-process.ts';

const rounds = 10;
const connections = 8;
const residentMBMax = 150;
const roundMsMax = 120_000;

export async function download(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-download-'));
  const server = startSubject('download-server');
  const subject = startSubject('download-subject');
  try {
    const ready = await nextMessage<ServerReady>(server, roundMsMax);
    const megabytes = ready.rpms.reduce((sum, { size }) => sum + size, 0) / 1e6;
    let residentMB = 0;
    const syncs: number[] = [];
    /** Both begin with an empty directory and no writes of the other's under way. */
    const inNewDirectory = async <T>(action: (path: string) => Promise<T>): Promise<T> => {
      const path = join(directory, 'round');
      await mkdir(path);
      await run('sync', []);
      try {
        return await action(path);
      } finally {
        await rm(path, { recursive: true });
      }
    };
    const ours = () =>
      inNewDirectory(async (path) => {
        subject.send({ ...ready, directory: path, connections } satisfies SubjectOrder);
        const answer = await nextMessage<SubjectAnswer>(subject, roundMsMax);
        residentMB = Math.max(residentMB, answer.residentMB);
        syncs.push(answer.syncMs / 1000);
        return answer.ms / 1000;
      });
    const reference = () =>
      inNewDirectory(async (path) => {
        const list = join(path, 'list');
        await writeFile(list, ready.rpms.map(({ file }) => `url = "${ready.base}/${file}"\noutput = "${join(path, file)}"\n`).join(''));
        const startedAt = performance.now();
        await run('curl', ['--parallel', '--parallel-max', String(connections), '--silent', '--show-error', '--no-progress-meter', '--fail', '--config', list]);
        const seconds = (performance.now() - startedAt) / 1000;
        const written = (await readdir(path)).length - 1;
        if (written !== ready.rpms.length) throw new Error(`curl wrote ${written} of ${ready.rpms.length} files`);
        return seconds;
      });
    // What is compiled and looked up only once.
    await ours();
    const figure = await compare(rounds, { ours, reference });
    print('download', 's', figure, {
      megabytes: rounded(megabytes),
      files: ready.rpms.length,
      connections,
      residentMB: rounded(residentMB),
      syncS: rounded(median(syncs)),
    });
    note(`download: ${(megabytes / figure.ours).toFixed(0)} MB/s, curl ${(megabytes / figure.reference).toFixed(0)} MB/s`);
    if (residentMB > residentMBMax) missed('download', `at most ${residentMBMax} MB resident`);
  } finally {
    server.kill();
    subject.kill();
    await rm(directory, { recursive: true, force: true });
  }
}

async function run(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: roundMsMax, killSignal: 'SIGKILL' });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve(status));
  });
  if (code !== 0) throw new Error(`${command} ended with ${code}`);
}
