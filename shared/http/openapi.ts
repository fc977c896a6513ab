/** The description of the REST interface, made from the schemas that the routes carry. Pure. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from '@fastify/type-provider-zod';
import { z } from 'zod';
import { ProblemDetails } from './problem.ts';
import type { RestSection } from './section.ts';

type Override = NonNullable<NonNullable<Parameters<typeof z.toJSONSchema>[1]>['override']>;

/** What is accepted beside the schema proper (one value instead of a list, a number for a release) is preprocessing, which says nothing of itself. */
const describePreprocessed: Override = ({ zodSchema, jsonSchema }) => {
  const { def } = zodSchema._zod;
  if (def.type !== 'pipe') return;
  const { in: input, out } = def as z.core.$ZodPipeDef;
  if (input._zod.def.type !== 'transform') return;
  const { $schema: _, ...inner } = z.toJSONSchema(out as z.ZodType, { io: 'input', unrepresentable: 'any', override: describePreprocessed });
  const shown = inner.type === 'array' ? { anyOf: [inner.items, inner] } : inner.type === 'string' ? { anyOf: [inner, { type: 'integer' }] } : inner;
  const kept = jsonSchema.default === undefined ? {} : { default: jsonSchema.default };
  for (const key of Object.keys(jsonSchema)) delete jsonSchema[key as keyof typeof jsonSchema];
  Object.assign(jsonSchema, kept, shown);
};

/** A response that is no JSON, as a route's schema states it. */
export function streamResponse(description: string, mediaType: string): object {
  return { description, content: { [mediaType]: { schema: { type: 'string' } } } };
}

/** For `@fastify/swagger`. */
export function openapiOptions(sections: readonly Pick<RestSection, 'tags' | 'schemas'>[]): FastifyDynamicSwaggerOptions {
  const named = z.registry<{ id: string }>();
  const schemas = Object.assign({ Problem: ProblemDetails }, ...sections.map((section) => section.schemas)) as RestSection['schemas'];
  for (const [id, schema] of Object.entries(schemas)) named.add(schema, { id });
  const options = { schemaRegistry: named, zodToJsonConfig: { override: describePreprocessed } };
  const transform = createJsonSchemaTransform(options);
  const transformObject = createJsonSchemaTransformObject(options);
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Spindle',
        description:
          'On-demand Fedora image builds. Errors are RFC 9457 problem details with a stable `code` and, where fields are wrong, `errors`. Bodies are JSON or YAML by Content-Type.',
        version: '1',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } as { name: string },
      },
      tags: [...sections.flatMap(({ tags }) => tags), { name: 'service', description: 'The service itself' }],
    },
    transform: (document) => {
      const { response, ...schema } = (document.schema ?? {}) as { readonly response?: Readonly<Record<string, unknown>> };
      const [schemas, streams] = [new Map<string, unknown>(), new Map<string, unknown>()];
      for (const [status, value] of Object.entries(response ?? {})) (value instanceof z.ZodType ? schemas : streams).set(status, value);
      const transformed = transform({ ...document, schema: { ...schema, response: Object.fromEntries(schemas) } } as Parameters<typeof transform>[0]);
      const described = transformed.schema as { response?: Record<string, unknown> };
      return {
        ...transformed,
        schema: {
          ...described,
          response: {
            ...Object.fromEntries(Object.entries(described.response ?? {}).map(([status, json]) => [status, describedResponse(status, json)])),
            ...Object.fromEntries(streams),
            default: { description: 'A problem', content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } },
          },
        },
      };
    },
    transformObject: (document) => withoutUnused(transformObject(document) as OpenapiDocument) as ReturnType<typeof transformObject>,
  };
}

const statusWords: Readonly<Record<string, string>> = { '200': 'Done', '201': 'Created', '202': 'Accepted' };

function describedResponse(status: string, schema: unknown): object {
  return { description: statusWords[status] ?? status, content: { 'application/json': { schema } } };
}

interface OpenapiDocument {
  readonly paths?: object;
  readonly components?: { readonly schemas?: Readonly<Record<string, unknown>> };
}

/** Every named schema comes once as input and once as output; those that nothing points to are left out. */
function withoutUnused(document: OpenapiDocument): OpenapiDocument {
  const schemas = document.components?.schemas ?? {};
  const used = new Set<string>();
  const follow = (part: unknown): void => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/([A-Za-z]+)"/g)) {
      if (used.has(name)) continue;
      used.add(name);
      follow(schemas[name]);
    }
  };
  follow(document.paths ?? {});
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name))) } };
}
