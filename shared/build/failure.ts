/** Every failure that Spindle names: whose it is, whether trying again can help, and the error that carries it. */
import { z } from 'zod';
import { SpindleError } from './spindle-error.ts';

export { SpindleError } from './spindle-error.ts';

/** How the runtime goes on after a failure. `never`: the build fails at once. The others are retried with the delays of `stage/disposition.ts`. */
export type RetryKind = 'never' | 'remote' | 'local' | 'bug' | 'lost';
type Fault = 'requester' | 'operator';

interface FailureKind {
  readonly fault: Fault;
  readonly retry: RetryKind;
  /** What it means, for docs/errors.md. */
  readonly means: string;
}

const requester = (means: string): FailureKind => ({ fault: 'requester', retry: 'never', means });
const operator = (retry: RetryKind, means: string): FailureKind => ({ fault: 'operator', retry, means });

/** Stable codes: never renamed, never used for something else. */
export const failureKinds = {
  // Requests
  REQUEST_INVALID: requester('The request does not match the schema; the problem names each field.'),
  RELEASE_UNKNOWN: requester('No such release in the releases file.'),
  ARCH_UNSUPPORTED: requester('The release is not built for this architecture here.'),
  IMAGE_TYPE_UNSUPPORTED: requester('No engine of this service makes this kind of image for this release.'),
  ENGINE_UNSUPPORTED: requester('The engine named in the request cannot make this image here.'),
  UNTRUSTED_CODE_REFUSED: requester(
    'The request brings code that would run as root on the build node (scripts in a kickstart, scriptlets of uploaded RPMs), and this service does not allow that.',
  ),
  RPM_UNKNOWN: requester('The request names an uploaded RPM that is not there: it was never uploaded by this owner, was deleted, or has expired.'),
  RPM_ARCH_UNSUPPORTED: requester('An uploaded RPM is for an architecture that it cannot be used for here.'),
  FEATURE_UNSUPPORTED: requester('The request uses a source or option that this service cannot serve yet.'),
  KICKSTART_INVALID: requester(
    'The kickstart of the request is wrong, asks for what no build takes, or includes what is not fetched; the message names the line.',
  ),
  RECIPE_UNSUPPORTED: requester(
    'The recipe of the chosen engine cannot say what the kickstart asks for; the message names the line, and the engines that can.',
  ),
  KICKSTART_UNREACHABLE: operator('remote', 'A kickstart, or a file that it includes, could not be fetched.'),
  // Resolving
  PACKAGE_UNKNOWN: requester('No repository of the request has a package, group or capability of this name.'),
  DEPENDENCIES_UNSOLVABLE: requester('The packages cannot be installed together; the solver says why.'),
  KOJI_BUILD_UNKNOWN: requester('Koji has no such build.'),
  KOJI_BUILD_NOT_COMPLETE: requester('The Koji build has not finished, failed, or was deleted.'),
  KOJI_BUILD_NO_RPMS: requester('The Koji build has no RPM for this architecture.'),
  REQUESTED_BUILD_CONFLICT: requester('A requested build cannot be in this image together with the rest of the request.'),
  KOJI_UNREACHABLE: operator('remote', 'Koji did not answer, or answered with something that is not XML-RPC.'),
  KOJI_FAULT: operator('remote', 'Koji answered with a fault that the request did not cause.'),
  KOJI_TASK_UNKNOWN: requester('Koji has no such task.'),
  KOJI_TASK_UNUSABLE: requester('The Koji task has not finished, failed, or leaves no RPM for this architecture.'),
  KOJI_TAG_UNKNOWN: requester('Koji has no such tag; a side tag is removed when its work is done.'),
  KOJI_TAG_TOO_LARGE: requester('The Koji tag holds more builds than one request may bring.'),
  KOJI_BUILD_OTHER_RELEASE: requester('The Koji build was made for another release, and no tag of this one holds it.'),
  ADVISORY_UNKNOWN: requester('Bodhi has no such advisory.'),
  ADVISORY_UNUSABLE: requester('The advisory is obsolete, unpushed, in a running push, empty, or of another release.'),
  RELEASE_ENDED: requester('The release has reached its end of life: nothing of it is updated or built any more.'),
  IMAGE_TOO_LARGE: requester('The packages together need more room than the medium or this service allows.'),
  REPOSITORY_REFUSED: requester(
    'A repository that the request itself names is not at its address, is at one that is not fetched from, or has metadata that cannot be trusted.',
  ),
  BODHI_UNREACHABLE: operator('remote', 'Bodhi did not answer, or answered with something that is not its JSON.'),
  REPOSITORY_METADATA_REFUSED: operator('remote', 'The metadata of a repository is not what its checksums say, or is written to do harm.'),
  REPOSITORY_ABSENT: operator('remote', 'There is no repository at its address: every mirror says that it has no such metadata.'),
  REPOSITORY_UNREACHABLE: operator('remote', 'The metadata of a repository could not be fetched.'),
  SOLVER_FAILED: operator('local', 'The dependency solver itself broke.'),
  // Packages
  PACKAGE_UNSIGNED: requester('The release takes signed packages only, and a package has no signature by a key that is trusted for it.'),
  PACKAGE_WRONGLY_SIGNED: requester('A package is signed with a key that is not trusted for where it comes from.'),
  RELEASE_KEY_UNUSABLE: operator('local', 'An OpenPGP key that packages are to be checked with is missing, cannot be fetched, or is none.'),
  PACKAGE_UNREACHABLE: operator('remote', 'An RPM could not be downloaded.'),
  PACKAGE_DIGEST_MISMATCH: operator('remote', 'A downloaded RPM is not the one that the metadata or Koji names.'),
  PACKAGE_MISMATCH: operator('remote', 'The header of an RPM names another package than was resolved.'),
  PACKAGE_REFUSED: requester('A package has files with paths that leave the system which it is installed into, or is for another architecture than the image.'),
  REPOSITORY_METADATA_FAILED: operator('local', 'createrepo_c failed.'),
  // Images
  ENGINE_FAILED: operator('never', 'The image tool ended with an error; its last relevant lines are the message.'),
  ENGINE_OUTPUT_MISSING: operator('never', 'The image tool said it succeeded, but left no image.'),
  ENGINE_OUTPUT_WRONG: operator(
    'never',
    'The image tool said it succeeded, but what it left is no image: empty, cut off, no ISO, a link, one of several, or nothing that a machine starts from.',
  ),
  REQUESTED_BUILD_MISSING: operator('never', 'The finished image does not hold a build that was asked for.'),
  IMAGE_UNREADABLE: operator('never', 'The finished image could not be read back.'),
  BOOT_TEST_BROKEN: operator('local', 'The virtual machine could not be started, so nothing was tested.'),
  // Hosts, tools and ports
  NO_WORKER: operator('local', 'No build node that is there can make this image. The build waits until one can; its status says what each one lacks.'),
  TOOL_MISSING: operator('never', 'A host tool is not installed on this worker.'),
  TOOL_TIMED_OUT: operator('never', 'A host tool did not end in its time and was ended with its whole process group.'),
  RESOURCE_LIMIT: requester('The image tool needed more memory, processes or disk than one build may have here; the message names the bound and its setting.'),
  ISOLATION_FAILED: operator('never', 'The namespaces, mounts or control groups that a tool is to run in could not be made on this worker.'),
  STAGE_TIMED_OUT: operator('never', 'The stage did not end in its time.'),
  WORKER_LOST: operator('lost', 'The process that ran the stage vanished.'),
  DISK_FULL: operator('local', 'No space was left.'),
  FILES_UNAVAILABLE: operator('remote', 'The file storage cannot be reached, or does not do what it is asked.'),
  FILE_MISSING: operator('local', 'A stored file is gone.'),
  FILE_CORRUPT: operator('local', 'A stored file has other content than its digest says.'),
  FILE_TOO_LARGE: operator('never', 'A file is larger than the bound for its kind.'),
  PATH_REFUSED: operator('never', 'A file name would leave the directory it belongs to.'),
  REMOTE_UNREACHABLE: operator('remote', 'Another host did not answer.'),
  REMOTE_TOO_LARGE: operator('never', 'Another host answered with more than the bound.'),
  REMOTE_REFUSED: operator('never', 'An address, scheme or redirect that this service does not follow.'),
  BUS_UNAVAILABLE: operator('remote', 'The bus cannot be reached.'),
  BUS_UNROUTABLE: operator('remote', 'No queue is bound for this event.'),
  BUS_TOPOLOGY_DRIFT: operator('never', 'The broker holds a queue or exchange of another shape than this version needs; the message says what differs.'),
  STORE_UNAVAILABLE: operator('remote', 'The store cannot be reached.'),
  STATE_DIR_LOCKED: operator('never', 'Another process uses this state directory.'),
  MAIL_UNAVAILABLE: operator('remote', 'The mail server cannot be reached.'),
  MAIL_REFUSED: operator('never', 'The mail server refused the letter for good.'),
  PORT_CLOSED: operator('local', 'A port was used after it was closed.'),
  INTERNAL: operator('bug', 'Spindle has a bug; the log has the details.'),
} as const satisfies Record<string, FailureKind>;

export type FailureCode = keyof typeof failureKinds;
export const FailureCode = z.enum(Object.keys(failureKinds) as [FailureCode, ...FailureCode[]]);

/** Why a build failed, as the requester sees it. */
export const Failure = z.object({
  code: FailureCode,
  stage: z.string(),
  /** One sentence or two: what was tried, what came back, what to do now. */
  message: z.string().max(2000),
  fault: z.enum(['requester', 'operator']),
  /** True where the same request may succeed later, unchanged and without anybody's doing. */
  retryable: z.boolean(),
  /** What the stage was doing, where it told. */
  phase: z.string().max(100).optional(),
  /** The last lines that matter of the tool or service that said no. */
  details: z.array(z.string().max(2000)).max(40).optional(),
});
export type Failure = z.infer<typeof Failure>;

const cut = (text: string, length: number) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** An error of any kind as the failure of a build. Errors without a code show no inner text: it may hold what the requester must not see. */
export function failureOf(error: unknown, stage: string): Failure {
  if (error instanceof SpindleError) {
    const kind = failureKinds[error.code];
    return {
      code: error.code,
      stage,
      message: cut(error.message, 2000),
      fault: kind.fault,
      retryable: kind.retry !== 'never',
      ...(error.details.length > 0 ? { details: error.details.slice(-40).map((line) => cut(line, 2000)) } : {}),
    };
  }
  return { code: 'INTERNAL', stage, message: `Spindle broke in ${stage}; the operator's log has the reason.`, fault: 'operator', retryable: true };
}

export function retryKindOf(error: unknown): RetryKind {
  return error instanceof SpindleError ? failureKinds[error.code].retry : 'bug';
}
