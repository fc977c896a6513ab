/** QEMU's command lines, and its machine protocol over a stream that answers well or badly. */
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { probeArguments, probeImage, qemuArguments } from '../../services/boot-test/qemu.ts';
import { qmpClient } from '../../services/boot-test/qmp.ts';
import { systemClock } from '../../shared/clock/system.ts';

const order = { acceleration: 'tcg', memoryMiB: 1024, medium: '/w/image.iso', serialSocket: 's.sock', monitorSocket: 'm.sock' } as const;

describe('command lines', () => {
  it('BIOS, emulated', () => {
    const text = qemuArguments({ ...order, firmware: 'bios' }).join(' ');
    for (const part of [
      '-nodefaults',
      '-display none',
      '-nic none',
      '-sandbox on',
      '-accel tcg,thread=multi -cpu max',
      '-m 1024',
      'readonly=on,file=/w/image.iso',
    ]) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain('pflash');
  });

  it('UEFI, with KVM', () => {
    const text = qemuArguments({ ...order, acceleration: 'kvm', firmware: 'uefi', uefi: { code: '/f/code.fd', variables: 'v.fd' } }).join(' ');
    expect(text).toContain('-accel kvm -cpu host');
    expect(text).toContain('if=pflash,format=raw,readonly=on,file=/f/code.fd -drive if=pflash,format=raw,file=v.fd');
    expect(() => qemuArguments({ ...order, firmware: 'uefi' })).toThrow();
  });

  it('a comma in a path is no new option', () => {
    expect(qemuArguments({ ...order, medium: '/w/a,readonly=off', firmware: 'bios' }).join(' ')).toContain('file=/w/a,,readonly=off');
    expect(probeArguments('/w/a,b').join(' ')).toContain('file=/w/a,,b');
  });

  // A KVM that opens and answers may still run a starting machine's instructions one by one: only a long count shows it.
  it('the probe is a boot sector that counts for long before it answers', () => {
    const image = probeImage();
    expect(image).toHaveLength(512);
    expect([...image.subarray(510)]).toEqual([0x55, 0xaa]);
    expect(new DataView(image.buffer).getUint32(2, true)).toBeGreaterThanOrEqual(10_000_000);
    // The jump leads back to `dec ecx`, and what comes after is the answer.
    expect([...image.subarray(6, 15)]).toEqual([0x66, 0x49, 0x75, 0xfc, 0xb0, 0x21, 0xe6, 0xf4, 0xf4]);
  });
});

/** The other end of a monitor: what it writes is what the client reads. */
function monitor(answer: (command: { execute: string; arguments: object; id: number }) => string | undefined, greeting = '{"QMP": {}}\r\n') {
  const seen: string[] = [];
  const stream: Duplex = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _, done) => {
      const command = JSON.parse(chunk.toString()) as { execute: string; arguments: object; id: number };
      seen.push(command.execute);
      const text = answer(command);
      if (text !== undefined) stream.push(text);
      done();
    },
  });
  stream.push(greeting);
  return { stream, seen };
}
const well = ({ id }: { id: number }) => `{"event": "RESET"}\r\n{"return": {"n": ${id}}, "id": ${id}}\r\n`;
const limits = { clock: systemClock(), timeoutMs: 50 };

describe('the machine protocol', () => {
  it('greets, negotiates and answers, whatever events come between', async () => {
    const { stream, seen } = monitor(well);
    const client = await qmpClient(stream, limits);
    expect(await client.execute('screendump', { filename: 'x' })).toEqual({ n: 2 });
    expect(seen).toEqual(['qmp_capabilities', 'screendump']);
    client.close();
    client.close();
    await expect(client.execute('stop')).rejects.toMatchObject({ code: 'BOOT_TEST_BROKEN' });
  });

  it('passes a refusal on and goes on', async () => {
    const { stream } = monitor((command) =>
      command.execute === 'bad' ? `{"error": {"class": "X", "desc": "no such thing"}, "id": ${command.id}}\n` : well(command),
    );
    const client = await qmpClient(stream, limits);
    await expect(client.execute('bad')).rejects.toThrow('no such thing');
    expect(await client.execute('good')).toEqual({ n: 3 });
  });

  it.each([
    ['says nothing at all', '', well],
    ['never answers', undefined, () => undefined],
    ['talks nonsense', 'hello\n', well],
    ['never ends its line', `{"QMP": ${' '.repeat(2_000_000)}`, well],
  ])('breaks off where QEMU %s', async (_, greeting, answer) => {
    const { stream } = monitor(answer, greeting);
    await expect(qmpClient(stream, limits)).rejects.toMatchObject({ code: 'BOOT_TEST_BROKEN' });
    expect(stream.destroyed).toBe(true);
  });

  it('tells the caller that waits when QEMU hangs up', async () => {
    const { stream } = monitor((command) => (command.execute === 'qmp_capabilities' ? well(command) : undefined));
    const client = await qmpClient(stream, { ...limits, timeoutMs: 10_000 });
    const waiting = client.execute('screendump');
    stream.destroy();
    await expect(waiting).rejects.toThrow('hung up');
  });
});
