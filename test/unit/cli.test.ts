/** The pure parts of the command-line client: settings, changes to a request, what is printed, exit statuses. */
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { endOf, RefusedError, UnreachableError, UsageError } from '../../clients/cli/outcome.ts';
import { readRequest, withChanges } from '../../clients/cli/request-file.ts';
import { readSettings } from '../../clients/cli/settings.ts';
import { elapsed, formatted, openTerminal, table } from '../../clients/cli/terminal.ts';

describe('settings', () => {
  test('options go before the environment, the environment before the default', () => {
    expect(readSettings({}, {})).toEqual({ url: 'http://127.0.0.1:8080', output: 'table' });
    const environment = { SPINDLE_URL: 'https://images.example.org/spindle/', SPINDLE_TOKEN: 'secret-1' };
    const settings = readSettings({ output: 'json' }, environment);
    expect(settings).toMatchObject({ url: 'https://images.example.org/spindle', output: 'json' });
    expect(JSON.stringify(settings)).not.toContain('secret-1');
    expect(settings.token?.reveal()).toBe('secret-1');
    expect(readSettings({ url: 'http://x', token: 'secret-2' }, environment).token?.reveal()).toBe('secret-2');
  });

  test.each([{ url: 'ftp://x' }, { url: 'x' }, { url: 'http://u:secret@x' }, { output: 'xml' }, { token: 'two words' }, { token: 'a\r\nHost: evil' }])(
    '%o is a usage error that repeats no secret',
    (options) => {
      expect(() => readSettings(options, {})).toThrow(UsageError);
      expect(() => readSettings(options, {})).not.toThrow(/secret|evil/);
    },
  );
});

describe('the request', () => {
  test('changes are YAML values at paths, made on the way', () => {
    const request = { release: 'sample', sources: { updates: true } };
    expect(
      withChanges(request, [
        'sources.updates=false',
        'sources.kojiBuilds=[hello-1.1-1, 42]',
        'label=My=Label',
        'notify.email=[a@example.org]',
        'kickstart=',
        'release=44',
      ]),
    ).toEqual({
      release: 44,
      sources: { updates: false, kojiBuilds: ['hello-1.1-1', 42] },
      label: 'My=Label',
      notify: { email: ['a@example.org'] },
      kickstart: '',
    });
    expect(request).toEqual({ release: 'sample', sources: { updates: true } });
  });

  test.each(['label', '=x', 'a..b=1', '.a=1', '__proto__.polluted=1', 'constructor.prototype.polluted=1', 'packages.x=1', 'a=[', 'a=*b'])(
    '--set %s is refused',
    (change) => {
      expect(() => withChanges({ packages: ['a'] }, [change])).toThrow(UsageError);
      expect(Object.prototype).not.toHaveProperty('polluted');
    },
  );

  test('a file that is missing or is no YAML is a usage error with its place; standard input works', async () => {
    await expect(readRequest('/nowhere/request.yaml', [])).rejects.toThrow('/nowhere/request.yaml cannot be read');
    await expect(readRequest('-', [], Readable.from(['a: 1\nb: [']))).rejects.toThrow(/^- is not YAML or JSON: .* in line 2/);
    await expect(readRequest('-', [], Readable.from(['x'.repeat(1024 * 1024 + 1)]))).rejects.toThrow('larger than');
    expect(await readRequest('-', ['b=2'], Readable.from(['{"a": 1}']))).toEqual({ a: 1, b: 2 });
  });
});

describe('printing', () => {
  const captured = (columns?: number) => {
    const written: string[] = [];
    const terminal = openTerminal({
      stdout: (text) => void written.push(text),
      stderr: (text) => void written.push(text),
      ...(columns === undefined ? {} : { columns }),
    });
    return { terminal, written };
  };

  test('foreign text cannot move the cursor or set the title', () => {
    const { terminal, written } = captured();
    terminal.line('\u001b]0;owned\u0007\u001b[2Jevil\rgood\u0085');
    expect(written.join('')).toBe('evil\ufffdgood\ufffd\n');
  });

  test('a live line gives way to lines and comes back; without a terminal there is none', () => {
    const { terminal, written } = captured(20);
    terminal.live('building 0:01 and much more');
    terminal.note('a line');
    terminal.live('');
    expect(written).toEqual(['building 0:01 and m', '\r\u001b[K', 'a line\n', 'building 0:01 and m', '\r\u001b[K']);
    const plain = captured();
    plain.terminal.live('building');
    expect(plain.written).toEqual([]);
  });

  test('tables, formats, times', () => {
    expect(
      table([
        ['A', 'LONG'],
        ['x\n\u001b[1my', 'z'],
        ['wide cell', ''],
      ]),
    ).toBe('A          LONG\nx y        z\nwide cell');
    expect(formatted('json', { a: 1 }, () => '')).toBe('{\n  "a": 1\n}');
    expect(formatted('yaml', { a: [1, 'x: y'] }, () => '')).toBe("a:\n  - 1\n  - 'x: y'");
    expect(formatted('table', {}, () => 'text')).toBe('text');
    expect([0, 42_999, 725_000, 3_601_000, -5].map(elapsed)).toEqual(['0:00', '0:42', '12:05', '1:00:01', '0:00']);
  });

  test('each bad end has its status and readable lines', () => {
    expect(endOf(new UsageError('no file'))).toEqual({ status: 2, lines: ['no file'] });
    expect(endOf(new UnreachableError('away'))).toEqual({ status: 3, lines: ['away'] });
    expect(endOf(new RefusedError(422, 'RELEASE_UNKNOWN', 'no such release', [{ field: 'release', message: 'no such release' }]))).toEqual({
      status: 4,
      lines: ['no such release (422 RELEASE_UNKNOWN)'],
    });
    const two = [
      { field: 'a', message: 'a is wrong' },
      { field: 'b', message: 'b is wrong' },
    ];
    expect(endOf(new RefusedError(422, 'REQUEST_INVALID', 'a is wrong (and 1 more)', two))?.lines).toEqual([
      'a is wrong (and 1 more) (422 REQUEST_INVALID)',
      '  a is wrong',
      '  b is wrong',
    ]);
    expect(endOf(new Error('a bug'))).toBeUndefined();
  });
});
