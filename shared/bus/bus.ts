/** The bus port: durable stage events on a topic exchange, dead letters, and best-effort broadcasts. */
import type { DeadLetter } from './dead-letter.ts';

/** One message: a CloudEvents envelope as JSON text (never an object: what a consumer reads was on the wire). */
export interface Message {
  /** Equal for equal events: the envelope's id. */
  readonly id: string;
  readonly routingKey: string;
  readonly body: string;
  /** False: where no queue is bound, nobody needs to know, and `publish` resolves. True where left out. */
  readonly mandatory?: boolean;
}

export interface Delivery extends Message {
  readonly queue: string;
  /** True where the broker knows that it handed this message out before. */
  readonly redelivered: boolean;
}

/**
 * What becomes of a delivery. `ack`: forget it. `requeue`: hand it out again, to anyone, soon. A dead letter: keep it for a person,
 * with the reason; the bus stores the dead letter before it forgets the message.
 */
export type Disposition = 'ack' | 'requeue' | { readonly deadLetter: string };

export interface Subscription {
  /** No new deliveries until `resume`; those under way go on. Twice is once. */
  pause(): void;
  /** `room`: how many it can take now, where that is less than `prefetch`. A bus may hand out more for a moment; they are then for the handler to give back. */
  resume(room?: number): void;
  /** No new deliveries; resolves when the handlers under way have returned. Undelivered messages stay queued. Twice is once. */
  close(): Promise<void>;
}

export interface Topology {
  /** Each durable queue and the routing keys bound to it, on the topic exchange `spindle`. */
  readonly queues: readonly {
    readonly name: string;
    readonly bindings: readonly string[];
    /** Times that a message may come back because its reader vanished, before the bus makes a dead letter of it: a backstop, where the bus can count that. */
    readonly deliveriesMax?: number;
  }[];
}

export interface Bus {
  /**
   * Makes sure that exchange, queues and bindings exist. Idempotent. Messages published before a queue exists do not reach it. Rejects with BUS_TOPOLOGY_DRIFT where the broker
   * holds one of them in another shape.
   */
  assert(topology: Topology): Promise<void>;
  /**
   * Resolves when every bound queue holds the message (a publisher confirm). Rejects with BUS_UNROUTABLE where no queue is bound, with
   * BUS_UNAVAILABLE where the broker cannot be reached: then the message may or may not have been queued, and is published again.
   */
  publish(message: Message): Promise<void>;
  /**
   * Hands each message of `queues` to exactly one of the queues' subscribers at a time, at most `prefetch` at once to this one. A handler that rejects
   * counts as `requeue`. At least once: a message whose subscriber vanished is handed out again.
   */
  subscribe(
    options: { readonly queues: readonly string[]; readonly prefetch: number },
    handler: (delivery: Delivery) => Promise<Disposition>,
  ): Promise<Subscription>;
  /** Stores a dead letter durably; resolves after that. The same id twice is one letter. */
  deadLetter(letter: DeadLetter): Promise<void>;
  /** The dead letters, oldest first. */
  deadLetters(limit: number): Promise<readonly DeadLetter[]>;
  /**
   * Hands one dead letter to `act`, and forgets it once `act` has resolved; where that rejects the letter stays, and this rejects the same way. False where there is none of this
   * id. Of several at once on one letter one acts. A letter of the same id that comes meanwhile is another one, and stays.
   */
  takeDeadLetter(id: string, act: (letter: DeadLetter) => Promise<void>): Promise<boolean>;
  /** Tells every listener of the topic, on every host, once at most. May be lost: only ever saves time. Never throws. */
  broadcast(topic: string, payload: unknown): void;
  /** Calls `listener` for each broadcast on exactly this topic. The returned function ends that. */
  listen(topic: string, listener: (payload: unknown) => void): () => void;
  /** Resolves where the bus can be used now; rejects with BUS_UNAVAILABLE otherwise. */
  ping(): Promise<void>;
  /** Closes subscriptions first. Every later call rejects with PORT_CLOSED. Twice is once. */
  close(): Promise<void>;
}
