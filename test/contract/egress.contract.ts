/** What every adapter of the egress port promises, as one suite. */
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { Egress } from '../../shared/egress/egress.ts';

/**
 * A host that answers alike for every adapter: `/text` with `hello`; `/echo` with method, content type and body; `/missing` with 404 and `not here`; `/hop/N` with N redirects and then
 * `arrived`; `/to-file` redirects to a file: URL; `/moved` answers 302 to `/text`; `/kept` 307 to `/echo`; `/announced` and `/unannounced` with 5,000 bytes; `/stalls` never ends;
 * `/cut` ends in the middle; `/ranged` has `0123456789` and knows ranges; `/other-range` answers with a range that nobody asked for. What is told of `/part/…`: see partAnswer.
 */
export interface EgressUnderTest {
  readonly egress: Egress;
  readonly base: string;
  /** A URL where nothing listens. */
  readonly nobody: string;
  readonly pathOf: (name: string) => string;
  readonly read: (path: string) => Promise<Uint8Array | undefined>;
  readonly close?: () => Promise<void>;
}

const partContent = { old: 'old-'.repeat(100), new: 'new!'.repeat(100) } as const;

/**
 * What `/part/NAME` answers, by its NAME: 400 bytes in all, `old-` or `new!` again and again, with an ETag. Whole, it is cut after 150 bytes, unless the name begins with `whole-`; a rest comes whole.
 * - `good`: knows ranges and If-Range. `no-ranges`: sends the whole, uncut, to who asks for a rest.
 * - `changed`: is new by the time the rest is asked for, and says so. `changed-silently`: sends the rest of the new, which only its ETag shows.
 * - `elsewhere`: another rest than was asked for. `too-long`: a rest that is longer than it says. `short`: one that ends before it says. `gone`: 404 to who asks for a rest.
 */
export function partAnswer(
  name: string,
  headers: { readonly range?: string | undefined; readonly ifRange?: string | undefined },
): { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: string; readonly cutAfter?: number } {
  const from = /^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1];
  const isChanged = name.startsWith('changed') && from !== undefined;
  const content = isChanged ? partContent.new : partContent.old;
  const etag = isChanged ? '"new"' : '"old"';
  if (name === 'gone' && from !== undefined) return { status: 404, headers: {}, body: 'not here' };
  const isOther = headers.ifRange !== undefined && headers.ifRange !== etag && name !== 'changed-silently';
  if (from === undefined || isOther || name === 'no-ranges') {
    const isWhole = from !== undefined || name.startsWith('whole-') || headers.ifRange !== undefined;
    return { status: 200, headers: { etag }, body: content, ...(isWhole ? {} : { cutAfter: 150 }) };
  }
  if (Number(from) >= content.length) return { status: 416, headers: { 'content-range': `bytes */${content.length}` }, body: '' };
  const first = name === 'elsewhere' ? Number(from) + 1 : Number(from);
  const body = content.slice(first, name === 'short' ? -10 : undefined) + (name === 'too-long' ? 'more' : '');
  return { status: 206, headers: { etag, 'content-range': `bytes ${first}-${content.length - 1}/${content.length}` }, body };
}

export function egressContract(name: string, make: () => Promise<EgressUnderTest>): void {
  describe(`egress: ${name}`, () => {
    const made: EgressUnderTest[] = [];
    const adapter = async () => {
      const one = await make();
      made.push(one);
      return one;
    };
    afterEach(async () => {
      for (const one of made.splice(0)) {
        await one.egress.close();
        await one.close?.();
      }
    });
    const bounds = { bytesMax: 1000, deadlineMs: 10_000 };

    it('fetches a text with its status, headers and final URL', async () => {
      const { egress, base } = await adapter();
      const answer = await egress.fetchText({ url: `${base}/text`, ...bounds });
      expect(answer).toMatchObject({ status: 200, text: 'hello', url: `${base}/text`, headers: { 'content-type': 'text/plain' } });
    });

    it('sends method, headers and body', async () => {
      const { egress, base } = await adapter();
      const request = { url: `${base}/echo`, method: 'POST', headers: { 'Content-Type': 'text/xml' }, body: '<a/>', ...bounds } as const;
      expect((await egress.fetchText(request)).text).toBe('POST text/xml <a/>');
    });

    it('takes every status as an answer', async () => {
      const { egress, base } = await adapter();
      expect(await egress.fetchText({ url: `${base}/missing`, ...bounds })).toMatchObject({ status: 404, text: 'not here' });
    });

    it('fetches the start of a file, from hosts that know ranges and from others', async () => {
      const { egress, base } = await adapter();
      const start = async (path: string, bytes: number) => {
        const answer = await egress.fetchStart({ url: `${base}${path}`, bytes, deadlineMs: 10_000 });
        return { ...answer, content: Buffer.from(answer.content) };
      };
      expect(await start('/ranged', 4)).toMatchObject({ status: 206, content: Buffer.from('0123'), totalSize: 10 });
      expect(await start('/ranged', 100)).toMatchObject({ content: Buffer.from('0123456789'), totalSize: 10 });
      expect(await start('/announced', 10)).toMatchObject({ status: 200, content: Buffer.from('x'.repeat(10)), totalSize: 5000 });
      expect((await start('/unannounced', 4500)).content.byteLength).toBe(4500);
      expect(await start('/missing', 10)).toMatchObject({ status: 404, content: Buffer.alloc(0) });
      await expect(start('/other-range', 5)).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
      expect((await start('/text', 100)).content.byteLength).toBe(5);
    });

    it('downloads into a new file and hashes it', async () => {
      const { egress, base, pathOf, read } = await adapter();
      const sha256 = createHash('sha256').update('hello').digest('hex');
      const answer = await egress.download({ url: `${base}/text`, ...bounds }, pathOf('a'));
      expect(answer).toMatchObject({ status: 200, size: 5, sha256 });
      expect(Buffer.from((await read(pathOf('a'))) ?? []).toString()).toBe('hello');
    });

    describe('a download that goes on', () => {
      const sha256Of = (text: string) => createHash('sha256').update(text).digest('hex');
      /** A first try that is cut, and the validator of its answer. */
      const begun = async (name: string) => {
        const { egress, base, pathOf, read } = await adapter();
        const path = pathOf('part');
        const url = `${base}/part/${name}`;
        const seen: { validator: string | undefined } = { validator: undefined };
        const onAnswer = ({ validator }: { readonly validator: string | undefined }) => {
          seen.validator = validator;
        };
        const go = (change: { readonly name?: string; readonly bytesMax?: number; readonly validator?: string | undefined } = {}) =>
          egress.download(
            {
              url: change.name === undefined ? url : `${base}/part/${change.name}`,
              ...bounds,
              ...('bytesMax' in change ? { bytesMax: change.bytesMax ?? 0 } : {}),
              resume: { validator: 'validator' in change ? change.validator : seen.validator, onAnswer },
            },
            path,
          );
        await expect(go()).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
        return { go, seen, there: async () => (await read(path)) && Buffer.from((await read(path)) ?? []).toString() };
      };

      it('keeps what came before a cut, and appends the rest to it', async () => {
        const { go, seen, there } = await begun('good');
        expect([await there(), seen.validator]).toEqual([partContent.old.slice(0, 150), '"old"']);
        expect(await go()).toMatchObject({ status: 206, size: 400, sha256: sha256Of(partContent.old), resumedFrom: 150 });
        expect(await there()).toBe(partContent.old);
      });

      it('tells how many bytes are there', async () => {
        const { egress, base, pathOf } = await adapter();
        const seen: number[] = [];
        const request = { url: `${base}/part/good`, ...bounds, resume: {}, onBytes: (bytes: number) => void seen.push(bytes) };
        await expect(egress.download(request, pathOf('a'))).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
        expect(seen.at(-1)).toBe(150);
        await egress.download(request, pathOf('a'));
        expect(seen.at(-1)).toBe(400);
        expect(seen).toEqual(seen.toSorted((a, b) => a - b));
      });

      it.each(['no-ranges', 'changed', 'changed-silently', 'elsewhere'])('takes the whole where no rest of the same file is to be had: %s', async (name) => {
        const { go, there } = await begun(name);
        const content = name.startsWith('changed') ? partContent.new : partContent.old;
        // Who answers with another rest is asked once more, for the whole, and cuts that one too.
        if (name === 'elsewhere' || name === 'changed-silently') {
          await expect(go()).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
          expect(await there()).toBe(partContent.old.slice(0, 150));
        } else {
          expect(await go()).toMatchObject({ status: 200, size: 400, sha256: sha256Of(content), resumedFrom: 0 });
          expect(await there()).toBe(content);
        }
      });

      it('goes on at another address, which is not asked whether its file is the same', async () => {
        const { go, there } = await begun('good');
        expect(await go({ name: 'whole-other', validator: undefined })).toMatchObject({ status: 206, size: 400, resumedFrom: 150 });
        expect(await there()).toBe(partContent.old);
      });

      it('fetches the last byte again where all are there', async () => {
        const { go, there } = await begun('good');
        await go();
        expect(await go({ bytesMax: 400 })).toMatchObject({ status: 206, size: 400, sha256: sha256Of(partContent.old), resumedFrom: 399 });
        // Without a bound that tells it, the host has no more to give, and is asked for the whole.
        await expect(go()).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
        expect(await there()).toBe(partContent.old.slice(0, 150));
      });

      it('keeps the part where the host has nothing to add', async () => {
        const { go, there } = await begun('gone');
        expect(await go()).toMatchObject({ status: 404, size: 0, resumedFrom: 0 });
        expect(await there()).toBe(partContent.old.slice(0, 150));
      });

      it('keeps a rest that is shorter than it says as a part, and nothing of one that is longer', async () => {
        const short = await begun('short');
        await expect(short.go()).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
        expect(await short.there()).toBe(partContent.old.slice(0, 390));
        const long = await begun('too-long');
        await expect(long.go()).rejects.toMatchObject({ code: 'REMOTE_TOO_LARGE' });
        expect(await long.there()).toBeUndefined();
      });

      it('keeps nothing of a file that is larger than it may be', async () => {
        const { go, there } = await begun('good');
        await expect(go({ bytesMax: 300 })).rejects.toMatchObject({ code: 'REMOTE_TOO_LARGE' });
        expect(await there()).toBeUndefined();
      });

      it('leaves no file where nothing came', async () => {
        const { egress, base, pathOf, read, nobody } = await adapter();
        expect(await egress.download({ url: `${base}/missing`, ...bounds, resume: {} }, pathOf('a'))).toMatchObject({ status: 404, size: 0 });
        await expect(egress.download({ url: nobody, ...bounds, resume: {} }, pathOf('a'))).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
        expect(await read(pathOf('a'))).toBeUndefined();
      });
    });

    it('leaves no file where the status is not 200', async () => {
      const { egress, base, pathOf, read } = await adapter();
      expect(await egress.download({ url: `${base}/missing`, ...bounds }, pathOf('a'))).toMatchObject({ status: 404, size: 0 });
      expect(await read(pathOf('a'))).toBeUndefined();
    });

    it('follows 5 redirects and no sixth', async () => {
      const { egress, base } = await adapter();
      expect(await egress.fetchText({ url: `${base}/hop/5`, ...bounds })).toMatchObject({ text: 'arrived', url: `${base}/hop/0` });
      await expect(egress.fetchText({ url: `${base}/hop/6`, ...bounds })).rejects.toMatchObject({
        code: 'REMOTE_REFUSED',
        message: expect.stringContaining('5 times'),
      });
    });

    it('keeps a POST a POST, or refuses', async () => {
      const { egress, base } = await adapter();
      const post = { method: 'POST', headers: { 'content-type': 'text/xml' }, body: '<a/>', ...bounds } as const;
      expect((await egress.fetchText({ url: `${base}/kept`, ...post })).text).toBe('POST text/xml <a/>');
      await expect(egress.fetchText({ url: `${base}/moved`, ...post })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
    });

    it.each(['file:///etc/passwd', 'ftp://example.org/a', 'http://user:secret@example.org/', 'not a URL'])('refuses %s', async (url) => {
      const { egress } = await adapter();
      await expect(egress.fetchText({ url, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_REFUSED', message: expect.not.stringContaining('secret') });
    });

    it('refuses a redirect to a file', async () => {
      const { egress, base } = await adapter();
      await expect(egress.fetchText({ url: `${base}/to-file`, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
    });

    it.each(['/announced', '/unannounced'])('refuses too large an answer: %s', async (path) => {
      const { egress, base, pathOf, read } = await adapter();
      await expect(egress.fetchText({ url: `${base}${path}`, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_TOO_LARGE' });
      await expect(egress.download({ url: `${base}${path}`, ...bounds }, pathOf('a'))).rejects.toMatchObject({ code: 'REMOTE_TOO_LARGE' });
      expect(await read(pathOf('a'))).toBeUndefined();
      expect((await egress.download({ url: `${base}${path}`, ...bounds, bytesMax: 5000 }, pathOf('b'))).size).toBe(5000);
    });

    it('gives up at the deadline', async () => {
      const { egress, base, pathOf, read } = await adapter();
      const stalled = { url: `${base}/stalls`, bytesMax: 1000, deadlineMs: 50 };
      await expect(egress.fetchText(stalled)).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE', message: expect.stringContaining('within 0.05 s') });
      await expect(egress.download(stalled, pathOf('a'))).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
      expect(await read(pathOf('a'))).toBeUndefined();
    });

    it('never takes half an answer for a whole one', async () => {
      const { egress, base, pathOf, read } = await adapter();
      await expect(egress.fetchText({ url: `${base}/cut`, ...bounds })).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
      await expect(egress.download({ url: `${base}/cut`, ...bounds }, pathOf('a'))).rejects.toMatchObject({ code: 'REMOTE_UNREACHABLE' });
      expect(await read(pathOf('a'))).toBeUndefined();
    });

    it('says where nobody answers', async () => {
      const { egress, nobody } = await adapter();
      await expect(egress.fetchText({ url: nobody, ...bounds })).rejects.toMatchObject({
        code: 'REMOTE_UNREACHABLE',
        message: expect.stringContaining('refused'),
      });
    });

    it("rejects with the signal's reason", async () => {
      const { egress, base } = await adapter();
      const ending = new AbortController();
      const reason = new Error('canceled');
      const waiting = egress.fetchText({ url: `${base}/stalls`, ...bounds, signal: ending.signal });
      ending.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      await expect(egress.fetchText({ url: `${base}/text`, ...bounds, signal: ending.signal })).rejects.toBe(reason);
    });

    it('is used no more after it was closed', async () => {
      const { egress, base } = await adapter();
      await egress.close();
      await egress.close();
      await expect(egress.fetchText({ url: `${base}/text`, ...bounds })).rejects.toMatchObject({ code: 'PORT_CLOSED' });
    });
  });
}
