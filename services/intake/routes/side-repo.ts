/** Routes for the repositories of a build: the side repository for everybody who has the link, both of them for our own machines. */
import { z } from 'zod';
import type { Build } from '../../../shared/build/build.ts';
import { readContentText } from '../../../shared/files/content.ts';
import { contentKey, type FileRef } from '../../../shared/files/content-ref.ts';
import { streamResponse } from '../../../shared/http/openapi.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { bringsRepositoryToken } from '../../../shared/resolution/repository-token.ts';
import { RepositorySet } from '../../../shared/resolution/resolution.ts';
import { type App, type IntakePorts, requiredBuild } from '../ports.ts';
import { formatRepoFile } from '../repo-file.ts';
import { sendStored } from '../stored-file.ts';
import { buildPath } from '../view.ts';

type Repository = RepositorySet['repositories'][number];

const setBytesMax = 64 * 1024 * 1024;
/** A package manager asks for many files of one set, one after the other. */
const setsKeptMax = 8;
const repoMediaType = 'text/plain; charset=utf-8';

function mediaTypeOf(path: string): string {
  if (path.endsWith('.rpm')) return 'application/x-rpm';
  return path.endsWith('.xml') ? 'application/xml' : 'application/octet-stream';
}

export function sideRepoRoutes(app: App, ports: IntakePorts): void {
  const kept = new Map<string, Promise<RepositorySet>>();

  const readSet = (ref: FileRef): Promise<RepositorySet> => {
    const known = kept.get(ref.sha256);
    if (known) return known;
    const read = readContentText(ports.files, ref, setBytesMax).then((text) => RepositorySet.parse(JSON.parse(text)));
    kept.set(ref.sha256, read);
    const oldest = kept.keys().next().value;
    if (kept.size > setsKeptMax && oldest !== undefined) kept.delete(oldest);
    read.catch(() => kept.delete(ref.sha256));
    return read;
  };

  const sideOf = async (build: Build): Promise<Repository> => {
    if (!build.repositories) throw new Problem('SIDE_REPO_UNKNOWN', `the build, which is ${build.state}, has no side repository, or not yet`);
    const side = (await readSet(build.repositories)).repositories.find(({ id }) => id === 'side');
    if (!side) throw new Problem('SIDE_REPO_UNKNOWN', 'the build has no side repository');
    return side;
  };

  const fileOf = (repository: Repository, path: string) => {
    const found = repository.files.find((file) => file.path === path);
    if (!found) throw new Problem('SIDE_REPO_FILE_UNKNOWN', 'the repository has no file at this path');
    return { ...found, key: contentKey(found.sha256), name: path, mediaType: mediaTypeOf(path) };
  };

  app.route({
    method: ['GET', 'HEAD'],
    url: `${apiPrefix}/builds/:id/side-repo.repo`,
    exposeHeadRoute: false,
    schema: {
      tags: ['artifacts'],
      summary: 'The side repository as a .repo file',
      description: 'For /etc/yum.repos.d, or `dnf --repofrompath`: install from here what the image has and its release has not.',
      params: z.object({ id: z.string() }),
      response: { 200: streamResponse('The .repo file', 'text/plain') },
    },
    handler: async ({ params }, reply) => {
      const build = await requiredBuild(ports, params.id);
      const side = await sideOf(build);
      const release = ports.releases.releases.find(({ id }) => id === build.request.release);
      const text = formatRepoFile({ build, release, side, baseUrl: `${ports.publicUrl}${buildPath(build.id)}/side-repo/` });
      return reply.header('content-type', repoMediaType).header('content-disposition', `attachment; filename="spindle-${build.id}.repo"`).send(text);
    },
  });

  app.route({
    method: ['GET', 'HEAD'],
    url: `${apiPrefix}/builds/:id/side-repo/*`,
    exposeHeadRoute: false,
    schema: {
      tags: ['artifacts'],
      summary: 'A file of the side repository',
      description: '`repodata/repomd.xml` and what it names. Serves ranges.',
      params: z.object({ id: z.string(), '*': z.string() }),
      response: { 200: streamResponse('The file', 'application/octet-stream'), 206: streamResponse('The range', 'application/octet-stream') },
    },
    handler: async (request, reply) => {
      const side = await sideOf(await requiredBuild(ports, request.params.id));
      return sendStored(request, reply, ports.files, fileOf(side, request.params['*']));
    },
  });

  app.route({
    method: ['GET', 'HEAD'],
    url: `${apiPrefix}/repositories/:digest/:repository/*`,
    exposeHeadRoute: false,
    schema: {
      tags: ['artifacts'],
      summary: 'A file of the repositories that an image is made from, for build nodes',
      description: 'Needs the token of these repositories in the Authorization header (docs/running.md).',
      params: z.object({ digest: z.string(), repository: z.enum(['stable', 'side']), '*': z.string() }),
      response: { 200: streamResponse('The file', 'application/octet-stream'), 206: streamResponse('The range', 'application/octet-stream') },
    },
    handler: async (request, reply) => {
      const { digest, repository, '*': path } = request.params;
      const { repositorySecret } = ports;
      const isKnownForm = /^[0-9a-f]{64}$/.test(digest);
      if (!repositorySecret || !isKnownForm || !bringsRepositoryToken(request.headers.authorization, repositorySecret, digest)) {
        throw new Problem('REPOSITORY_TOKEN_MISSING', 'the repositories of a build are read with their token in the Authorization header', {
          headers: { 'www-authenticate': 'Basic realm="spindle repositories", Bearer' },
        });
      }
      const size = (await ports.files.stat(contentKey(digest)))?.size;
      if (size === undefined) throw new Problem('SIDE_REPO_UNKNOWN', 'there are no repositories of this digest');
      const set = await readSet({ sha256: digest, size }).catch(() => undefined);
      const found = set?.repositories.find(({ id }) => id === repository);
      if (!found) throw new Problem('SIDE_REPO_UNKNOWN', 'there are no repositories of this digest');
      return sendStored(request, reply, ports.files, fileOf(found, path));
    },
  });
}
