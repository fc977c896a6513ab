/** One build's log: what is written is read back in order, once, whole lines, bounded; followers miss nothing and repeat nothing. */
import { describe, expect, test } from 'vitest';
import { buildLogs, followBuildLog, openBuildLog, readBuildLog } from '../../shared/build-log/build-log.ts';
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
  for await (const part of readBuildLog(files, id)) text += part;
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
    expect(await files.list(`logs/${buildId}`)).toEqual([`logs/${buildId}/03-001-019a9c3e7d006789ab/000000`]);
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

  test('a log stops at its bound and says so once', async () => {
    const files = memoryFiles();
    const log = openBuildLog({ files, bus: broadcasts(), clock: clockAt(), ...run, bytesMax: 1000 });
    for (let round = 0; round < 40; round += 1) {
      log.line('tool', 'x'.repeat(100));
      await log.flush();
    }
    await log.close();
    const text = await whole(files);
    expect(text.length).toBeLessThan(1200);
    expect(text.match(/the rest is left out/g)).toHaveLength(1);
    expect(text.endsWith('left out\n')).toBe(true);
  });

  test('the bound counts what earlier stages wrote', async () => {
    const files = memoryFiles();
    const ports = { files, bus: broadcasts(), clock: clockAt(), bytesMax: 300 };
    const first = openBuildLog({ ...ports, ...run, stageIndex: 1 });
    first.line('tool', 'y'.repeat(200));
    await first.close();
    const second = openBuildLog({ ...ports, ...run, stageIndex: 2 });
    second.line('tool', 'z'.repeat(200));
    await second.close();
    expect(await whole(files)).toMatch(/y{200}\n.*left out\n$/);
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
