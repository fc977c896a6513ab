/** Golden files: text that is checked in, so that a reviewer sees what a change does to it. `GOLDEN=update` rewrites them. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Compares with the checked-in file, named relative to the repository; a missing file fails. */
export function expectGolden(relativePath: string, text: string): void {
  const path = join(root, relativePath);
  if (process.env['GOLDEN'] === 'update') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(
    existsSync(path) ? readFileSync(path, 'utf8') : undefined,
    `${relativePath} is not what the code makes; look at the difference, then npm run golden`,
  ).toBe(text);
}
