/** The pages of docs/ that are made from the code: events, error codes, and the AsyncAPI description. `npm run golden` writes them. */
import { dump } from 'js-yaml';
import { z } from 'zod';
import { failureKinds } from '../../shared/build/failure.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { catalog } from '../../shared/events/catalog.ts';
import { Envelope } from '../../shared/events/envelope.ts';
import { problemKinds } from '../../shared/http/problem.ts';
import { loadReleases } from '../../shared/releases/load.ts';
import { dispositionOf } from '../../shared/stage/disposition.ts';

type Definition = (typeof catalog)[number];
type JsonSchema = { readonly [key: string]: unknown; readonly properties?: Record<string, JsonSchema>; readonly required?: readonly string[] };

const made = 'Made from the code by `npm run golden`; a test compares. Do not edit by hand.';

function schemaOf(schema: z.ZodType): JsonSchema {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest as JsonSchema;
}

/** `side-repo.ready.<arch>.<imageType>.<engine>`: the parts that differ from event to event are named. */
function routingKeyPattern(definition: Definition): string {
  const names = new Proxy({} as Record<string, string>, { get: (_target, name) => `<${String(name)}>` });
  return (definition.routingKey as (data: unknown) => string)(names);
}

/** Who reads an event: the queues that its routing key, or one made from it, is bound to. */
async function readersOf(type: string): Promise<string> {
  const topology = pipelineTopology((await loadReleases()).fill({ SAMPLE_SITE: 'http://sample.example' }));
  const readers = new Set(
    topology.queues.filter(({ bindings }) => bindings.some((key) => key === type || key.startsWith(`${type}.`))).map(({ name }) => name.split('.')[0]),
  );
  return readers.size > 0 ? [...readers].join(', ') : 'nobody yet: no queue is bound';
}

function typeText(schema: JsonSchema): string {
  if (Array.isArray(schema['anyOf'])) return (schema['anyOf'] as JsonSchema[]).map(typeText).join(' or ');
  if (Array.isArray(schema['enum'])) return (schema['enum'] as unknown[]).map((value) => `\`${String(value)}\``).join(', ');
  if (schema['type'] === 'array') return `list of ${typeText(schema['items'] as JsonSchema)}`;
  if (schema.properties) return `{${Object.keys(schema.properties).join(', ')}}`;
  return String(schema['type'] ?? 'anything');
}

function fieldRows(schema: JsonSchema): string {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    // The list of error codes is a page of its own.
    const text = name === 'failure' ? '{code, stage, message, fault, retryable, details}, see [errors.md](errors.md)' : typeText(field);
    return `| \`${name}\` | ${text} |${schema.required?.includes(name) ? '' : ' may be left out'} |\n`;
  });
  return rows.length === 0 ? 'No data.\n' : `| Field of \`data\` | Is | |\n|---|---|---|\n${rows.join('')}`;
}

export async function eventsPage(): Promise<string> {
  const sections = await Promise.all(
    catalog.map(async (definition) =>
      [
        `## ${definition.type}, version ${definition.version}`,
        '',
        definition.summary,
        '',
        `Routing key: \`${routingKeyPattern(definition)}\`. Read by: ${await readersOf(definition.type)}.`,
        '',
        fieldRows(schemaOf(definition.schema)),
      ].join('\n'),
    ),
  );
  return [
    '# Events',
    '',
    made,
    '',
    'Stage events travel on the topic exchange `spindle` as JSON with the attributes of CloudEvents 1.0:',
    `${Object.keys(Envelope.shape)
      .map((name) => `\`${name}\``)
      .join(', ')}.`,
    '`subject` is the build. `correlationid` is the id of the build’s first event, `causationid` the id of the event whose handling made this one. Ids are derived from the event that was consumed and the stage, so a second run of a stage makes the same events.',
    '',
    'Old samples of every version are in test/golden/events and must parse for ever. The same as a schema: [asyncapi.yaml](asyncapi.yaml).',
    '',
    ...sections,
  ].join('\n');
}

export async function asyncApi(): Promise<string> {
  const messages = Object.fromEntries(
    catalog.map((definition) => [
      definition.type,
      {
        name: definition.type,
        summary: definition.summary,
        contentType: 'application/json',
        payload: {
          allOf: [
            { $ref: '#/components/schemas/Envelope' },
            { type: 'object', properties: { type: { const: definition.type }, data: schemaOf(definition.schema) }, required: ['data'] },
          ],
        },
      },
    ]),
  );
  const document = {
    asyncapi: '3.0.0',
    info: { title: 'Spindle stage events', version: '1.0.0', description: `${made}` },
    defaultContentType: 'application/json',
    channels: Object.fromEntries(
      catalog.map((definition) => [
        definition.type,
        {
          address: routingKeyPattern(definition).replaceAll('<', '{').replaceAll('>', '}'),
          ...parametersOf(definition),
          messages: { event: { $ref: `#/components/messages/${definition.type}` } },
          bindings: { amqp: { is: 'routingKey', exchange: { name: 'spindle', type: 'topic', durable: true } } },
        },
      ]),
    ),
    operations: Object.fromEntries(catalog.map(({ type }) => [`send.${type}`, { action: 'send', channel: { $ref: `#/channels/${type}` } }])),
    components: { schemas: { Envelope: schemaOf(Envelope) }, messages },
  };
  return dump(document, { lineWidth: 160, noRefs: true });
}

function parametersOf(definition: Definition): object {
  const names = [...routingKeyPattern(definition).matchAll(/<(\w+)>/g)].map((match) => match[1] ?? '');
  return names.length === 0 ? {} : { parameters: Object.fromEntries(names.map((name) => [name, {}])) };
}

/** Tries in all, for a stage that sets no lower limit. */
function triesOf(retry: (typeof failureKinds)[keyof typeof failureKinds]['retry']): number {
  let attempt = 1;
  while (dispositionOf(retry, attempt, Number.POSITIVE_INFINITY, 0.5).kind === 'retry') attempt += 1;
  return attempt;
}

const retryWords = {
  never: 'no: the build fails at once',
  remote: 'as for another host',
  local: 'as for this host',
  bug: 'as for a bug',
  lost: 'by another process, at once',
} as const;

export function errorsPage(): string {
  const rows = Object.entries(failureKinds).map(
    ([code, { fault, retry, means }]) => `| \`${code}\` | ${fault} | ${retry === 'never' ? 'no' : retry} | ${means} |\n`,
  );
  const kinds = [...new Set(Object.values(failureKinds).map(({ retry }) => retry))].sort();
  const seconds = (milliseconds: number) => `${milliseconds / 1000} s`;
  const delays = (retry: (typeof kinds)[number]) =>
    Array.from({ length: triesOf(retry) - 1 }, (_, index) => dispositionOf(retry, index + 1, Number.POSITIVE_INFINITY, 0.5))
      .flatMap((next) => (next.kind === 'retry' ? [seconds(next.delayMs)] : []))
      .join(', ');
  return [
    '# Error codes',
    '',
    made,
    '',
    'A code is stable: it is never renamed and never used for something else. A failed build carries `failure: {code, stage, message, fault, retryable}`; problem answers of the REST interface carry a code of this page in `code`.',
    '',
    '**Fault.** `requester`: change the request. `operator`: the request is fine; the same one may succeed later, which is what `retryable` says.',
    '',
    '**Retry.** How the runtime goes on by itself before the build fails. A stage may set fewer tries. The delays are means; each is drawn between three quarters and five quarters of it. When the tries are used up, the build fails and its event becomes a dead letter.',
    '',
    '| Retry | Meaning | Tries | Delays |\n|---|---|---|---|',
    ...kinds.map((retry) => `| ${retry === 'never' ? 'no' : retry} | ${retryWords[retry]} | ${triesOf(retry)} | ${delays(retry) || '–'} |`),
    '',
    '## Why a build fails, or a request is refused',
    '',
    `| Code | Fault | Retry | Means |\n|---|---|---|---|\n${rows.join('')}`,
    '## What only the REST interface says',
    '',
    'Besides these, `errors` of a refused request names each field with `KEY_UNKNOWN`, `FIELD_MISSING`, `FIELD_INVALID` or a code from above.',
    '',
    `| Code | Status | Means |\n|---|---|---|\n${Object.entries(problemKinds)
      .map(([code, { status, means }]) => `| \`${code}\` | ${status} | ${means} |\n`)
      .join('')}`,
  ].join('\n');
}
