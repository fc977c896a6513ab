/** The programs contract on simulated programs. */
import { systemClock } from '../../shared/clock/system.ts';
import { simulatedPrograms } from '../../shared/programs/simulated.ts';
import { programsContract } from './programs.contract.ts';

programsContract('simulated', () => {
  const programs = simulatedPrograms(
    {
      speaks: async () => ({ exitCode: 3, stdout: 'one\ntwo\nthree', stderr: 'four\n' }),
      echoes: async ({ stdin, keepsInput, onLine }, input) => {
        if (!keepsInput) return { stdout: stdin ?? '' };
        for await (const text of input ?? []) onLine?.(text.trimEnd(), 'stdout');
        return {};
      },
      hangs: ({ signal }) => new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
      floods: async () => ({ stdout: `${'x'.repeat(3_000_000)}\nend\n` }),
      prints: async () => ({ stdout: '\u00ff\u0000\u001b[31mred\u0007a\rb\r\n' }),
    },
    systemClock(),
  );
  const tool = (command: string) => ({ command, args: [] });
  return { programs, tools: { speaks: tool('speaks'), echoes: tool('echoes'), hangs: tool('hangs'), floods: tool('floods'), prints: tool('prints') } };
});
