/**
 * A proxy before a server of MongoDB's protocol that applies a write's filter and its change separately, as FerretDB does: it lets one write through at a time, and what reads pass freely. Behind
 * it a conditional write is what it is with MongoDB.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface WriteProxy {
  /** `127.0.0.1:1234` */
  readonly address: string;
  /** Commands that came through, by name. */
  readonly commands: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

const writeCommands: ReadonlySet<string> = new Set([
  'insert',
  'update',
  'delete',
  'findAndModify',
  'findandmodify',
  'createIndexes',
  'dropIndexes',
  'create',
  'drop',
  'dropDatabase',
]);
const opMsg = 2013;
const messageBytesMax = 64 * 1024 * 1024;

export async function oneWriteAtATime(target: { readonly host: string; readonly port: number }): Promise<WriteProxy> {
  const commands = new Map<string, number>();
  const sockets = new Set<Socket>();
  let last: Promise<void> = Promise.resolve();

  const server = createServer((client) => {
    const upstream = connect(target);
    /** By request id of a write under way: called when its answer has come, or never will. */
    const underWay = new Map<number, () => void>();
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
    }
    const end = () => {
      client.destroy();
      upstream.destroy();
      for (const release of underWay.values()) release();
      underWay.clear();
      sockets.delete(client);
      sockets.delete(upstream);
    };
    client.once('close', end);
    upstream.once('close', end);

    // One after the other: a driver's connection has one command under way anyway.
    let sent: Promise<void> = Promise.resolve();
    client.on(
      'data',
      messages((message) => {
        const name = commandOf(message);
        if (name !== undefined) commands.set(name, (commands.get(name) ?? 0) + 1);
        sent = sent.then(async () => {
          if (name !== undefined && writeCommands.has(name)) {
            const before = last;
            let release = () => {};
            last = new Promise<void>((resolve) => {
              release = resolve;
            });
            await before;
            if (client.destroyed || upstream.destroyed) return release();
            underWay.set(message.readInt32LE(4), release);
          }
          upstream.write(message);
        });
      }, end),
    );
    upstream.on(
      'data',
      messages((message) => {
        const request = message.readInt32LE(8);
        client.write(message);
        underWay.get(request)?.();
        underWay.delete(request);
      }, end),
    );
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    commands,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Cuts a stream into the protocol's messages: each begins with its length. */
function messages(take: (message: Buffer) => void, onGarbage: () => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let length = 0;
  return (chunk) => {
    chunks.push(chunk);
    length += chunk.byteLength;
    while (length >= 4) {
      if ((chunks[0]?.byteLength ?? 0) < 4) chunks = [Buffer.concat(chunks)];
      const size = chunks[0]?.readInt32LE(0) ?? 0;
      if (size < 16 || size > messageBytesMax) return onGarbage();
      if (length < size) return;
      const all = Buffer.concat(chunks);
      take(all.subarray(0, size));
      chunks = [all.subarray(size)];
      length -= size;
    }
  };
}

/** The name of the first field of a message's first document. */
function commandOf(message: Buffer): string | undefined {
  // Header of 16 bytes, flags of 4, then the section's kind, the document's length, the field's type, and its name.
  if (message.byteLength < 27 || message.readInt32LE(12) !== opMsg || message[20] !== 0) return undefined;
  const end = message.indexOf(0, 26);
  return end > 0 && end < 26 + 64 ? message.toString('utf8', 26, end) : undefined;
}
