/**
 * A file of 4 GiB into an S3 server of this machine, divided by `rclone copyto` with its checksums on.
 *
 * Ours is what a stage does with its image: its SHA-256, then an upload in parts whose CRC32 the server checks. rclone's is the MD5 of the file, then an upload in parts whose MD5 the server checks. Both
 * are written by the same versitygw to the same disk; what one leaves is removed before the other begins. Starting rclone counts, some hundredths of a second; our process stands.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { s3Missing, startS3 } from '../support/servers/s3.ts';
import { compare, missed, note, print, rounded } from './figure.ts';
import { nextMessage, startSubject } from './subject-process.ts';
import type { UploadAnswer, UploadOrder } from './upload-subject.ts';

const rounds = 5;
const bytes = 4 * 1024 ** 3;
const residentMBMax = 200;
const roundMsMax = 600_000;

export async function upload(): Promise<void> {
  const missing = s3Missing();
  if (missing !== undefined) throw new Error(missing);
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-upload-'));
  const server = await startS3();
  const subject = startSubject('upload-subject');
  try {
    const path = join(directory, 'image.iso');
    await writeNoise(path);
    const { username: key, password: secret } = new URL(server.url);
    const remote = {
      RCLONE_CONFIG_BENCH_TYPE: 's3',
      RCLONE_CONFIG_BENCH_PROVIDER: 'Other',
      RCLONE_CONFIG_BENCH_ENDPOINT: server.endpoint,
      RCLONE_CONFIG_BENCH_ACCESS_KEY_ID: key,
      RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY: secret,
      RCLONE_CONFIG_BENCH_REGION: 'us-east-1',
      RCLONE_CONFIG: join(directory, 'rclone.conf'),
    };
    const rclone = (...args: readonly string[]) => run('rclone', args, remote);
    let residentMB = 0;
    const ours = async () => {
      await run('sync', []);
      subject.send({ url: server.url, path } satisfies UploadOrder);
      const answer = await nextMessage<UploadAnswer>(subject, roundMsMax);
      if (answer.size !== bytes) throw new Error(`${answer.size} bytes were stored`);
      residentMB = Math.max(residentMB, answer.residentMB);
      return answer.ms / 1000;
    };
    const reference = async () => {
      await run('sync', []);
      const startedAt = performance.now();
      await rclone('copyto', '--s3-no-check-bucket', path, `bench:${server.bucket}/rclone/image.iso`);
      const seconds = (performance.now() - startedAt) / 1000;
      await rclone('deletefile', `bench:${server.bucket}/rclone/image.iso`);
      return seconds;
    };
    const figure = await compare(rounds, { ours, reference });
    print('upload', 'seconds', figure, { bytes, residentMB: rounded(residentMB), MBPerSecond: rounded(bytes / 1e6 / figure.ours) });
    if (residentMB > residentMBMax) missed('upload', `at most ${residentMBMax} MB resident, not ${residentMB.toFixed(0)}`);
  } finally {
    subject.kill();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Content that nothing can be saved on, made fast: blocks of one random one, each with its number in it. */
async function writeNoise(path: string): Promise<void> {
  note(`bench: making a file of ${bytes} bytes`);
  const block = Buffer.alloc(16 * 1024 ** 2);
  for (let at = 0; at < block.byteLength; at += 32) createHash('sha256').update(String(at)).digest().copy(block, at);
  const file = await open(path, 'wx');
  for (let number = 0; number < bytes / block.byteLength; number += 1) {
    for (let at = 0; at < block.byteLength; at += 4096) block.writeUInt32LE(number, at);
    await file.writeFile(block);
  }
  await file.close();
}

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      // Nothing of AWS's own settings on this machine.
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: roundMsMax,
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-2000);
    });
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}: ${said}`))));
  });
}
