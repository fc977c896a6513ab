/** Has rpm check the digests and OpenPGP signatures of stored RPMs against a keyring of our own. */
import { SpindleError } from '../build/failure.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Programs } from '../programs/programs.ts';
import type { Workspace } from '../workspace/workspace.ts';
import { readChecksig, type SignatureVerdict } from './checksig.ts';

export interface VerifyOptions {
  /** Armored public keys. */
  readonly keys: readonly string[];
  /** Of the workspace, used by nobody else. */
  readonly folder: string;
  readonly programs: Programs;
  readonly workspace: Workspace;
  readonly signal: AbortSignal;
  /** What puts the stored files where rpm reads them. */
  readonly rpms: { lend(rpms: readonly FileRef[], workspace: Workspace, folder: string): Promise<() => Promise<void>> };
}

const command = 'rpmkeys';
const atOnceMax = 200;
const deadlineMs = 30 * 60_000;
/** Of one file, be it as large as may be. */
const fileDeadlineMs = 5 * 60_000;
const outputBytesMax = 8 * 1024 * 1024;

/**
 * Has rpm check the digests of one file in a workspace, with an empty keyring: whose signatures it has cannot be told so, and they do not matter here. `folder`: of the workspace, used by
 * nobody else; `path`: of the file, relative to the workspace. Rejects with TOOL_MISSING, TOOL_TIMED_OUT or the signal's reason.
 */
export async function checkDigests(path: string, { folder, programs, workspace, signal }: Omit<VerifyOptions, 'keys' | 'rpms'>): Promise<SignatureVerdict> {
  await workspace.makeDirectory(`${folder}/keyring`);
  try {
    const result = await programs.run({
      command,
      args: ['--dbpath', `${workspace.path}/${folder}/keyring`, '--checksig', '-v', path],
      cwd: workspace.path,
      env: { HOME: `${workspace.path}/${folder}`, LC_ALL: 'C' },
      deadlineMs: fileDeadlineMs,
      outputBytesMax,
      signal,
      isolation: 'host',
    });
    return readChecksig(result.truncated ? '' : result.stdout, [path]).get(path) ?? { kind: 'broken', line: 'rpm says nothing of it' };
  } finally {
    await workspace.remove(folder);
  }
}

/** By SHA-256. Rejects with RELEASE_KEY_UNUSABLE where rpm takes a key for none, TOOL_MISSING, TOOL_TIMED_OUT or the signal's reason. */
export async function verifySignatures(rpms: readonly FileRef[], options: VerifyOptions): Promise<ReadonlyMap<string, SignatureVerdict>> {
  const { keys, folder, programs, workspace, signal, rpms: store } = options;
  await workspace.makeDirectory(`${folder}/keyring`);
  // Neither macros of whoever runs the service nor another language.
  const env = { HOME: `${workspace.path}/${folder}`, LC_ALL: 'C' };
  const keyring = ['--dbpath', `${workspace.path}/${folder}/keyring`];
  const cwd = `${workspace.path}/${folder}`;
  try {
    for (const [index, key] of keys.entries()) {
      const path = `key-${index}.asc`;
      await workspace.write(`${folder}/${path}`, key);
      const result = await programs.run({ command, args: [...keyring, '--import', path], cwd, env, deadlineMs: 60_000, signal, isolation: 'host' });
      if (result.exitCode !== 0) {
        const reason = `${result.stdout}\n${result.stderr}`.trim().split('\n').at(-1);
        throw new SpindleError('RELEASE_KEY_UNUSABLE', `rpm takes none of key ${index + 1}: ${reason ?? 'it gave no reason'}`);
      }
    }
    const verdicts = new Map<string, SignatureVerdict>();
    for (let start = 0; start < rpms.length; start += atOnceMax) {
      const batch = rpms.slice(start, start + atOnceMax);
      const giveBack = await store.lend(batch, workspace, folder);
      const names = batch.map(({ sha256 }) => `${sha256}.rpm`);
      // Its status only says whether all are well; each file's lines say what is wrong with it.
      const result = await programs.run({
        command,
        args: [...keyring, '--checksig', '-v', ...names],
        cwd,
        env,
        deadlineMs,
        outputBytesMax,
        signal,
        isolation: 'host',
      });
      await giveBack();
      const read = readChecksig(result.truncated ? '' : result.stdout, names);
      for (const { sha256 } of batch) verdicts.set(sha256, read.get(`${sha256}.rpm`) ?? { kind: 'broken', line: 'rpm says nothing of it' });
    }
    return verdicts;
  } finally {
    await workspace.remove(folder);
  }
}
