/** A section of the REST interface: routes that belong together, with what describes them. A process serves one or several at the same address. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ZodTypeProvider } from '@fastify/type-provider-zod';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { z } from 'zod';

/** Before the path of every route that is not for programs that watch the service. */
export const apiPrefix = '/api/v1';

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>;

export interface RestSection {
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  /** Those with a name of their own in the description. */
  readonly schemas: Readonly<Record<string, z.ZodType>>;
  /** Routes whose bodies may take longer than a minute to arrive. */
  readonly longBodies?: readonly { readonly path: string; readonly deadlineMs: number }[];
  routes(app: App): void | Promise<void>;
}
