/** QEMU's command lines, checked in: what a machine of each kind is made of, and what a stranger's guest is kept from. */
import { expect, test } from 'vitest';
import { qemuArguments } from '../../services/boot-test/qemu.ts';
import { expectGolden } from '../support/golden.ts';

const order = { memoryMiB: 1024, serialSocket: 'serial.sock', monitorSocket: 'monitor.sock' } as const;
const uefi = { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: 'variables.fd' };
const kinds = {
  live: { medium: 'medium.iso' },
  boot: { medium: 'medium.iso', disk: 'disk.img', memoryMiB: 2048 },
  dvd: { medium: 'medium.iso', disk: 'disk.img', memoryMiB: 2048 },
  'dvd, installed': { medium: undefined, disk: 'disk.img', memoryMiB: 2048 },
} as const;

test('every kind of image by every firmware', () => {
  const texts = Object.entries(kinds).flatMap(([kind, parts]) =>
    (['bios', 'uefi'] as const).flatMap((firmware) =>
      (['tcg', 'kvm'] as const).map((acceleration) => {
        const lines = qemuArguments({ ...order, ...parts, firmware, acceleration, ...(firmware === 'uefi' ? { uefi } : {}) });
        expect(lines).toContain('-sandbox');
        return `# ${kind}, ${firmware}, ${acceleration}\n${lines.join(' ').replaceAll(' -', ' \\\n  -')}\n`;
      }),
    ),
  );
  expectGolden('test/golden/qemu.txt', texts.join('\n'));
});
