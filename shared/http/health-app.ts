/** The address for those who watch one process: health, readiness, metrics. Holds nothing that is secret and takes no input. */
import type { ZodTypeProvider } from '@fastify/type-provider-zod';
import { type FastifyInstance, fastify } from 'fastify';
import { type HealthPorts, healthRoutes } from './health.ts';

const requestTimeoutMs = 10_000;

export interface HealthAppPorts extends HealthPorts {
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

/** Not listening yet. */
export async function healthApp(ports: HealthAppPorts): Promise<FastifyInstance> {
  const app = fastify({ logger: false, bodyLimit: 1024, requestTimeout: requestTimeoutMs, keepAliveTimeout: 5_000, forceCloseConnections: true });
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  app.setErrorHandler((error, _request, reply) => {
    const { statusCode = 500 } = error as { readonly statusCode?: number };
    return reply.code(statusCode).send({ status: statusCode });
  });
  await app.register(async (scope) => healthRoutes(scope.withTypeProvider<ZodTypeProvider>(), ports));
  app.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await ports.metrics();
    return reply.header('content-type', contentType).send(body);
  });
  return app;
}
