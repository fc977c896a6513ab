/** One connection to the broker that comes back by itself, and channels on it that are opened again whenever they are lost. */
import type { Channel, ChannelModel, connect, RecoveringChannelModel } from 'amqplib';
import { SpindleError } from '../../build/failure.ts';
import type { Clock } from '../../clock/clock.ts';

/** A silent peer is given up after two to three of these. A URL may say otherwise: `?heartbeat=30`. */
const heartbeatSeconds = 10;
/** For the connection and its handshake. */
const connectTimeoutMs = 10_000;
const closeTimeoutMs = 5_000;
const retryMinMs = 100;
const retryMaxMs = 5_000;

export interface LinkOptions {
  /** amqplib's own `connect`: the adapter brings it. */
  readonly dial: typeof connect;
  readonly url: URL;
  /** Shown in the broker's list of connections. */
  readonly name: string;
  readonly clock: Pick<Clock, 'after' | 'random'>;
  /** Told, once for each time, that the connection is gone or a channel cannot be opened. */
  readonly onTrouble: (error: unknown, what: string) => void;
}

/** A channel that is there whenever it can be. */
interface KeptChannel<Kept> {
  current(): Kept | undefined;
  close(): Promise<void>;
}

export interface Link {
  /** The broker and its virtual host, without user and password. */
  readonly place: string;
  current(): ChannelModel | undefined;
  /** True while the broker takes nothing from publishers: it is short of memory or disk. */
  isBlocked(): boolean;
  /** Resolves with the connection, at the latest after `timeoutMs`; rejects with BUS_UNAVAILABLE and the last reason. */
  ready(timeoutMs: number): Promise<ChannelModel>;
  /** BUS_UNAVAILABLE with the reason why there is no connection. */
  unavailable(): SpindleError;
  /** Calls `open` at each connection, and again, ever more slowly, after a failure or when the channel it gave is closed. */
  keep<Kept>(what: string, open: (model: ChannelModel) => Promise<{ readonly channel: Channel; readonly kept: Kept }>): KeptChannel<Kept>;
  /** Calls `listener` whenever the connection comes, goes, blocks or unblocks. */
  onChange(listener: () => void): void;
  close(): Promise<void>;
}

/** Starts to connect, and returns at once. */
export function openLink({ dial, url, name, clock, onTrouble }: LinkOptions): Link {
  const place = `${url.host}${url.pathname}`;
  const address = new URL(url);
  if (!address.searchParams.has('heartbeat')) address.searchParams.set('heartbeat', String(heartbeatSeconds));
  let model: ChannelModel | undefined;
  let reason = 'no connection was made yet';
  let isBlocked = false;
  let isClosed = false;
  const listeners = new Set<() => void>();
  const connected = new Set<(model: ChannelModel) => void>();

  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  const unavailable = () => new SpindleError('BUS_UNAVAILABLE', `the broker ${place} cannot be reached: ${reason}`);

  const recovering: Promise<RecoveringChannelModel> = dial(address.href, {
    // The broker's answers are small: waiting to fill a packet costs 40 ms a hop.
    noDelay: true,
    keepAlive: true,
    timeout: connectTimeoutMs,
    clientProperties: { connection_name: name },
    recovery: { initialDelay: retryMinMs, maxDelay: retryMaxMs, waitForConnect: false },
  }).then((made) => {
    let isTold = false;
    const lost = (error: Error) => {
      reason = error.message;
      if (!isTold && !isClosed) onTrouble(error, `the connection to the broker ${place} is gone; it is tried again`);
      isTold = true;
    };
    made.on('error', () => undefined);
    made.on('connect', (now: ChannelModel) => {
      isTold = false;
      isBlocked = false;
      model = now;
      now.on('close', () => dropSocket(now));
      for (const opened of [...connected]) opened(now);
      changed();
    });
    made.on('disconnect', (error: Error) => {
      model = undefined;
      lost(error);
      changed();
    });
    made.on('connect-failed', lost);
    made.on('blocked', (why: string) => {
      isBlocked = true;
      onTrouble(new Error(why), `the broker ${place} takes no messages`);
      changed();
    });
    made.on('unblocked', () => {
      isBlocked = false;
      changed();
    });
    return made;
  });
  recovering.catch((error: unknown) => {
    reason = error instanceof Error ? error.message : 'its address cannot be used';
  });

  const keep: Link['keep'] = (what, open) => {
    type Kept = Awaited<ReturnType<typeof open>>['kept'];
    let now: { readonly channel: Channel; readonly kept: Kept } | undefined;
    let isEnded = false;
    let failures = 0;
    let forget = () => {};
    const opening = (on: ChannelModel): void => {
      forget();
      if (isEnded || model !== on) return;
      const later = () => {
        if (isEnded || model !== on) return;
        failures += 1;
        forget = clock.after(Math.min(retryMaxMs, retryMinMs * 2 ** (failures - 1)) * (0.75 + clock.random() / 2), () => opening(on));
      };
      open(on).then(
        (opened) => {
          if (isEnded || model !== on) {
            void opened.channel.close().catch(() => undefined);
            return;
          }
          now = opened;
          failures = 0;
          changed();
          opened.channel.once('close', () => {
            if (now === opened) now = undefined;
            later();
          });
        },
        (error: unknown) => {
          if (model === on && failures === 0) onTrouble(error, what);
          later();
        },
      );
    };
    connected.add(opening);
    if (model) opening(model);
    return {
      current: () => now?.kept,
      close: async () => {
        isEnded = true;
        forget();
        connected.delete(opening);
        const channel = now?.channel;
        now = undefined;
        if (channel) await bounded(clock, closeTimeoutMs, channel.close()).catch(() => undefined);
      },
    };
  };

  return {
    place,
    current: () => model,
    isBlocked: () => isBlocked,
    unavailable,
    keep,
    ready: (timeoutMs) =>
      new Promise((resolve, reject) => {
        if (model) return resolve(model);
        const end = () => {
          forget();
          connected.delete(opened);
        };
        const opened = (now: ChannelModel) => {
          end();
          resolve(now);
        };
        const forget = clock.after(timeoutMs, () => {
          end();
          reject(unavailable());
        });
        connected.add(opened);
      }),
    onChange: (listener) => {
      listeners.add(listener);
    },
    close: async () => {
      isClosed = true;
      reason = 'it was closed';
      const made = await recovering.catch(() => undefined);
      const last = model;
      if (made) await bounded(clock, closeTimeoutMs, made.close()).catch(() => undefined);
      if (last) dropSocket(last);
      model = undefined;
      changed();
    },
  };
}

/** amqplib ends the socket of a peer that fell silent and waits for its farewell, which does not come: the process could not end meanwhile. */
function dropSocket({ connection }: ChannelModel): void {
  (connection as { stream?: { destroy?: () => void } }).stream?.destroy?.();
}

/** A new channel whose errors are no uncaught ones: whoever waits for an answer on it gets them. */
export async function openChannel<Made extends Channel>(making: Promise<Made>): Promise<Made> {
  const channel = await making;
  channel.on('error', () => undefined);
  return channel;
}

/** The promise's own end, or a rejection with BUS_UNAVAILABLE after `ms`. */
export function bounded<T>(clock: Pick<Clock, 'after'>, ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = clock.after(ms, () => reject(new SpindleError('BUS_UNAVAILABLE', `the broker did not answer within ${ms / 1000} s`)));
    promise.then(resolve, reject).finally(forget);
  });
}
