/** A service's HTTP side: what holds for all its routes (bodies, origins, problems, headers), its description and its health. The routes come in sections. */
import { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { ZodTypeProvider } from '@fastify/type-provider-zod';
import { type FastifyError, type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { z } from 'zod';
import { SpindleError } from '../build/failure.ts';
import type { Clock } from '../clock/clock.ts';
import type { Log } from '../log/log.ts';
import { bodyBytesMax, bodyTypes, parseBody, unsupported } from './body.ts';
import { type HealthPorts, healthRoutes } from './health.ts';
import { openapiOptions } from './openapi.ts';
import { checkOrigin, originRules } from './origin.ts';
import { detailsOf, Problem, quoted } from './problem.ts';
import type { RestSection } from './section.ts';

const problemType = 'application/problem+json; charset=utf-8';
/** Nothing that the API sends may act as a page. */
const apiPolicy = "default-src 'none'; frame-ancestors 'none'; sandbox";
/** The documentation runs its own scripts only; its style attributes are set by those scripts. */
const docsPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** For all bodies but those of a section's long ones, which have a bound of their own. */
const bodyTimeoutMs = 60_000;

export interface RestPorts extends HealthPorts {
  readonly clock: Clock;
  readonly logger: Log;
  /** Without a slash at the end. */
  readonly publicUrl: string;
  readonly listenHost: string;
}

/** The app, with the routes of all sections, not listening yet. `close()` ends its streams first. */
export async function restApp(ports: RestPorts, sections: readonly RestSection[]): Promise<FastifyInstance> {
  const longBodies = new Map(sections.flatMap(({ longBodies = [] }) => longBodies.map(({ path, deadlineMs }) => [path, deadlineMs] as const)));
  const app = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    // The time for a whole request to arrive, a long body among them; answers may take as long as a build. Headers have 60 s, which is Node's default.
    requestTimeout: Math.max(0, ...longBodies.values()) + bodyTimeoutMs,
    keepAliveTimeout: 30_000,
    maxRequestsPerSocket: 0,
    routerOptions: { maxParamLength: 256 },
    return503OnClosing: true,
    frameworkErrors: (error, _request, reply) => {
      void answer(reply as unknown as FastifyReply, problemOf(error, ports));
    },
    clientErrorHandler,
  });
  const rules = originRules(ports.publicUrl, ports.listenHost);
  const routes: { readonly methods: readonly string[]; readonly pattern: RegExp }[] = [];

  app.addHook('onRoute', ({ method, url }) => {
    routes.push({ methods: [method].flat(), pattern: pathPattern(url) });
  });
  app.addHook('onRequest', async (request) => checkOrigin(request.method, request.headers, rules));
  app.addHook('onSend', async (_request, reply) => {
    const defaults: Readonly<Record<string, string>> = {
      'cache-control': 'no-store',
      'content-security-policy': apiPolicy,
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    };
    for (const [name, value] of Object.entries(defaults)) if (!reply.hasHeader(name)) reply.header(name, value);
  });

  app.addHook('preParsing', async ({ raw, routeOptions }) => {
    const hasBody = raw.headers['content-length'] !== undefined || raw.headers['transfer-encoding'] !== undefined;
    if (!hasBody || raw.complete || longBodies.has(routeOptions.url ?? '')) return;
    const forget = ports.clock.after(bodyTimeoutMs, () => {
      // A request that came by no connection (a test's) has none to cut.
      if (!raw.complete && raw.socket instanceof Socket)
        clientErrorHandler(Object.assign(new Error('the body did not arrive'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), raw.socket);
    });
    raw.once('close', forget);
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    [...bodyTypes],
    { parseAs: 'buffer' },
    async (request: { readonly headers: { readonly 'content-type'?: string | undefined } }, body: Buffer) =>
      body.byteLength === 0 ? undefined : parseBody(body, request.headers['content-type'] ?? ''),
  );
  // Routes check their bodies themselves, and say more than a schema can: the schema of a body only describes it.
  app.setValidatorCompiler(({ schema, httpPart }) => {
    if (httpPart === 'body') return (value: unknown) => ({ value });
    return (value: unknown) => {
      const parsed = (schema as unknown as z.ZodType).safeParse(value);
      return parsed.success ? { value: parsed.data } : { error: parameterProblem(parsed.error, httpPart) };
    };
  });
  // Response schemas describe; what is sent is typed where it is made. A schema that is too narrow must not turn an answer into a 500.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  app.setErrorHandler((error, _request, reply) => answer(reply, problemOf(error, ports)));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const methods = [...new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap((route) => route.methods))].sort();
    if (methods.length === 0) return answer(reply, new Problem('PATH_UNKNOWN', 'there is nothing at this path; /openapi.json names what there is'));
    return answer(
      reply,
      new Problem('METHOD_NOT_ALLOWED', `${request.method} is not possible here; ${methods.join(', ')} is`, { headers: { allow: methods.join(', ') } }),
    );
  });

  await app.register(swagger, openapiOptions(sections));
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: docsPolicy,
    uiConfig: { deepLinking: true, tryItOutEnabled: false },
    theme: { title: 'Spindle' },
  });
  await app.register(async (scope) => {
    const typed = scope.withTypeProvider<ZodTypeProvider>();
    for (const { routes } of sections) await routes(typed);
    healthRoutes(typed, ports);
    scope.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  });
  return app;
}

/** `/api/v1/builds/:id` → which paths it means. */
function pathPattern(url: string): RegExp {
  const escaped = url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/:[A-Za-z]+/g, '[^/]+').replace(/\\\*$/, '.*')}$`);
}

function answer(reply: FastifyReply, problem: Problem): FastifyReply {
  // Headers of an answer that was begun belong to a file that is not sent now.
  for (const name of ['content-length', 'content-range', 'content-disposition', 'etag', 'repr-digest', 'accept-ranges', 'last-modified'])
    reply.removeHeader(name);
  return reply
    .code(problem.status)
    .headers({ ...problem.headers, 'content-type': problemType, 'cache-control': 'no-store' })
    .serializer((value: unknown) => JSON.stringify(value))
    .send(detailsOf(problem));
}

/** Errors of any kind as problems. What nobody foresaw shows nothing of itself outside; the log has it. */
function problemOf(error: unknown, { logger }: Pick<RestPorts, 'logger'>): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof SpindleError)
    return new Problem(error.code, error.message, { errors: error.details.map((message) => ({ field: '', code: error.code, message })) });
  const { code = '', statusCode = 500, message } = error as FastifyError;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new Problem('BODY_TOO_LARGE', `the body is larger than ${bodyBytesMax} bytes`, { headers: { connection: 'close' } });
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE' || code === 'FST_ERR_CTP_EMPTY_TYPE') return unsupported(undefined);
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH') return new Problem('BODY_UNREADABLE', 'the body is not as long as Content-Length says');
  if (code === 'FST_ERR_BAD_URL') return new Problem('URL_INVALID', 'the path is not a valid URL path');
  if (statusCode === 414) return new Problem('URL_INVALID', 'a part of the path is longer than anything that could stand there');
  if (statusCode >= 400 && statusCode < 500) return new Problem('HTTP_INVALID', message);
  logger.error({ err: error }, 'a request could not be answered');
  return new Problem('INTERNAL', "Spindle broke on this request; the operator's log has the reason");
}

function parameterProblem({ issues }: z.ZodError, part: string | undefined): Problem {
  const errors = issues.map((issue) => {
    const keys = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 5) : [];
    const field = keys[0]?.slice(0, 80) ?? issue.path.join('.');
    return keys.length > 0
      ? { field, code: 'KEY_UNKNOWN', message: `there is no parameter ${keys.map(quoted).join(', ')} here` }
      : { field, code: 'FIELD_INVALID', message: `${field}: ${issue.message}` };
  });
  return new Problem(part === 'headers' ? 'HEADER_INVALID' : 'QUERY_INVALID', errors[0]?.message ?? `the ${part ?? 'query'} is not valid`, { errors });
}

/** For what never became a request. */
function clientErrorHandler(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const code = error.code === 'HPE_HEADER_OVERFLOW' ? 'HEADERS_TOO_LARGE' : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'REQUEST_TIMED_OUT' : 'HTTP_INVALID';
  const details = detailsOf(new Problem(code, 'what came could not be read as an HTTP request'));
  const body = JSON.stringify(details);
  socket.end(
    `HTTP/1.1 ${details.status} ${details.title}\r\nContent-Type: ${problemType}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
