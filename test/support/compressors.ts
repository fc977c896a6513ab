/** What node:zlib lacks here, by the host's own programs. */
import { execFileSync } from 'node:child_process';

const outputBytesMax = 256 * 1024 * 1024;

export const zstdSync = (content: Uint8Array): Uint8Array => execFileSync('zstd', ['-cq'], { input: content, maxBuffer: outputBytesMax });
export const bzip2Sync = (content: Uint8Array): Uint8Array => execFileSync('bzip2', ['-c'], { input: content, maxBuffer: outputBytesMax });
export const xzSync = (content: Uint8Array): Uint8Array => execFileSync('xz', ['-c'], { input: content, maxBuffer: outputBytesMax });
