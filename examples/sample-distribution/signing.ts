/** Signs Sample Linux's RPMs with OpenPGP keys that are made for this one generation: rpm's and GnuPG's own tools, in a home that is removed at the end. */
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunTool } from './host-programs.ts';

/** Who signs: the distribution, a repository beside it, and a stranger whom no release trusts. */
export const signers = ['sample', 'copr', 'stranger'] as const;
export type Signer = (typeof signers)[number];

/** The file name of a signer's public key. */
const keyName = (signer: Signer) => `RPM-GPG-KEY-${signer}`;

export interface Signing {
  /** Each is a new file afterwards; other names of the old one keep that. */
  sign(signer: Signer, paths: readonly string[]): Promise<void>;
  /** Writes the public keys, one file each. */
  exportKeys(directory: string): Promise<void>;
  /** Ends GnuPG's agent and removes the private keys. */
  close(): Promise<void>;
}

const addressOf = (signer: Signer) => `${signer}@sample.invalid`;

export async function openSigning(run: RunTool): Promise<Signing> {
  // Short, since the agent's socket lies in it, and a socket's path holds 107 bytes.
  const home = await mkdtemp(join(tmpdir(), 'sg-'));
  const env = { HOME: home, GNUPGHOME: home, LC_ALL: 'C' };
  const close = async () => {
    await run('gpgconf', ['--kill', 'gpg-agent'], { env }).catch(() => {});
    await rm(home, { recursive: true, force: true });
  };
  try {
    for (const signer of signers) {
      const recipe = join(home, `${signer}.recipe`);
      const lines = ['%no-protection', 'Key-Type: RSA', 'Key-Length: 3072', 'Key-Usage: sign', `Name-Real: Sample Linux (${signer})`];
      await writeFile(recipe, [...lines, `Name-Email: ${addressOf(signer)}`, 'Expire-Date: 0', '%commit', ''].join('\n'), { mode: 0o600 });
      await run('gpg', ['--batch', '--quiet', '--gen-key', recipe], { env });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    close,
    sign: async (signer, paths) => {
      if (paths.length === 0) return;
      // rpmsign writes into the file: its other names would be signed too.
      for (const path of paths) {
        await copyFile(path, `${path}.copy`);
        await rename(`${path}.copy`, path);
      }
      // Debian's rpm names a gpg that is not there.
      const macros = ['__gpg /usr/bin/gpg', `_gpg_path ${home}`, `_gpg_name ${addressOf(signer)}`];
      await run('rpmsign', [...macros.flatMap((macro) => ['--define', macro]), '--addsign', ...paths], { env });
    },
    exportKeys: async (directory) => {
      await mkdir(directory, { recursive: true });
      for (const signer of signers) {
        const armored = await run('gpg', ['--batch', '--armor', '--export', addressOf(signer)], { env });
        await writeFile(join(directory, keyName(signer)), armored);
      }
    },
  };
}
