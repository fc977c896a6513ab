/** How an event is declared: its type, the shape of its data, and what follows from them. Pure. */
import type { z } from 'zod';
import { Envelope } from './envelope.ts';

/** An event as a handler returns it: the runtime adds ids and times. */
export interface Emitted<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
}

/** An event as it travels. */
export type Event<Type extends string = string, Data = unknown> = Omit<Envelope, 'type' | 'data'> & { readonly type: Type; readonly data: Data };

export interface EventDefinition<Type extends string, Schema extends z.ZodType> {
  /** Makes the event for a handler to return. */
  (data: z.infer<Schema>): Emitted<Type, z.infer<Schema>>;
  readonly type: Type;
  /** Raised when the meaning of `data` changes; old samples must still parse. */
  readonly version: number;
  readonly summary: string;
  readonly schema: Schema;
  /** The key it is published under. */
  readonly routingKey: (data: z.infer<Schema>) => string;
  /** Reads a parsed message body; throws a ZodError. */
  readonly parse: (body: unknown) => Event<Type, z.infer<Schema>>;
}

export function defineEvent<const Type extends string, Schema extends z.ZodType>(options: {
  readonly type: Type;
  readonly version: number;
  readonly summary: string;
  readonly data: Schema;
  readonly routingKey?: (data: z.infer<Schema>) => string;
}): EventDefinition<Type, Schema> {
  const make = (data: z.infer<Schema>): Emitted<Type, z.infer<Schema>> => ({ type: options.type, data });
  return Object.assign(make, {
    type: options.type,
    version: options.version,
    summary: options.summary,
    schema: options.data,
    routingKey: options.routingKey ?? (() => options.type),
    parse: (body: unknown): Event<Type, z.infer<Schema>> => {
      const envelope = Envelope.parse(body);
      if (envelope.type !== options.type) throw new Error(`event type is ${envelope.type}, expected ${options.type}`);
      return { ...envelope, type: options.type, data: options.data.parse(envelope.data) };
    },
  });
}
