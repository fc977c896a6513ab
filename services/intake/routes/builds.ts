/** Routes for builds and groups: submit, list, show, cancel, retry. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Build } from '../../../shared/build/build.ts';
import { BuildRequest, type SingleBuildRequest } from '../../../shared/build/request.ts';
import { BuildState, isEnded } from '../../../shared/build/states.ts';
import { bodyTypes } from '../../../shared/http/body.ts';
import { checkedBody } from '../../../shared/http/checked-body.ts';
import { type FieldProblem, Problem } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { foreignUpload, isForArch, unknownUpload } from '../../../shared/resolution/uploaded-packages.ts';
import { cancelBuild } from '../../../shared/stage/cancel.ts';
import type { Collection, Query } from '../../../shared/store/store.ts';
import { workersMax } from '../../../shared/workers/watch.ts';
import { type Worker, whyNobodyCan } from '../../../shared/workers/worker.ts';
import { acceptBuilds, type Order } from '../accept.ts';
import { type App, type IntakePorts, isId, requiredBuild } from '../ports.ts';
import { checkRequest, permissionProblems, refused } from '../service.ts';
import { BuildPage, buildPath, groupPath, PublicBuild, PublicGroup, publicBuild, publicGroup } from '../view.ts';

const limitMax = 200;
/** Records that one request looks through where it filters by what no index holds. */
const scannedMax = 2000;
const groupMax = 100;

const ListQuery = z.strictObject({
  state: BuildState.optional(),
  owner: z.string().max(256).optional(),
  release: z.string().max(64).optional(),
  limit: z.coerce.number().int().min(1).max(limitMax).default(50),
  cursor: z.string().max(64).optional(),
});
const RetryBody = z.strictObject({ same: z.boolean().default(false) });
const idParameter = z.object({ id: z.string() });
const KeyHeader = z.object({ 'idempotency-key': z.string().optional() });

export function buildRoutes(app: App, ports: IntakePorts): void {
  const { builds, clock, onQueued } = ports;
  const queuedMax = ports.queuedMax ?? 100_000;
  let queued = { count: 0, countedAt: Number.NEGATIVE_INFINITY };

  /** Counted at most once a second; in between our own are added. A bound on memory and waiting, not a promise to the last one. */
  const checkQueue = async (more: number) => {
    const now = clock.now();
    if (now - queued.countedAt > 1000) queued = { count: await builds.count({ index: 'byPhase', prefix: ['queued'] }), countedAt: now };
    if (queued.count + more > queuedMax) {
      throw new Problem('QUEUE_FULL', `${queued.count} builds wait already; try again later`, { headers: { 'retry-after': '60' } });
    }
    queued = { ...queued, count: queued.count + more };
  };

  /** Throws RPM_UNKNOWN or RPM_ARCH_UNSUPPORTED. All requests of a group name the same uploads. */
  const checkUploads = async (requests: readonly SingleBuildRequest[]): Promise<void> => {
    const ids = requests[0]?.sources.rpms ?? [];
    if (ids.length === 0) return;
    const arches = [...new Set(requests.map(({ arch }) => arch))];
    const found = await ports.uploads.usable(ids, null);
    const problems = ids.flatMap((id, place): readonly FieldProblem[] => {
      const upload = found[place];
      const field = `sources.rpms[${place}]`;
      if (!upload) return [{ field, code: 'RPM_UNKNOWN', message: unknownUpload(id) }];
      const foreign = arches.filter((arch) => !isForArch(upload, arch));
      return foreign.length > 0 ? [{ field, code: 'RPM_ARCH_UNSUPPORTED', message: foreignUpload(upload, foreign) }] : [];
    });
    if (problems.length > 0) throw invalid(refused(problems));
  };

  const accept = async (request: FastifyRequest, order: Omit<Order, 'owner' | 'key'>): Promise<readonly [Build, ...Build[]]> => {
    const key = idempotencyKey(request);
    await checkQueue(order.requests.length);
    const [first, ...others] = await acceptBuilds(ports, { ...order, owner: null, ...(key === undefined ? {} : { key }) });
    if (!first) throw new Error('a checked request stands for at least one build');
    onQueued();
    return [first, ...others];
  };

  app.route({
    method: 'POST',
    url: `${apiPrefix}/builds`,
    schema: {
      tags: ['builds'],
      summary: 'Ask for an image, or for a group of them',
      description:
        'Answers once the builds are stored. Lists of `arch` or `imageType` with more than one pair make a group. The same Idempotency-Key gives the same builds.',
      consumes: [...bodyTypes.slice(0, 2)],
      headers: KeyHeader,
      body: BuildRequest,
      response: { 202: z.union([PublicBuild, PublicGroup]) },
    },
    handler: async (request, reply) => {
      const checked = checkRequest(requiredBody(request.body), ports);
      if (!checked.isValid) throw invalid(checked);
      await checkUploads(checked.requests);
      const accepted = await accept(request, { requests: checked.requests });
      const [{ id, groupId }] = accepted;
      reply.code(202).header('location', groupId === null ? buildPath(id) : groupPath(groupId));
      const known = (await ports.workers.find({ index: 'byId', prefix: ['all'], limit: workersMax })).map(({ document }) => document);
      const extras = (build: Build) => ({ warnings: warningsOf(build.request, ports, known) });
      return groupId === null ? publicBuild(accepted[0], extras(accepted[0])) : publicGroup(groupId, accepted, extras);
    },
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/builds`,
    schema: {
      tags: ['builds'],
      summary: 'Builds, the newest first',
      description: 'A page may hold fewer than `limit` builds and still have a `nextCursor`.',
      querystring: ListQuery,
      response: { 200: BuildPage },
    },
    handler: async ({ query }) => {
      const page = await listed(builds, query);
      return { meta: { limit: query.limit, nextCursor: page.nextCursor }, items: page.items.map((build) => publicBuild({ ...build, runs: [] })) };
    },
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/builds/:id`,
    schema: { tags: ['builds'], summary: 'One build', params: idParameter, response: { 200: PublicBuild } },
    handler: async ({ params }) => {
      const build = await requiredBuild(ports, params.id);
      // Ids sort by creation, and the queue is first in, first out: those up to this one are those before it.
      const place = build.state === 'queued' ? await builds.count({ index: 'byPhase', prefix: ['queued'], to: build.id }) : undefined;
      return publicBuild(build, place === undefined ? {} : { queuePlace: Math.max(1, place) });
    },
  });

  app.route({
    method: 'POST',
    url: `${apiPrefix}/builds/:id/cancel`,
    schema: {
      tags: ['builds'],
      summary: 'End a build that has not ended',
      description: 'The wish is stored at once; a running tool is stopped first. Canceling a canceled build is no error.',
      params: idParameter,
      response: { 202: PublicBuild },
    },
    handler: async ({ params, body }, reply) => {
      checkedBody(z.strictObject({}), body);
      const { id } = await requiredBuild(ports, params.id);
      const outcome = await cancelBuild(ports, id);
      if (!outcome) throw new Problem('BUILD_UNKNOWN', 'there is no build of this id');
      if (!outcome.accepted && outcome.build.state !== 'canceled')
        throw new Problem('BUILD_ENDED', `the build is ${outcome.build.state} already: there is nothing to cancel`);
      reply.code(202);
      return publicBuild(outcome.build);
    },
  });

  app.route({
    method: 'POST',
    url: `${apiPrefix}/builds/:id/retry`,
    schema: {
      tags: ['builds'],
      summary: 'Build again what has ended',
      description: 'Makes a new build with `retryOf`. With `same: true` it uses the recorded resolution, so that it gets exactly the same packages.',
      consumes: [...bodyTypes.slice(0, 2)],
      headers: KeyHeader,
      params: idParameter,
      body: RetryBody.optional(),
      response: { 202: PublicBuild },
    },
    handler: async (request, reply) => {
      const { same } = checkedBody(RetryBody, request.body);
      const build = await requiredBuild(ports, request.params.id);
      if (!isEnded(build.state)) throw new Problem('BUILD_NOT_ENDED', `the build is ${build.state}: wait for its end, or cancel it first`);
      if (same && !build.resolution) throw new Problem('RESOLUTION_MISSING', 'the build ended before its packages were resolved; retry it without same');
      const problems = permissionProblems(build.request, ports);
      if (problems.length > 0) throw invalid({ isValid: false, code: 'UNTRUSTED_CODE_REFUSED', problems });
      // What was resolved is stored: only a new resolution looks at uploads again.
      if (!same) await checkUploads([build.request]);
      const resolution = same && build.resolution ? { resolution: build.resolution } : {};
      const [accepted] = await accept(request, { requests: [build.request], retryOf: build.id, ...resolution });
      reply.code(202).header('location', buildPath(accepted.id));
      return publicBuild(accepted);
    },
  });

  app.route({
    method: 'GET',
    url: `${apiPrefix}/groups/:id`,
    schema: { tags: ['builds'], summary: 'The builds of one request', params: idParameter, response: { 200: PublicGroup } },
    handler: async ({ params }) => {
      const found = isId(params.id) ? await builds.find({ index: 'byGroup', prefix: [params.id], limit: groupMax }) : [];
      if (found.length === 0) throw new Problem('GROUP_UNKNOWN', 'there is no group of this id');
      return publicGroup(
        params.id,
        found.map(({ document }) => document),
      );
    },
  });
}

/** What is accepted may yet have to wait: saying so at once is kinder than only in the status later. */
function warningsOf(request: SingleBuildRequest, { releases, clock }: IntakePorts, workers: readonly Worker[]): readonly string[] {
  const { arch, imageType } = request;
  const engine = request.engine === 'auto' ? releases.releases.find(({ id }) => id === request.release)?.engines[imageType] : request.engine;
  // None at all: the service is just starting, or its build nodes are.
  if (engine === undefined || workers.length === 0) return [];
  const reason = whyNobodyCan(workers, { arch, imageType, engine }, clock.now());
  return reason === undefined ? [] : [`${reason}; the build will wait until one can`];
}

export function requiredBody(body: unknown): unknown {
  if (body === undefined || body === null) throw new Problem('BODY_MISSING', 'the request needs a body: a build request in JSON or YAML');
  return body;
}

export function invalid(checked: Extract<ReturnType<typeof checkRequest>, { isValid: false }>): Problem {
  const [first, ...others] = checked.problems;
  const more = others.length > 0 ? ` (and ${others.length} more)` : '';
  return new Problem(checked.code, `${first?.message ?? 'the request is not valid'}${more}`, { errors: checked.problems });
}

function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && /^[\x21-\x7e][\x20-\x7e]{0,254}$/.test(key)) return key;
  throw new Problem('HEADER_INVALID', 'Idempotency-Key is 1 to 255 printable ASCII characters');
}

async function listed(
  builds: Collection<Build>,
  query: z.output<typeof ListQuery>,
): Promise<{ readonly items: readonly Build[]; readonly nextCursor: string | null }> {
  const { state, owner, release, limit } = query;
  const index: Query = state === undefined ? { index: 'byCreation', prefix: ['all'] } : { index: 'byState', prefix: [state] };
  const isWanted = (build: Build) => (owner === undefined || build.owner === owner) && (release === undefined || build.request.release === release);
  const items: Build[] = [];
  let beyond = query.cursor === undefined ? undefined : cursorId(query.cursor);
  for (let scanned = 0; scanned < scannedMax; ) {
    const size = owner === undefined && release === undefined ? limit + 1 : limitMax;
    const page = await builds.find({ ...index, order: 'descending', limit: size, ...(beyond === undefined ? {} : { beyond }) });
    for (const { document } of page) {
      if (items.length === limit) return { items, nextCursor: cursorOf(items.at(-1)?.id ?? document.id) };
      if (isWanted(document)) items.push(document);
    }
    if (page.length < size) return { items, nextCursor: null };
    beyond = page.at(-1)?.document.id;
    scanned += page.length;
  }
  return { items, nextCursor: beyond === undefined ? null : cursorOf(beyond) };
}

const cursorOf = (id: string) => Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url');

function cursorId(cursor: string): string {
  const hexadecimal = Buffer.from(cursor, 'base64url').toString('hex');
  const id = hexadecimal.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  if (!isId(id) || cursorOf(id) !== cursor)
    throw new Problem('QUERY_INVALID', 'cursor is not one that this service gave', {
      errors: [{ field: 'cursor', code: 'FIELD_INVALID', message: 'cursor is not one that this service gave' }],
    });
  return id;
}
