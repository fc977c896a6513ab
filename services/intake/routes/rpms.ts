/** Routes for uploaded RPMs: send, list, show, delete. The body of an upload is the RPM itself, read as it comes and never held whole. */
import type { Readable } from 'node:stream';
import type { ZodTypeProvider } from '@fastify/type-provider-zod';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Problem, quoted } from '../../../shared/http/problem.ts';
import type { UploadedRpm } from '../../../shared/uploads/uploaded-rpm.ts';
import { type App, type IntakePorts, isId } from '../ports.ts';
import { PublicRpm, publicRpm, RpmList, rpmsPath } from '../view.ts';

const rpmTypes = ['application/x-rpm', 'application/x-redhat-package-manager', 'application/octet-stream'] as const;
/** How long a refused sender may go on sending what nobody reads: so it sees the answer instead of a broken connection. */
const lingerMs = 10_000;
const idParameter = z.object({ id: z.string() });
/** There is no sign-in yet: all uploads are one owner's. */
const owner = null;

export async function rpmRoutes(scope: App, { clock, uploads, uploadLingerMs = lingerMs }: IntakePorts): Promise<void> {
  const app = scope.withTypeProvider<ZodTypeProvider>();
  const stopping = new AbortController();
  const lingering = new Set<FastifyRequest['raw']>();
  scope.addHook('preClose', (done) => {
    stopping.abort(new Problem('SERVICE_UNAVAILABLE', 'the service stops; send the RPM again later', { headers: { connection: 'close' } }));
    for (const raw of lingering) raw.destroy();
    done();
  });
  // No body is parsed here: an upload is read by its handler, and the other routes take none.
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));

  const required = async (id: string): Promise<UploadedRpm> => {
    const [found] = isId(id) ? await uploads.usable([id], owner) : [];
    if (!found) throw new Problem('RPM_NOT_FOUND', 'there is no uploaded RPM of this id');
    return found;
  };

  app.route({
    method: 'POST',
    url: rpmsPath,
    schema: {
      tags: ['rpms'],
      summary: 'Upload an RPM to name under sources.rpms',
      description:
        'The body is the RPM itself, as application/x-rpm or application/octet-stream. `Repr-Digest` or `Content-Digest` with a sha-256 are checked. The same bytes give the same id again (200), and are kept for longer.',
      consumes: [...rpmTypes],
      headers: z.object({ 'repr-digest': z.string().optional(), 'content-digest': z.string().optional() }),
      response: { 200: PublicRpm, 201: PublicRpm },
    },
    handler: async (request, reply) => {
      const stream = request.body as Readable | undefined;
      try {
        checkType(request);
        if (!stream) throw new Problem('BODY_MISSING', 'the request needs a body: the RPM itself');
        const { upload, isNew } = await received(request, reply, stream);
        const shown = publicRpm(upload);
        reply.code(isNew ? 201 : 200).header('location', `${rpmsPath}/${shown.id}`);
        return shown;
      } catch (error) {
        letGo(request);
        throw error;
      }
    },
  });

  const received = async (request: FastifyRequest, reply: FastifyReply, stream: Readable) => {
    const gone = new AbortController();
    const leave = () => gone.abort(new Problem('REQUEST_TIMED_OUT', 'the sender is gone'));
    reply.raw.once('close', leave);
    // Leaving the loop must not break the connection: the answer goes out on it.
    const body = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
    try {
      const signal = AbortSignal.any([gone.signal, stopping.signal]);
      return await uploads.receive({ body, bytes: contentLength(request), sha256: announcedDigest(request), signal }, owner);
    } catch (error) {
      if (gone.signal.aborted) throw gone.signal.reason;
      // What a broken connection says of itself is no fault of ours.
      if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') throw new Problem('REQUEST_TIMED_OUT', 'the sender is gone');
      throw error;
    } finally {
      reply.raw.off('close', leave);
    }
  };

  /** Reads on, into nothing, for a while. */
  const letGo = ({ raw }: FastifyRequest): void => {
    if (raw.complete || raw.destroyed || stopping.signal.aborted) return;
    lingering.add(raw);
    raw.once('close', () => lingering.delete(raw));
    raw.on('error', () => undefined);
    raw.resume();
    clock.after(uploadLingerMs, () => {
      lingering.delete(raw);
      if (!raw.complete) raw.destroy();
    });
  };

  app.route({
    method: 'GET',
    url: rpmsPath,
    schema: { tags: ['rpms'], summary: 'Uploaded RPMs, the newest first, and how much room is left', response: { 200: RpmList } },
    handler: async () => {
      const { items, usage } = await uploads.list(owner);
      return { meta: usage, items: items.map(publicRpm) };
    },
  });

  app.route({
    method: 'GET',
    url: `${rpmsPath}/:id`,
    schema: { tags: ['rpms'], summary: 'One uploaded RPM', params: idParameter, response: { 200: PublicRpm } },
    handler: async ({ params }) => publicRpm(await required(params.id)),
  });

  app.route({
    method: 'DELETE',
    url: `${rpmsPath}/:id`,
    schema: {
      tags: ['rpms'],
      summary: 'Delete an uploaded RPM',
      description: '409 while a build that has not ended uses it. Images that were made with it stay as they are.',
      params: idParameter,
      response: { 204: { description: 'Deleted' } },
    },
    handler: async ({ params }, reply) => {
      if (!isId(params.id)) throw new Problem('RPM_NOT_FOUND', 'there is no uploaded RPM of this id');
      await uploads.remove(params.id, owner);
      return reply.code(204).send();
    },
  });
}

function checkType({ headers }: FastifyRequest): void {
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  if (type === undefined || !rpmTypes.some((known) => known === type)) {
    throw new Problem(
      'MEDIA_TYPE_UNSUPPORTED',
      `an RPM is sent as ${rpmTypes[0]} or ${rpmTypes[2]}; this body is ${type === undefined ? 'without Content-Type' : quoted(type)}`,
    );
  }
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw new Problem('MEDIA_TYPE_UNSUPPORTED', `an RPM is sent as it is, not with the Content-Encoding ${quoted(encoding)}`);
}

/** Undefined where it comes in chunks. What stands here is what HTTP's parser let through. */
function contentLength({ headers }: FastifyRequest): number | undefined {
  const text = headers['content-length'];
  return text === undefined ? undefined : Number(text);
}

/** The sha-256 of RFC 9530's headers, as hex digits. Other digests in them are left alone. */
function announcedDigest({ headers }: FastifyRequest): string | undefined {
  const found: string[] = [];
  for (const name of ['repr-digest', 'content-digest'] as const) {
    const text = [headers[name]].flat().join(',');
    const entry = /(?:^|,)[ \t]*sha-256[ \t]*=[ \t]*([^,]*)/.exec(text)?.[1]?.trim();
    if (entry === undefined) continue;
    const encoded = /^:([A-Za-z0-9+/]{43}=):$/.exec(entry)?.[1];
    if (encoded === undefined) throw new Problem('HEADER_INVALID', `${name} has a sha-256 that is none; it is written as sha-256=:BASE64:`);
    found.push(Buffer.from(encoded, 'base64').toString('hex'));
  }
  if (found.length === 2 && found[0] !== found[1]) throw new Problem('HEADER_INVALID', 'Repr-Digest and Content-Digest name different digests');
  return found[0];
}
