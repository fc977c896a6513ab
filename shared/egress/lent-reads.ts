/**
 * Connections that read bodies into one buffer, again and again. A buffer of its own for every read costs most of what a download costs: memory that has to be got, cleared and given back, where the
 * bytes are only hashed and written. Without this everything works alike, and more slowly.
 *
 * undici takes what a socket has within the `readable` event, and hands a body on before that event ends. What it keeps beyond that is the head of an answer, which may come in pieces: heads, and
 * bodies whose length is not known, are read into buffers of their own.
 */
import { Socket } from 'node:net';

interface Reading {
  arrived: Buffer | undefined;
  /** Of the body under way, what is still to come. */
  bodyLeft: number;
}

export interface LentReads {
  /** Of `net.connect` and `tls.connect`. */
  readonly onread: { readonly buffer: () => Uint8Array; readonly callback: (this: unknown, bytes: number, buffer: Uint8Array) => boolean };
  /** To be called before the socket is connected. */
  adopt(socket: Socket): void;
  /** For the handler of an answer, as it gets its head: so many bytes of a body follow, and nobody keeps them beyond the call that brings them. */
  expectBody(bytes: number): void;
  /** For the same handler: so many of them came. */
  tookBody(bytes: number): void;
}

/** At 256 KiB a write of the next chunk still finds it in the processor's cache. */
const lentBytes = 256 * 1024;
const headBytes = 16 * 1024;

export function lentReads(): LentReads {
  const readings = new WeakMap<Socket, Reading>();
  const lent = Buffer.allocUnsafeSlow(lentBytes);
  /** The one whose bytes are being handed on. */
  let current: Reading | undefined;
  return {
    onread: {
      // Called once for a new connection, and after each read of it for the next one.
      buffer: () => {
        const left = current?.bodyLeft ?? 0;
        current = undefined;
        // No read reaches beyond the body, into what would have to be kept.
        return left > 0 ? lent.subarray(0, Math.min(left, lentBytes)) : Buffer.allocUnsafeSlow(headBytes);
      },
      callback(bytes, buffer) {
        const reading = this instanceof Socket ? readings.get(this) : undefined;
        if (!(this instanceof Socket) || !reading) return false;
        if (reading.arrived) {
          // Nobody takes what comes: there is no request that this could be the answer to.
          this.destroy(new Error('the other side sends what nobody asked for'));
          return false;
        }
        current = reading;
        reading.arrived = Buffer.from(buffer.buffer, buffer.byteOffset, bytes);
        this.emit('readable');
        return true;
      },
    },
    adopt: (socket) => {
      const reading: Reading = { arrived: undefined, bodyLeft: 0 };
      readings.set(socket, reading);
      socket.read = (size?: number) => {
        const { arrived } = reading;
        // Asked for nothing, it begins to read from the network.
        if (size === 0 || !arrived) return Socket.prototype.read.call(socket, size);
        reading.arrived = undefined;
        return arrived;
      };
    },
    expectBody: (bytes) => {
      if (current) current.bodyLeft = bytes;
    },
    tookBody: (bytes) => {
      if (current) current.bodyLeft = Math.max(0, current.bodyLeft - bytes);
    },
  };
}
