/** Holds every package of a resolution to the signatures that its release asks for; what was found once is remembered. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { SpindleError } from '../../shared/build/failure.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { Resolution, ResolvedPackage } from '../../shared/resolution/resolution.ts';
import type { SignatureVerdict } from '../../shared/rpm/checksig.ts';
import { verifySignatures } from '../../shared/rpm/verify-signatures.ts';
import type { StageContext } from '../../shared/stage/stage.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { acceptSignature } from './signature-policy.ts';

const keyBytesMax = 1024 * 1024;
const keyDeadlineMs = 30_000;

/** Packages that are held to the same keys. */
interface Group {
  readonly packages: readonly ResolvedPackage[];
  readonly keyUrls: readonly string[];
}

/** By SHA-256: the key that signed the package, or null where nobody did and the release allows that. Rejects as acceptSignature throws, with RELEASE_KEY_UNUSABLE, or as verifySignatures does. */
export async function checkSignatures(
  resolution: Resolution,
  release: Release,
  workspace: Workspace,
  context: StageContext,
): Promise<ReadonlyMap<string, string | null>> {
  const { log, progress } = context;
  const signers = new Map<string, string | null>();
  let broken: SpindleError | undefined;
  for (const [index, group] of groupsOf(resolution, release, context).entries()) {
    const hasKeys = group.keyUrls.length > 0;
    // Without any key nothing can be told of signatures, and a release that has none says that it does without.
    const verdicts = hasKeys ? await verdictsOf(group, `signatures-${index}`, workspace, context) : new Map<string, SignatureVerdict>();
    for (const rpm of group.packages) {
      try {
        signers.set(
          rpm.sha256,
          acceptSignature(rpm, verdicts.get(rpm.sha256) ?? { kind: 'unsigned' }, { ...release, hasKeys, takesUploads: context.untrustedCode.rpms }),
        );
      } catch (error) {
        if (!(error instanceof SpindleError)) throw error;
        log('side-repo', error.message);
        broken ??= error;
      }
    }
    progress(index + 1, 0, 'checking signatures');
  }
  if (broken) throw broken;
  const own = new Set(resolution.packages.filter(({ untrusted }) => untrusted).map(({ sha256 }) => sha256));
  const unsigned = [...signers].filter(([sha256, key]) => key === null && !own.has(sha256)).length;
  const uploaded = own.size > 0 ? `; ${own.size} were uploaded by the requester` : '';
  log(
    'side-repo',
    `${[...signers.values()].filter((key) => key !== null).length} packages have a trusted signature; ${unsigned} have none, which ${release.name} allows${uploaded}`,
  );
  return signers;
}

/** A requester's own repository has keys of its own, or none; all else has those of the release. */
function groupsOf({ packages }: Resolution, release: Release, { request }: StageContext): readonly Group[] {
  const own = request.sources.repositories.map(({ name, gpgkey }) => ({
    packages: packages.filter(({ role, repository }) => role === 'requested' && repository === name),
    keyUrls: gpgkey === undefined ? [] : [gpgkey],
  }));
  // Repositories of a kickstart's repo lines: without keys, so their packages count as unsigned.
  const named = new Set(request.sources.repositories.map(({ name }) => name));
  const ofKickstart = { packages: packages.filter(({ role, repository }) => role === 'requested' && !named.has(repository)), keyUrls: [] };
  const ofRelease = { packages: packages.filter(({ role }) => role !== 'requested'), keyUrls: release.keys };
  if (release.keys.length === 0 && release.unsigned !== 'allow') {
    throw new SpindleError('RELEASE_KEY_UNUSABLE', `${release.name} takes signed packages, and the releases file names no keys of it; add them under keys`);
  }
  return [ofRelease, ...own, ofKickstart].filter((group) => group.packages.length > 0);
}

async function verdictsOf(group: Group, folder: string, workspace: Workspace, context: StageContext): Promise<ReadonlyMap<string, SignatureVerdict>> {
  const { rpms, programs, signal } = context;
  const keys = await Promise.all(group.keyUrls.map((url) => fetchKey(url, context)));
  const keyring = createHash('sha256').update(JSON.stringify(keys)).digest('hex').slice(0, 32);
  const verdicts = new Map(
    rpms.verdicts(
      keyring,
      group.packages.map(({ sha256 }) => sha256),
    ),
  );
  const open = group.packages.filter(({ sha256 }) => !verdicts.has(sha256));
  if (open.length === 0) return verdicts;
  const found = await verifySignatures(open, { keys, folder, programs, workspace, signal, rpms });
  rpms.noteVerdicts(keyring, found);
  for (const [sha256, verdict] of found) verdicts.set(sha256, verdict);
  return verdicts;
}

/** Rejects with RELEASE_KEY_UNUSABLE. */
async function fetchKey(url: string, { egress, signal }: StageContext): Promise<string> {
  const unusable = (why: string, cause?: unknown) => new SpindleError('RELEASE_KEY_UNUSABLE', `the key ${url.slice(0, 300)} ${why}`, { cause });
  const text = url.startsWith('file:') ? await readLocal(url).catch((error: Error) => unusable(`cannot be read (${error.message})`, error)) : undefined;
  if (text instanceof SpindleError) throw text;
  if (text !== undefined) return checked(text, unusable);
  const answer = await egress.fetchText({ url, bytesMax: keyBytesMax, deadlineMs: keyDeadlineMs, signal });
  if (answer.status !== 200) throw unusable(`is answered with HTTP status ${answer.status}`);
  return checked(answer.text, unusable);
}

function checked(text: string, unusable: (why: string) => SpindleError): string {
  if (!text.includes('-----BEGIN PGP PUBLIC KEY BLOCK-----')) throw unusable('is no OpenPGP public key');
  return text;
}

/** The releases file is the operator's; still no more is read than a key can have. */
async function readLocal(url: string): Promise<string> {
  const file = await open(new URL(url), 'r');
  try {
    const { size } = await file.stat();
    if (size > keyBytesMax) throw new Error(`it has ${size} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
