/** How messages and dead letters look on RabbitMQ: what is in their properties and headers, and what is read from them again. Pure. */
import { derivedId } from '../../events/envelope.ts';
import type { Delivery } from '../bus.ts';
import type { DeadLetter } from '../dead-letter.ts';
import { isRoutingKey } from '../routing-key.ts';

/** What of a message that came from the broker is read here; amqplib's messages have it. */
export interface ReceivedMessage {
  readonly content: Buffer;
  readonly fields: { readonly routingKey: string; readonly redelivered: boolean };
  readonly properties: { readonly messageId?: unknown; readonly headers?: Readonly<Record<string, unknown>> | undefined };
}

type Headers = Readonly<Record<string, string | number>>;

const requeuesHeader = 'spindle-requeues';
const routingKeyHeader = 'spindle-routing-key';
const letterHeaders = {
  at: 'spindle-at',
  stage: 'spindle-stage',
  queue: 'spindle-queue',
  reason: 'spindle-reason',
  code: 'spindle-code',
  buildId: 'spindle-build-id',
  attempts: 'spindle-attempts',
} as const;
/** The broker's own count of those times that a reader vanished with it, or handed it back. */
const deliveryCountHeader = 'x-delivery-count';
/** For the dead letter of a message whose readers vanished again and again. */
const deliveryLimitCode = 'DELIVERY_LIMIT';

const countMax = 1_000_000;
const count = (value: unknown): number => (typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? Math.min(value, countMax) : 0);
const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

/** Times that the message was handed out before. */
export function earlierDeliveries({ properties, fields }: ReceivedMessage): number {
  const headers = properties.headers ?? {};
  return Math.max(count(headers[requeuesHeader]) + count(headers[deliveryCountHeader]), fields.redelivered ? 1 : 0);
}

export function deliveryOf(message: ReceivedMessage, queue: string): Delivery {
  const body = message.content.toString('utf8');
  return {
    id: idOf(message, queue, body),
    routingKey: originalKey(message),
    body,
    queue,
    redelivered: earlierDeliveries(message) > 0,
  };
}

/** What goes with a message that is put back at the end of its queue: the broker then knows neither its key nor its past. */
export function requeueHeaders(message: ReceivedMessage): Headers {
  return { [requeuesHeader]: earlierDeliveries(message) + 1, [routingKeyHeader]: originalKey(message) };
}

/** A dead letter's body is the message's own; all else is in headers, where the broker's tools show it. */
export function letterHeadersOf(letter: Omit<DeadLetter, 'id' | 'body' | 'routingKey'>): Headers {
  return {
    [letterHeaders.at]: letter.at,
    [letterHeaders.stage]: letter.stage,
    [letterHeaders.queue]: letter.queue,
    [letterHeaders.reason]: letter.reason,
    [letterHeaders.code]: letter.code,
    ...(letter.buildId === undefined ? {} : { [letterHeaders.buildId]: letter.buildId }),
    [letterHeaders.attempts]: letter.attempts,
  };
}

/** Reads what `letterHeadersOf` wrote, and also what the broker itself put aside, or somebody else. `now`: for one that does not say when. */
export function letterOf(message: ReceivedMessage, now: string): DeadLetter {
  const headers = message.properties.headers ?? {};
  const death = firstDeath(headers['x-death']);
  const body = message.content.toString('utf8');
  const queue = text(headers[letterHeaders.queue]) ?? death?.queue ?? '';
  const buildId = text(headers[letterHeaders.buildId]);
  const isLimit = death?.reason === 'delivery_limit';
  const brokerReason = isLimit
    ? 'it came back unanswered too often: its readers vanish with it'
    : `the broker put it aside: ${death?.reason ?? 'no reason told'}`;
  return {
    id: idOf(message, queue, body),
    at: text(headers[letterHeaders.at]) ?? death?.at ?? now,
    stage: text(headers[letterHeaders.stage]) ?? 'bus',
    queue,
    routingKey: originalKey(message),
    reason: text(headers[letterHeaders.reason]) ?? brokerReason,
    code: text(headers[letterHeaders.code]) ?? (isLimit ? deliveryLimitCode : 'MESSAGE_UNREADABLE'),
    ...(buildId === undefined ? {} : { buildId }),
    attempts: typeof headers[letterHeaders.attempts] === 'number' ? count(headers[letterHeaders.attempts]) : earlierDeliveries(message),
    body,
  };
}

function originalKey({ properties, fields }: ReceivedMessage): string {
  const key = text(properties.headers?.[routingKeyHeader]);
  // Anybody may have written it, and what is no key could not be published again.
  return key !== undefined && isRoutingKey(key) ? key : fields.routingKey;
}

/** A message of somebody else may have no id; the same one has the same id whenever it is read. */
function idOf({ properties }: ReceivedMessage, queue: string, body: string): string {
  return text(properties.messageId) ?? derivedId('message', queue, body);
}

function firstDeath(deaths: unknown): { readonly queue?: string; readonly reason?: string; readonly at?: string } | undefined {
  const death: unknown = Array.isArray(deaths) ? deaths[0] : undefined;
  if (typeof death !== 'object' || death === null) return undefined;
  const { queue, reason, time } = death as Record<string, unknown>;
  // amqplib's form of a timestamp: seconds since 1970 in a wrapping that tells it from a number.
  const seconds: unknown = typeof time === 'object' && time !== null ? (time as Record<string, unknown>)['value'] : undefined;
  return {
    ...(typeof queue === 'string' ? { queue } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(typeof seconds === 'number' && seconds >= 0 && seconds < 1e11 ? { at: new Date(seconds * 1000).toISOString() } : {}),
  };
}
