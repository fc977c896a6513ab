/** Routes that follow a build: its events as server-sent events, its log as text. Both end when the build has ended. */
import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import type { Build } from '../../../shared/build/build.ts';
import { isEnded } from '../../../shared/build/states.ts';
import { buildTopic, progressTopic } from '../../../shared/build/topics.ts';
import { followBuildLog } from '../../../shared/build-log/read-build-log.ts';
import { streamResponse } from '../../../shared/http/openapi.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { type App, type IntakePorts, requiredBuild } from '../ports.ts';
import { publicBuild } from '../view.ts';

/** How often a follower looks although nobody woke it: a broadcast may be lost. */
const lookEveryMs = 500;
/** A line without meaning, so that nobody on the way takes the connection for dead. */
const heartbeatMs = 15_000;
const followersMax = 1000;

const idParameter = z.object({ id: z.string() });
const LogQuery = z.strictObject({
  follow: z.enum(['0', '1', 'true', 'false']).default('0'),
  offset: z.coerce
    .number()
    .int()
    .min(0)
    .max(2 ** 40)
    .default(0),
});

export function followRoutes(app: App, ports: IntakePorts): void {
  const { builds, bus, clock, files } = ports;
  const stopping = new AbortController();
  let followers = 0;

  app.addHook('preClose', (done) => {
    stopping.abort();
    done();
  });

  /** Sends what `open` gives until it ends, the client goes, or the service stops. */
  const stream = <T extends string | Uint8Array>(reply: FastifyReply, open: (signal: AbortSignal) => AsyncIterable<T>): FastifyReply => {
    if (followers >= followersMax)
      throw new Problem('TOO_MANY_FOLLOWERS', `${followersMax} clients follow builds already`, { headers: { 'retry-after': '10' } });
    followers += 1;
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, stopping.signal]);
    reply.raw.once('close', () => {
      followers -= 1;
      gone.abort();
    });
    // Readable.from reads only as fast as the client takes it: a slow one costs no memory.
    return reply.send(Readable.from(open(signal), { objectMode: true }));
  };

  app.route({
    method: 'GET',
    url: `${apiPrefix}/builds/:id/events`,
    exposeHeadRoute: false,
    schema: {
      tags: ['builds'],
      summary: 'What happens to a build, as server-sent events',
      description:
        '`state`: an entry of the timeline, with an id to resume from (Last-Event-ID). `stage`: who works on it since when. `progress`: how far the stage is; some are lost. `end`: the build as it ended; then the stream ends.',
      params: idParameter,
      headers: z.object({ 'last-event-id': z.string().optional() }),
      response: { 200: streamResponse('Server-sent events', 'text/event-stream') },
    },
    handler: async (request, reply) => {
      const build = await requiredBuild(ports, request.params.id);
      const lastId = request.headers['last-event-id'];
      reply.header('content-type', 'text/event-stream; charset=utf-8').header('cache-control', 'no-store').header('x-accel-buffering', 'no');
      return stream(reply, (signal) => eventStream({ builds, bus, clock }, build.id, typeof lastId === 'string' ? lastId : '', signal));
    },
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/builds/:id/log`,
    exposeHeadRoute: false,
    schema: {
      tags: ['builds'],
      summary: "A build's log",
      description:
        'With `follow=1` it goes on until the build has ended. Of a long log the first 16 MiB and the last 48 MiB are kept; the line `-- N bytes in M lines are left out here --` stands for what is missing. `offset`: bytes that the reader already has; such a line counts as the N bytes that it stands for.',
      params: idParameter,
      querystring: LogQuery,
      response: { 200: streamResponse('The log', 'text/plain') },
    },
    handler: async ({ params, query }, reply) => {
      const { id: buildId } = await requiredBuild(ports, params.id);
      const isFollowing = query.follow === '1' || query.follow === 'true';
      reply.header('content-type', 'text/plain; charset=utf-8').header('cache-control', 'no-store').header('x-accel-buffering', 'no');
      const hasEnded = async () => isEnded((await builds.get(buildId))?.document.state ?? 'expired');
      return stream(reply, (signal) =>
        followBuildLog({
          files,
          bus,
          clock,
          buildId,
          offset: query.offset,
          topics: [buildTopic(buildId)],
          isEnded: isFollowing ? hasEnded : async () => true,
          signal,
        }),
      );
    },
  });
}

type EventPorts = Pick<IntakePorts, 'builds' | 'bus' | 'clock'>;

async function* eventStream({ builds, bus, clock }: EventPorts, buildId: string, lastId: string, signal: AbortSignal): AsyncGenerator<string> {
  let sentId = parsedEventId(lastId);
  let sentStage = '';
  let progress: unknown;
  let isWoken = false;
  let wake: (() => void) | undefined;
  const woken = () => {
    isWoken = true;
    wake?.();
  };
  const forget = [
    bus.listen(buildTopic(buildId), woken),
    bus.listen(progressTopic(buildId), (payload) => {
      progress = payload;
      woken();
    }),
  ];
  signal.addEventListener('abort', woken);
  let spokeAt = clock.now();
  try {
    yield 'retry: 1000\n\n';
    while (!signal.aborted) {
      isWoken = false;
      const build = (await builds.get(buildId))?.document;
      if (!build) return;
      const frames: string[] = [];
      for (const { id, entry } of timelineEvents(build)) {
        if (!isLater(id, sentId)) continue;
        sentId = id;
        frames.push(frame('state', entry, `${id.at}-${id.index}`));
      }
      const stage = JSON.stringify({ state: build.state, ...build.stage });
      if (stage !== sentStage && build.stage) frames.push(`event: stage\ndata: ${stage}\n\n`);
      sentStage = stage;
      if (progress !== undefined && !isEnded(build.state)) frames.push(frame('progress', progress));
      progress = undefined;
      if (isEnded(build.state)) frames.push(frame('end', publicBuild(build)));
      if (frames.length === 0 && clock.now() - spokeAt >= heartbeatMs) frames.push(': still here\n\n');
      if (frames.length > 0) {
        spokeAt = clock.now();
        yield frames.join('');
      }
      if (isEnded(build.state)) return;
      if (isWoken) continue;
      const waiting = new AbortController();
      wake = () => waiting.abort();
      await clock.sleep(lookEveryMs, waiting.signal).catch(() => {});
      wake = undefined;
    }
  } finally {
    signal.removeEventListener('abort', woken);
    for (const end of forget) end();
  }
}

function frame(event: string, data: unknown, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

interface EventId {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Among the entries of that millisecond. */
  readonly index: number;
}

/**
 * Timeline entries with ids that stay what they are when a long timeline loses its middle: time and place within the millisecond. Where a clock of another host went
 * back, the time of the entry before counts.
 */
function timelineEvents(build: Build): readonly { readonly id: EventId; readonly entry: Build['timeline'][number] }[] {
  let last: EventId = { at: 0, index: 0 };
  return build.timeline.map((entry) => {
    const at = Math.max(Date.parse(entry.at), last.at);
    last = { at, index: at === last.at ? last.index + 1 : 0 };
    return { id: last, entry };
  });
}

function parsedEventId(text: string): EventId {
  const match = /^(\d{1,15})-(\d{1,6})$/.exec(text);
  return match ? { at: Number(match[1]), index: Number(match[2]) } : { at: -1, index: 0 };
}

function isLater(id: EventId, than: EventId): boolean {
  return id.at > than.at || (id.at === than.at && id.index > than.index);
}
