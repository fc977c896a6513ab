/** Kickstarts and their includes by address: what is fetched, in which order, and what is not. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../shared/clock/system.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { type SimulatedAnswer, simulatedEgress } from '../../shared/egress/simulated.ts';
import { flattenKickstart } from '../../shared/kickstart/fetch.ts';

const files = (answers: Readonly<Record<string, string | SimulatedAnswer>>) => {
  const urls: string[] = [];
  const routes = (hop: { readonly url: URL }): SimulatedAnswer | undefined => {
    urls.push(hop.url.href);
    const answer = answers[hop.url.href.replace('https://a.example/', '')];
    return typeof answer === 'string' ? { body: answer } : answer;
  };
  return { urls, egress: simulatedEgress({ clock: systemClock(), routes }) };
};

async function flatten(kickstart: string, answers: Readonly<Record<string, string | SimulatedAnswer>> = {}) {
  const { egress, urls } = files(answers);
  const lines = await flattenKickstart(kickstart, { egress, log: () => {}, signal: new AbortController().signal });
  return { text: lines.map(({ text }) => text).join('\n'), lines, urls };
}

describe('a kickstart by its address, and its includes', () => {
  it('stand in the place of the lines that name them, also inside sections', async () => {
    const { text, lines, urls } = await flatten(' https://a.example/main.ks\n', {
      'main.ks': 'lang en_US.UTF-8\n%include https://a.example/more.ks\n%packages\n  %ksappend https://a.example/list\n%end\n',
      'more.ks': 'keyboard us\r\n%include "https://a.example/deep.ks"\r\n',
      'deep.ks': 'timezone UTC',
      list: 'hello\n',
    });
    expect(text).toBe('lang en_US.UTF-8\nkeyboard us\ntimezone UTC\n%packages\nhello\n%end');
    expect(lines[2]?.place).toEqual({ url: 'https://a.example/deep.ks', line: 1 });
    expect(urls.map((url) => url.split('/').at(-1))).toEqual(['main.ks', 'more.ks', 'deep.ks', 'list']);
  });

  it.each<readonly [string, string, Readonly<Record<string, string | SimulatedAnswer>>, string, RegExp]>([
    [
      'a circle',
      'https://a.example/1',
      { '1': '%include https://a.example/2', '2': '%include https://a.example/1' },
      'KICKSTART_INVALID',
      /which includes this file: that never ends$/,
    ],
    [
      'a file that includes itself',
      '%include https://a.example/1',
      { '1': '%include https://a.example/1' },
      'KICKSTART_INVALID',
      /line 1 of https:\/\/a\.example\/1 includes/,
    ],
    [
      'too deep',
      'https://a.example/0',
      Object.fromEntries(Array.from({ length: 30 }, (_, index) => [String(index), `%include https://a.example/${index + 1}`])),
      'KICKSTART_INVALID',
      /more than 5 files deep/,
    ],
    [
      'a tree that doubles',
      'https://a.example/0',
      Object.fromEntries(Array.from({ length: 6 }, (_, index) => [String(index), `%include https://a.example/${index + 1}\n`.repeat(100)])),
      'KICKSTART_INVALID',
      /more than (20 files|5 files deep)/,
    ],
    ['many files', '%include https://a.example/x\n'.repeat(50), { x: 'lang C' }, 'KICKSTART_INVALID', /includes more than 20 files$/],
    ['a huge file', 'https://a.example/x', { x: 'x'.repeat(300_000) }, 'KICKSTART_INVALID', /answers with more than 262144 bytes/],
    [
      'much in all',
      '%include https://a.example/x\n'.repeat(10),
      { x: `# ${'x'.repeat(15_000)}\n`.repeat(16) },
      'KICKSTART_INVALID',
      /more than 1048576 characters/,
    ],
    ['no such file', 'https://a.example/x', { x: { status: 404 } }, 'KICKSTART_INVALID', /answers with status 404; check the address/],
    ['a file of the host', '%include file:///etc/passwd', {}, 'KICKSTART_INVALID', /line 1 .*no files of the machine/],
    [
      'a file of the host in an include',
      'https://a.example/x',
      { x: '\n%include /etc/passwd' },
      'KICKSTART_INVALID',
      /line 2 of https:\/\/a\.example\/x .*no files of the machine/,
    ],
    ['an address that leads to http', 'https://a.example/x', { x: { status: 302, headers: { location: 'http://b.example/' } } }, 'KICKSTART_INVALID', /https/],
    ['another scheme', 'ftp://a.example/x', {}, 'KICKSTART_INVALID', /is an address that is not fetched from/],
    ['plain http', 'http://a.example/x', {}, 'KICKSTART_INVALID', /is an address that is not fetched from/],
    ['binary', 'https://a.example/x', { x: '\u0000\u0001' }, 'KICKSTART_INVALID', /line 1 of https:\/\/a\.example\/x holds a character/],
    ['a server that is ill', 'https://a.example/x', { x: { status: 503 } }, 'KICKSTART_UNREACHABLE', /status 503/],
    ['nobody there', 'https://a.example/x', {}, 'KICKSTART_UNREACHABLE', /cannot be fetched/],
  ])('%s', async (_, kickstart, answers, code, message) => {
    await expect(flatten(kickstart, answers)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('private addresses are not asked, by whatever name', async () => {
    const egress = httpEgress({ userAgent: 'test', allow: [], lookup: async () => ['10.0.0.1'] });
    const options = { egress, log: () => {}, signal: new AbortController().signal };
    for (const url of ['https://127.0.0.1/x.ks', 'https://[::1]/x.ks', 'https://169.254.169.254/latest', 'https://inside.example/x.ks']) {
      await expect(flattenKickstart(`%include ${url}`, options)).rejects.toMatchObject({
        code: 'KICKSTART_INVALID',
        message: expect.stringContaining('is not a public address'),
      });
    }
    await egress.close();
  });

  it('stops when it is told to', async () => {
    const ending = new AbortController();
    ending.abort(new Error('canceled'));
    const { egress } = files({});
    await expect(flattenKickstart('https://a.example/x', { egress, log: () => {}, signal: ending.signal })).rejects.toThrow('canceled');
  });
});
