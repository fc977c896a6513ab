/** The simulation is only worth its time if it finds what it is for. */
import { expect, test } from 'vitest';
import { plantedBugs, simulateWith } from './planted-bugs.ts';

test.for(plantedBugs)('finds a planted bug within 200 seeds: $name', { timeout: 300_000 }, async (bug) => {
  const { exitCode, output } = await simulateWith(bug, 200);
  expect(output).toContain('VIOLATION');
  expect(exitCode).toBe(1);
});
