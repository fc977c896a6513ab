/** Routes for what a build left: its artifacts, whole or in ranges, its manifest and its SBOM. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Artifact } from '../../../shared/build/artifact.ts';
import type { Build } from '../../../shared/build/build.ts';
import { contentKey } from '../../../shared/files/content-ref.ts';
import { publicKey } from '../../../shared/files/public-key.ts';
import { streamResponse } from '../../../shared/http/openapi.ts';
import { Problem } from '../../../shared/http/problem.ts';
import { apiPrefix } from '../../../shared/http/section.ts';
import { type App, type IntakePorts, requiredBuild } from '../ports.ts';
import { sendStored } from '../stored-file.ts';
import { PublicBuild, publicArtifacts } from '../view.ts';

const idParameter = z.object({ id: z.string() });

export function artifactRoutes(app: App, ports: IntakePorts): void {
  app.route({
    method: 'GET',
    url: `${apiPrefix}/builds/:id/artifacts`,
    schema: {
      tags: ['artifacts'],
      summary: 'The files of a build',
      params: idParameter,
      response: { 200: z.object({ items: PublicBuild.shape.artifacts }) },
    },
    handler: async ({ params }) => ({ items: [...publicArtifacts(await requiredBuild(ports, params.id))] }),
  });

  app.route({
    method: ['GET', 'HEAD'],
    url: `${apiPrefix}/builds/:id/artifacts/:name`,
    exposeHeadRoute: false,
    schema: {
      tags: ['artifacts'],
      summary: 'One file',
      description: 'Serves ranges. The ETag is the SHA-256 of the content.',
      params: z.object({ id: z.string(), name: z.string() }),
      response: {
        200: streamResponse('The file', 'application/octet-stream'),
        206: streamResponse('The range', 'application/octet-stream'),
        304: { description: 'Not modified' },
      },
    },
    handler: async (request, reply) => {
      const build = await requiredBuild(ports, request.params.id);
      return sent(request, reply, build, requiredArtifact(build, request.params.name), 'attachment');
    },
  });

  const documents = [
    { path: 'manifest', name: 'manifest.json', mediaType: 'application/json', summary: 'Which packages the image holds, and where each came from' },
    {
      path: 'sbom',
      name: 'sbom.spdx.json',
      mediaType: 'application/spdx+json',
      summary: 'The software bill of materials: the image and its packages in SPDX 2.3',
    },
  ];
  for (const { path, name, mediaType, summary } of documents) {
    app.route({
      method: ['GET', 'HEAD'],
      url: `${apiPrefix}/builds/:id/${path}`,
      exposeHeadRoute: false,
      schema: { tags: ['artifacts'], summary, params: idParameter, response: { 200: streamResponse(name, mediaType) } },
      handler: async (request, reply) => {
        const build = await requiredBuild(ports, request.params.id);
        return sent(request, reply, build, requiredArtifact(build, name), 'inline');
      },
    });
  }

  const sent = async (
    request: FastifyRequest,
    reply: FastifyReply,
    build: Build,
    artifact: Artifact,
    disposition: 'attachment' | 'inline',
  ): Promise<FastifyReply> => {
    const key = await storedKey(build, artifact);
    if (key === undefined) throw new Problem('ARTIFACT_GONE', `the file of ${artifact.name} has been removed`);
    reply.header('content-disposition', `${disposition}; filename="${artifact.name}"`);
    return sendStored(request, reply, ports.files, { ...artifact, key });
  };

  /** Where the file stands: under its public name once uploaded, before that under its digest. */
  const storedKey = async (build: Build, artifact: Artifact): Promise<string | undefined> => {
    for (const key of [publicKey(build.id, artifact), contentKey(artifact.sha256)]) {
      if ((await ports.files.stat(key))?.size === artifact.size) return key;
    }
    return undefined;
  };
}

function requiredArtifact(build: Build, name: string): Artifact {
  const artifact = build.artifacts.find((candidate) => candidate.name === name);
  if (!artifact) throw new Problem('ARTIFACT_UNKNOWN', `the build, which is ${build.state}, has no artifact of this name`);
  return artifact;
}
