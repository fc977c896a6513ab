/** A TCP proxy that misbehaves when told to: cuts connections, refuses them, or keeps them open and says nothing. */
import { type AddressInfo, connect, createServer, Socket } from 'node:net';

export interface TcpProxy {
  readonly port: number;
  /** Ends every connection at once and refuses new ones, until `heal`. */
  cut(): void;
  /** Forwards nothing more, in either direction, and ends nothing: what a lost cable or a dead router looks like. New connections are taken and stay silent, until `heal`. */
  stall(): void;
  /** New connections work again. Those that were stalled stay silent. */
  heal(): void;
  connections(): number;
  /** Towards the target, since the start. */
  bytesSent(): number;
  close(): Promise<void>;
}

export async function tcpProxy(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let sent = 0;
  let mode: 'forward' | 'refuse' | 'silent' = 'forward';
  const server = createServer((near) => {
    if (mode === 'refuse') {
      near.destroy();
      return;
    }
    const far = mode === 'silent' ? new Socket() : connect(target);
    const pair = [near, far] as const;
    pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      pairs.delete(pair);
    };
    for (const socket of pair) socket.setNoDelay(true).on('error', end).on('close', end);
    if (mode === 'silent') {
      near.pause();
      return;
    }
    near.on('data', (chunk: Buffer) => {
      sent += chunk.byteLength;
    });
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const cutAll = () => {
    for (const sockets of [...pairs]) for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      mode = 'refuse';
      cutAll();
    },
    stall: () => {
      mode = 'silent';
      for (const [near, far] of pairs) {
        near.unpipe(far);
        far.unpipe(near);
        near.pause();
        far.pause();
      }
    },
    heal: () => {
      mode = 'forward';
    },
    connections: () => pairs.size,
    bytesSent: () => sent,
    close: async () => {
      cutAll();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
