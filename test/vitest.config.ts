/** The test-suite's projects: one a folder, so that `npm test -- unit` runs one. */
import { defineConfig } from 'vitest/config';

const project = (name: string, testTimeout: number) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, hookTimeout: testTimeout },
});

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    globalSetup: ['test/support/servers/keeper.ts'],
    projects: [
      project('unit', 10_000),
      project('contract', 30_000),
      project('pipeline', 60_000),
      project('golden', 30_000),
      project('architecture', 60_000),
      project('simulation', 300_000),
      project('e2e', 600_000),
      project('long', 600_000),
    ],
  },
});
