/** The server of the `download` benchmark, a process of its own: files as RPMs have them, from memory, so that neither side waits for its disk. Started with an IPC channel. */
import { createHash, randomFillSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { seededRandom } from '../../shared/clock/virtual.ts';
import { rpmFileName } from '../../shared/fedora/nvr.ts';
import { rpmFile } from '../support/rpm-file.ts';

interface ServedRpm {
  readonly name: string;
  readonly file: string;
  readonly sha256: string;
  readonly size: number;
}

/** The first message to the parent. */
export interface ServerReady {
  readonly base: string;
  readonly rpms: readonly ServedRpm[];
}

const count = 500;
const bytesMax = 40_000_000;
/** Most packages of Fedora are small, and a few are most of the bytes: half have less than this, the mean is some four times as much. */
const medianBytes = 180_000;
const spread = 1.7;

function serve(): void {
  const random = seededRandom(1, 'download');
  // One block for all: each file begins elsewhere in it.
  const block = randomFillSync(Buffer.alloc(bytesMax + count * 4096));
  const files = new Map<string, readonly [start: Uint8Array, rest: Uint8Array]>();
  const rpms = Array.from({ length: count }, (_, index): ServedRpm => {
    const name = `part${index}`;
    const nevra = { name, epoch: 0, version: '1', release: '1', arch: 'x86_64' };
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const bytes = Math.min(bytesMax, Math.max(6000, Math.round(medianBytes * Math.exp(spread * normal))));
    const start = rpmFile(nevra).bytes;
    const rest = block.subarray(index * 4096, index * 4096 + bytes - start.byteLength);
    files.set(`/${rpmFileName(nevra)}`, [start, rest]);
    const sha256 = createHash('sha256').update(start).update(rest).digest('hex');
    return { name, file: rpmFileName(nevra), sha256, size: start.byteLength + rest.byteLength };
  });
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? '');
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    const [start, rest] = file;
    response.writeHead(200, { 'content-length': start.byteLength + rest.byteLength, 'content-type': 'application/x-rpm', etag: '"bench"' });
    response.write(start);
    response.end(rest);
  });
  server.listen(0, '127.0.0.1', () => {
    process.send?.({ base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, rpms } satisfies ServerReady);
  });
  process.on('disconnect', () => process.exit());
}

if (process.send && process.argv[1]?.includes('download-server')) serve();
