/** Sends one stored file: whole, as a range, or as the word that the client has it already. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { FileRef } from '../../shared/files/content-ref.ts';
import type { FileKey, Files } from '../../shared/files/files.ts';
import { Problem } from '../../shared/http/problem.ts';
import { namesTag, parseRange } from './range.ts';

export interface StoredFile extends FileRef {
  readonly key: FileKey;
  /** For messages. */
  readonly name: string;
  readonly mediaType: string;
}

/** The ETag is the SHA-256 of the content. Throws ARTIFACT_GONE where the file is not there any more, RANGE_NOT_SATISFIABLE. */
export async function sendStored(request: FastifyRequest, reply: FastifyReply, files: Files, file: StoredFile): Promise<FastifyReply> {
  const tag = `"${file.sha256}"`;
  reply
    .header('etag', tag)
    .header('accept-ranges', 'bytes')
    .header('cache-control', 'private, no-cache')
    .header('content-type', file.mediaType)
    .header('repr-digest', `sha-256=:${Buffer.from(file.sha256, 'hex').toString('base64')}:`);
  if (namesTag(request.headers['if-none-match'], tag)) return reply.code(304).send();
  // HEAD is answered here: a link is signed for GET.
  const link = request.method === 'GET' ? await files.link(file.key, { fileName: file.name, mediaType: file.mediaType }) : undefined;
  if (link !== undefined) return reply.header('cache-control', 'no-store').redirect(link, 307);
  const ifRange = request.headers['if-range'];
  const mayRange = ifRange === undefined || ifRange === tag;
  const range = mayRange ? parseRange(request.headers.range, file.size) : undefined;
  if (range === 'unsatisfiable') {
    throw new Problem('RANGE_NOT_SATISFIABLE', `the file has ${file.size} bytes`, { headers: { 'content-range': `bytes */${file.size}` } });
  }
  reply.code(range ? 206 : 200).header('content-length', range ? range.end - range.start + 1 : file.size);
  if (range) reply.header('content-range', `bytes ${range.start}-${range.end}/${file.size}`);
  if (request.method === 'HEAD') return reply.send();
  const found = await files.get(file.key, range);
  if (!found) throw new Problem('ARTIFACT_GONE', `the file of ${file.name} has been removed`);
  return reply.send(Readable.from(found.body, { objectMode: false }));
}
