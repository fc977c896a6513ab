/** What the REST interface says no with: RFC 9457 problem details, each with a stable code. Pure. */
import { z } from 'zod';
import { type FailureCode, failureKinds } from '../build/failure.ts';

const problem = (status: number, means: string) => ({ status, means });

/** Codes of the REST interface besides those of failures (shared/build/failure.ts). Never renamed, never used for something else. */
export const problemKinds = {
  BODY_UNREADABLE: problem(400, 'The body is not JSON or YAML as its Content-Type says, or holds what no request may hold.'),
  BODY_MISSING: problem(400, 'The request needs a body.'),
  BODY_TOO_LARGE: problem(413, 'The body is larger than 1 MiB.'),
  MEDIA_TYPE_UNSUPPORTED: problem(415, 'Bodies are application/json or application/yaml.'),
  QUERY_INVALID: problem(400, 'A parameter of the query is unknown or has a value that it cannot have.'),
  HEADER_INVALID: problem(400, 'A header has a value that it cannot have.'),
  URL_INVALID: problem(400, 'The path is not a valid URL path.'),
  HTTP_INVALID: problem(400, 'What came is not HTTP.'),
  HEADERS_TOO_LARGE: problem(431, 'The headers are too large.'),
  REQUEST_TIMED_OUT: problem(408, 'The request did not arrive in time.'),
  HOST_REFUSED: problem(421, 'The Host header names a host that this service does not answer for.'),
  ORIGIN_REFUSED: problem(403, 'The request comes from a page of another site.'),
  PATH_UNKNOWN: problem(404, 'There is nothing at this path.'),
  METHOD_NOT_ALLOWED: problem(405, 'The path is there, but not for this method; the Allow header names those that are.'),
  BUILD_UNKNOWN: problem(404, 'There is no such build.'),
  WORKER_UNKNOWN: problem(404, 'There is no such worker.'),
  DEAD_LETTER_UNKNOWN: problem(404, 'There is no such dead letter, or not any more.'),
  DEAD_LETTER_UNUSABLE: problem(409, 'Nothing could come of the dead letter: its build is done or not recorded any more, or no queue takes the message.'),
  GROUP_UNKNOWN: problem(404, 'There is no such group of builds.'),
  ARTIFACT_UNKNOWN: problem(404, 'The build has no such artifact, or not yet.'),
  ARTIFACT_GONE: problem(410, 'The file of this artifact has been removed.'),
  SIDE_REPO_UNKNOWN: problem(404, 'The build has no side repository, or not yet; or there are no repositories of this digest.'),
  SIDE_REPO_FILE_UNKNOWN: problem(404, 'The repository has no file at this path.'),
  REPOSITORY_TOKEN_MISSING: problem(401, 'The repositories of a build are read with their token in the Authorization header.'),
  BUILD_ENDED: problem(409, 'The build has ended already.'),
  BUILD_NOT_ENDED: problem(409, 'The build has not ended yet.'),
  RESOLUTION_MISSING: problem(409, 'The build has no recorded resolution that a retry could use again.'),
  IDEMPOTENCY_KEY_REUSED: problem(422, 'The Idempotency-Key was used before with another request.'),
  RANGE_NOT_SATISFIABLE: problem(416, 'The range lies outside the file.'),
  RPM_UNREADABLE: problem(422, 'What was uploaded is not an RPM, or ends before it should.'),
  RPM_SOURCE: problem(422, 'What was uploaded is a source RPM; images are made of binary ones.'),
  RPM_NAME_INVALID: problem(422, 'The uploaded RPM has a name, version, release or architecture that no RPM can have.'),
  RPM_PATHS_REFUSED: problem(422, 'The uploaded RPM names a file that is outside of the system it is installed into.'),
  RPM_CONTENTS_TOO_LARGE: problem(422, 'The uploaded RPM has too large a header, too many files, or would need too much room once installed.'),
  RPM_BROKEN: problem(422, 'rpm finds a wrong digest in the uploaded RPM, or none that it can check.'),
  RPM_DIGEST_MISMATCH: problem(422, 'What arrived has another SHA-256 than the Repr-Digest or Content-Digest header says.'),
  RPM_TOO_LARGE: problem(413, 'The uploaded file is larger than one RPM may be here.'),
  RPM_NOT_FOUND: problem(404, 'There is no such uploaded RPM.'),
  RPM_IN_USE: problem(409, 'A build that has not ended uses the uploaded RPM.'),
  QUOTA_EXCEEDED: problem(403, 'The uploaded RPMs of this owner would be too many or too large together; deleting some makes room.'),
  UPLOADS_BUSY: problem(429, 'Too many uploads are under way.'),
  QUEUE_FULL: problem(429, 'Too many builds wait already.'),
  TOO_MANY_FOLLOWERS: problem(429, 'Too many clients follow builds already.'),
  RESOLVE_BUSY: problem(429, 'Too many dry runs are under way.'),
  RESOLVE_TIMED_OUT: problem(424, 'The dry run did not end in its time.'),
  SERVICE_UNAVAILABLE: problem(503, 'The service, or something it needs, is not there at the moment.'),
} as const satisfies Record<string, { readonly status: number; readonly means: string }>;

export type ProblemCode = keyof typeof problemKinds | FailureCode;

/** One thing that is wrong: where (`sources.kojiBuilds[0]`), a stable code, and a sentence. */
export const FieldProblem = z.object({ field: z.string(), code: z.string(), message: z.string() });
export type FieldProblem = z.infer<typeof FieldProblem>;

export const ProblemDetails = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  code: z.string(),
  detail: z.string(),
  errors: z.array(FieldProblem).optional(),
});
export type ProblemDetails = z.infer<typeof ProblemDetails>;

/** Codes of failures answer 403 where a permission is missing, 422 where the requester is at fault otherwise, 424 where another host is, 503 otherwise; INTERNAL is 500. */
function statusOf(code: ProblemCode): number {
  if (code in problemKinds) return problemKinds[code as keyof typeof problemKinds].status;
  const { fault, retry } = failureKinds[code as FailureCode];
  if (code === 'UNTRUSTED_CODE_REFUSED') return 403;
  if (fault === 'requester') return 422;
  if (code === 'INTERNAL') return 500;
  return retry === 'remote' && !/^(STORE|BUS|MAIL)_/.test(code) ? 424 : 503;
}

/** Thrown by routes; becomes the answer. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  readonly status: number;
  readonly errors: readonly FieldProblem[];
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    code: ProblemCode,
    detail: string,
    options: { readonly errors?: readonly FieldProblem[]; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(detail);
    this.code = code;
    this.status = statusOf(code);
    this.errors = options.errors ?? [];
    this.headers = options.headers ?? {};
  }
}

const titles: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  410: 'Gone',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  416: 'Range Not Satisfiable',
  421: 'Misdirected Request',
  422: 'Unprocessable Content',
  424: 'Failed Dependency',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

export function detailsOf(problem: Problem): ProblemDetails {
  return {
    type: 'about:blank',
    title: titles[problem.status] ?? 'Error',
    status: problem.status,
    code: problem.code,
    detail: problem.message,
    ...(problem.errors.length > 0 ? { errors: [...problem.errors] } : {}),
  };
}

/** Foreign text as part of a message: quoted, cut, nothing unprintable. */
export function quoted(text: string): string {
  const cut = text.length > 80 ? `${text.slice(0, 79)}…` : text;
  return JSON.stringify(cut).replace(/[\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu, '\ufffd');
}
