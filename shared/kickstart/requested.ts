/** A request's kickstart on its way through a build: fetched, judged and stored by the resolver, read again by those who make the image. */
import { SpindleError } from '../build/failure.ts';
import type { Engine, SingleBuildRequest } from '../build/request.ts';
import { refuseUntrustedCode, type UntrustedCode } from '../build/untrusted-code.ts';
import type { Egress } from '../egress/egress.ts';
import { readContentText, storeContent } from '../files/content.ts';
import type { FileRef } from '../files/content-ref.ts';
import type { Files } from '../files/files.ts';
import type { Release } from '../releases/releases.ts';
import { withKickstart } from './apply.ts';
import { type KickstartContent, readContent, readText } from './content.ts';
import { flattenKickstart, kickstartError } from './fetch.ts';
import type { KickstartProblem } from './kickstart.ts';
import { refuseUnsayable } from './recipe-support.ts';

const bytesMax = 4 * 1024 * 1024;

interface FindOptions {
  readonly request: SingleBuildRequest;
  readonly release: Release;
  /** Null where no image is made. */
  readonly engine: Engine | null;
  readonly ports: { readonly egress: Egress; readonly files: Files };
  /** What the operator allows to run; undefined where nothing will be run. */
  readonly allowed: UntrustedCode | undefined;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * The request as it is with its kickstart, and the kickstart's whole text, includes and all, in the content store: a retry of the same uses that, whatever stands at its addresses by then. Rejects with
 * KICKSTART_INVALID, RECIPE_UNSUPPORTED, UNTRUSTED_CODE_REFUSED, KICKSTART_UNREACHABLE or the signal's reason.
 */
export async function findKickstart(options: FindOptions): Promise<{ readonly request: SingleBuildRequest; readonly stored: FileRef | undefined }> {
  const { request, release, engine, ports, allowed, log, signal } = options;
  if (request.kickstart === null) return { request, stored: undefined };
  const lines = await flattenKickstart(request.kickstart, { egress: ports.egress, log, signal });
  const { content, problems } = readContent(lines);
  refuse(problems);
  const text = lines.map((line) => `${line.text}\n`).join('');
  if (allowed) refuseUntrustedCode({ kickstart: text, sources: { rpms: [] } }, allowed);
  if (engine) refuseUnsayable(content, engine, request.imageType);
  return { request: withKickstart(request, content, release), stored: await storeContent(ports.files, text) };
}

export interface StoredKickstart {
  /** The request as it is with the kickstart. */
  readonly request: SingleBuildRequest;
  readonly content: KickstartContent;
  /** As the requester gave it, with everything that it includes. */
  readonly text: string;
}

/** What the resolver stored. Rejects as reading a stored file does, and with UNTRUSTED_CODE_REFUSED where the permission was taken back since. */
export async function readStoredKickstart(
  stored: FileRef,
  {
    files,
    request,
    release,
    allowed,
  }: { readonly files: Files; readonly request: SingleBuildRequest; readonly release: Release; readonly allowed: UntrustedCode },
): Promise<StoredKickstart> {
  const text = await readContentText(files, stored, bytesMax);
  refuseUntrustedCode({ kickstart: text, sources: { rpms: [] } }, allowed);
  const { content, problems } = readText(text);
  // It was read without a fault when it was stored.
  if (problems.length > 0) throw new SpindleError('INTERNAL', 'the stored kickstart is not what was stored');
  return { request: withKickstart(request, content, release), content, text };
}

function refuse(problems: readonly KickstartProblem[]): void {
  const [first, ...others] = problems;
  if (first) throw kickstartError([first, ...others]);
}
