/** The first bytes of a remote file: how they are asked for, and what a host's answer to that means. Pure. */
import { SpindleError } from '../build/spindle-error.ts';
import type { EgressAnswer, EgressRequest } from './egress.ts';

/** The same request with the range in its headers. Its bound on the answer is the caller's to keep: a host that knows no ranges sends the whole. */
export function startRequest({ bytes, ...request }: Omit<EgressRequest, 'bytesMax'> & { readonly bytes: number }): EgressRequest {
  return { ...request, headers: { ...request.headers, range: `bytes=0-${bytes - 1}` }, bytesMax: Number.MAX_SAFE_INTEGER };
}

/** The size of the whole file, where the answer says so. Throws REMOTE_UNREACHABLE where the range is not the one that was asked for. */
export function totalSizeOf({ status, headers, url }: EgressAnswer): number | undefined {
  if (status === 200) return sizeOf(headers['content-length']);
  if (status !== 206) return undefined;
  const match = /^bytes 0-\d+\/(\d+|\*)$/.exec(headers['content-range'] ?? '');
  if (!match) {
    throw new SpindleError(
      'REMOTE_UNREACHABLE',
      `${url} answers with another part than was asked for: ${(headers['content-range'] ?? 'it does not say which').slice(0, 80)}`,
    );
  }
  return sizeOf(match[1]);
}

function sizeOf(text: string | undefined): number | undefined {
  const size = /^\d{1,15}$/.test(text ?? '') ? Number(text) : undefined;
  return size;
}
