/** One build's log: what is written is read back in order, once, whole lines, bounded; followers miss nothing and repeat nothing. */
import { describe, expect, test } from 'vitest';
import { buildLogs, openBuildLog } from '../../shared/build-log/build-log.ts';
import { logPosition } from '../../shared/build-log/left-out.ts';
import { followBuildLog, readBuildLog } from '../../shared/build-log/read-build-log.ts';
import type { Bus } from '../../shared/bus/bus.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { virtualClock } from '../../shared/clock/virtual.ts';
import type { Files } from '../../shared/files/files.ts';
import { memoryFiles } from '../../shared/files/memory.ts';

const buildId = '019a0000-0000-7000-8000-000000000001';
const run = { buildId, stage: 'image-builder', stageIndex: 3, attempt: 1, token: '019a9c3e-7d00-7abc-8def-0123456789ab' };

/** The broadcasting half of the bus, which needs no broker. */
function broadcasts(): Pick<Bus, 'broadcast' | 'listen'> {
  const listeners = new Map<string, Set<(payload: unknown) => void>>();
  return {
    broadcast: (topic, payload) => {
      for (const listener of listeners.get(topic) ?? []) listener(payload);
    },
    listen: (topic, listener) => {
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set.add(listener));
      return () => void set.delete(listener);
    },
  };
}

async function whole(files: Files, id = buildId): Promise<string> {
  let text = '';
  for await (const part of readBuildLog(files, id)) text += Buffer.from(part).toString('utf8');
  return text;
}

const clockAt = () => virtualClock({ seed: 1, startMs: Date.parse('2026-11-22T08:00:00.000Z') });

describe('writing', () => {
  test('lines carry time, stage and tool, and one flush is one file', async () => {
    const [files, clock] = [memoryFiles(), clockAt()];
    const log = openBuildLog({ files, bus: broadcasts(), clock, ...run });
    log.line('kiwi', 'first');
    log.line('image-builder', 'second\nthird');
    await log.flush();
    expect(await whole(files)).toBe(
      '2026-11-22T08:00:00.000Z image-builder kiwi| first\n' +
        '2026-11-22T08:00:00.000Z image-builder image-builder| second\n' +
        '2026-11-22T08:00:00.000Z image-builder image-builder| third\n',
    );
    expect(await files.list(`logs/${buildId}`)).toEqual([`logs/${buildId}/03-001-019a9c3e7d006789ab/0000000000000-0-172-3`]);
    await log.close();
    expect(clock.pending()).toBe(0);
  });

  test('a run that logs nothing leaves no file and no timer', async () => {
    const [files, clock] = [memoryFiles(), clockAt()];
    const log = buildLogs({ files, bus: broadcasts(), clock })(run);
    await log.flush();
    await log.close();
    expect(clock.pending()).toBe(0);
    expect(await files.list('logs')).toEqual([]);
  });

  test('what nobody flushes is stored a second later', async () => {
    const [files, clock] = [memoryFiles(), clockAt()];
    const log = openBuildLog({ files, bus: broadcasts(), clock, ...run });
    log.line('kiwi', 'waits');
    await clock.advance(999);
    expect(await whole(files)).toBe('');
    await clock.advance(1);
    expect(await whole(files)).toContain('waits');
  });

  test('control characters, colours and secrets do not reach the log', async () => {
    const files = memoryFiles();
    const log = openBuildLog({ files, bus: broadcasts(), clock: clockAt(), ...run, secrets: ['hunter2', ''] });
    log.line('dnf', '\u001b[31mred\u001b[0m bell\u0007 password=hunter2 \u202eevil');
    await log.close();
    expect(await whole(files)).toContain('dnf| red bell\ufffd password=*** \ufffdevil\n');
  });

  /** Fifty lines, one a chunk, each of the same length. */
  const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `line ${String(from + index).padStart(2, '0')}`);
  const lineBytes = '2026-11-22T08:00:00.000Z image-builder tool| line 00\n'.length;
  const small = { firstBytesMax: 5 * lineBytes, lastBytesMax: 10 * lineBytes };

  async function writeEach(log: ReturnType<typeof openBuildLog>, lines: readonly string[]): Promise<void> {
    for (const line of lines) {
      log.line('tool', line);
      await log.flush();
    }
  }

  test('of a log above its bound the first and the last part stay, and between them it says how much is missing', async () => {
    const files = memoryFiles();
    const log = openBuildLog({ files, bus: broadcasts(), clock: clockAt(), ...run, ...small });
    await writeEach(log, numbered(0, 50));
    await log.close();
    const lines = (await whole(files)).split('\n').filter(Boolean);
    expect(lines.map((line) => line.replace(/^.*\| /, ''))).toEqual([
      ...numbered(0, 5),
      `-- ${35 * lineBytes} bytes in 35 lines are left out here --`,
      ...numbered(40, 50),
    ]);
    const sizes = await Promise.all((await files.list('logs')).map(async (key) => (await files.stat(key))?.size ?? 0));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(15 * lineBytes);
  });

  test('the bound counts what earlier stages and tries wrote, and a later one goes on where they ended', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: clockAt(), ...small };
    const tries = [
      { attempt: 1, lines: numbered(0, 8) },
      { attempt: 2, lines: numbered(8, 30) },
      { attempt: 3, lines: numbered(30, 33) },
    ];
    for (const { attempt, lines } of tries) {
      const log = openBuildLog({ ...ports, ...run, attempt });
      await writeEach(log, lines);
      await log.close();
    }
    expect((await whole(files)).match(/line \d\d|\d+ lines/g)).toEqual([...numbered(0, 5), '18 lines', ...numbered(23, 33)]);
  });

  test('two runs that take themselves for the only one lose nothing and tell of no gap that is none', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: clockAt() };
    const slow = openBuildLog({ ...ports, ...run });
    await writeEach(slow, numbered(0, 2));
    const successor = openBuildLog({ ...ports, ...run, token: '019a9c3e-7d01-7abc-8def-0123456789ac' });
    await writeEach(successor, numbered(5, 7));
    await writeEach(slow, numbered(2, 4));
    await writeEach(successor, numbered(7, 8));
    expect((await whole(files)).match(/line \d\d|left out/g)).toEqual([...numbered(0, 4), ...numbered(5, 8)]);
  });

  test('what the storage does not take in time is left out, but not the end', async () => {
    const store = memoryFiles();
    let isAway = true;
    const files: Files = {
      ...store,
      put: async (key, source, options) => {
        if (isAway) throw new Error('storage is away');
        return store.put(key, source, options);
      },
    };
    const log = openBuildLog({ files, bus: broadcasts(), clock: clockAt(), ...run });
    const line = 'x'.repeat(8000);
    for (let count = 0; count < 3000; count += 1) log.line('tool', `${count} ${line}`);
    await log.flush().catch(() => {});
    isAway = false;
    await log.close();
    const text = await whole(store);
    expect(text.length).toBeLessThan(9 * 1024 * 1024);
    const kept = [...text.matchAll(/tool\| (\d+) x/g)].map(([, count]) => Number(count));
    expect(kept[0]).toBe(0);
    expect(kept.at(-1)).toBe(2999);
    const missing = [...text.matchAll(/^-- \d+ bytes in (\d+) lines are left out here --$/gm)].map(([, lines]) => Number(lines));
    expect(missing).toHaveLength(1);
    expect(kept.length + (missing[0] ?? 0)).toBe(3000);
  });

  test('chunks of an earlier version, which were numbered only, are read as they stand', async () => {
    const files = memoryFiles();
    await files.put(`logs/${buildId}/03-001-019a9c3e7d006789ab/000000`, 'old one\n');
    await files.put(`logs/${buildId}/03-001-019a9c3e7d006789ab/000001`, 'old two\n');
    expect(await whole(files)).toBe('old one\nold two\n');
    const parts: Uint8Array[] = [];
    for await (const part of followBuildLog({ files, bus: broadcasts(), clock: clockAt(), buildId, offset: 12, isEnded: async () => true })) parts.push(part);
    expect(Buffer.concat(parts).toString('utf8')).toBe('two\n');
  });

  test('a storage that fails for a while loses no line and writes none twice', async () => {
    const [store, clock] = [memoryFiles(), clockAt()];
    let failures = 2;
    const files: Files = {
      ...store,
      put: async (key, source, options) => {
        // The first failure happens after the file was stored: the answer was lost, not the file.
        if (failures === 2) await store.put(key, source, options);
        failures -= 1;
        if (failures >= 0) throw new Error('storage is away');
        return store.put(key, source, options);
      },
    };
    const log = openBuildLog({ files, bus: broadcasts(), clock, ...run });
    log.line('a', 'one');
    await expect(log.flush()).rejects.toThrow('storage is away');
    log.line('a', 'two');
    await clock.advance(1000);
    await clock.advance(1000);
    log.line('a', 'three');
    await log.close();
    expect((await whole(store)).match(/one|two|three/g)).toEqual(['one', 'two', 'three']);
  });

  test('stages, attempts and runs are read back in the order of the pipeline', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: clockAt() };
    const writes = [
      { stageIndex: 10, attempt: 1, text: 'last' },
      { stageIndex: 3, attempt: 2, text: 'again' },
      { stageIndex: 3, attempt: 1, text: 'tried' },
      { stageIndex: 1, attempt: 1, text: 'first' },
    ];
    for (const { text, ...place } of writes) {
      const log = openBuildLog({ ...ports, ...run, ...place });
      log.line('t', text);
      await log.close();
    }
    expect((await whole(files)).match(/\| \w+/g)).toEqual(['| first', '| tried', '| again', '| last']);
  });
});

describe('following', () => {
  test('a follower gets what was there, then what comes, to the end; another goes on from any byte', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: systemClock() };
    const log = openBuildLog({ ...ports, ...run });
    log.line('t', 'before');
    await log.flush();
    let ended = false;
    let received = '';
    const reading = (async () => {
      for await (const bytes of followBuildLog({ ...ports, buildId, isEnded: async () => ended })) {
        received += Buffer.from(bytes).toString('utf8');
        if (received.includes('before') && !received.includes('second')) {
          log.line('t', 'second: ä');
          await log.flush();
        } else if (!ended) {
          log.line('t', 'third');
          ended = true;
          await log.close();
        }
      }
    })();
    await reading;
    expect(received).toBe(await whole(files));
    const total = Buffer.from(received);
    for (const offset of [1, 60, total.indexOf('ä') + 1, total.byteLength]) {
      const parts: Uint8Array[] = [];
      for await (const bytes of followBuildLog({ ...ports, buildId, offset, isEnded: async () => true })) parts.push(bytes);
      expect(Buffer.concat(parts).equals(total.subarray(offset))).toBe(true);
    }
  });

  test('who was cut off in a flood goes on with the next line that is kept, and is told what is missing, once', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: clockAt() };
    const log = openBuildLog({ ...ports, ...run, firstBytesMax: 200, lastBytesMax: 1000 });
    const follow = async (offset: number) => {
      let text = '';
      const position = logPosition();
      for await (const bytes of followBuildLog({ ...ports, buildId, offset, isEnded: async () => true })) {
        text += Buffer.from(bytes).toString('utf8');
        // As they come over a network: in pieces that end anywhere.
        for (let at = 0; at < bytes.byteLength; at += 7) position.push(bytes.subarray(at, at + 7));
      }
      return { text, offset: position.offset };
    };
    const write = async (from: number, to: number) => {
      for (let count = from; count < to; count += 1) {
        log.line('t', `line ${count}`);
        await log.flush();
      }
    };
    await write(100, 110);
    const before = await follow(0);
    expect(before.text).not.toContain('left out');
    await write(110, 200);
    const after = await follow(before.offset);
    const [note, ...rest] = after.text.split('\n').filter(Boolean);
    const missing = Number(/^-- (\d+) bytes are left out here --$/.exec(note ?? '')?.[1]) / '2026-11-22T08:00:00.000Z image-builder t| line 110\n'.length;
    expect(rest[0]).toContain(`line ${110 + missing}`);
    expect(rest.at(-1)).toContain('line 199');

    // Counted as the line asks for: nothing comes twice.
    const all = await follow(0);
    expect(before.offset + after.offset).toBe(all.offset);
    expect((await follow(all.offset)).text).toBe('');
    await write(200, 201);
    expect((await follow(all.offset)).text).toMatch(/^\S+ image-builder t\| line 200\n$/);

    expect(all.text).toMatch(/^-- \d+ bytes in \d+ lines are left out here --$/m);
  });

  test('a chunk that makes room while it is read is told as missing', async () => {
    const store = memoryFiles();
    const ports = { bus: broadcasts(), clock: clockAt() };
    const log = openBuildLog({ files: store, ...ports, ...run });
    for (const word of ['one', 'two', 'three']) {
      log.line('t', word);
      await log.flush();
    }
    const keys = await store.list('logs');
    const files: Files = {
      ...store,
      get: async (key, range) => {
        if (key === keys[1]) await store.remove(key);
        return store.get(key, range);
      },
    };
    expect((await whole(files)).match(/one|two|three|in 1 lines are left out/g)).toEqual(['one', 'in 1 lines are left out', 'three']);
  });

  test('a signal ends it at once', async () => {
    const controller = new AbortController();
    const ports = { files: memoryFiles(), bus: broadcasts(), clock: systemClock() };
    const parts: Uint8Array[] = [];
    const reading = (async () => {
      for await (const bytes of followBuildLog({ ...ports, buildId, isEnded: async () => false, signal: controller.signal })) parts.push(bytes);
    })();
    controller.abort();
    await reading;
    expect(parts).toEqual([]);
  });
});
