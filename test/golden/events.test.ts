/** One sample of every version of every event, kept for ever: what was once on the bus, or lies in a store, must still be read. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { catalog } from '../../shared/events/catalog.ts';
import { eventSamples } from '../support/event-samples.ts';

const folder = new URL('./events/', import.meta.url);
const samples = eventSamples();

// Samples are written once and never rewritten: `GOLDEN=update` only adds the missing ones.
for (const { type, version } of catalog) {
  const file = new URL(`${type}.v${version}.json`, folder);
  if (process.env['GOLDEN'] !== 'update' || existsSync(file) || !samples.has(type)) continue;
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${JSON.stringify(samples.get(type), undefined, 2)}\n`);
}
const stored = existsSync(folder) ? readdirSync(folder).sort() : [];

describe('samples of events', () => {
  test.each(catalog.map((definition) => [definition.type, definition] as const))(
    '%s has one for each version, and the service still writes the last',
    (type, { version }) => {
      for (let each = 1; each <= version; each += 1)
        expect(stored, `${type} version ${each} has no sample; npm run golden adds it`).toContain(`${type}.v${each}.json`);
      const sample = samples.get(type);
      expect(sample, `test/support/event-samples.ts makes no ${type}`).toBeDefined();
      expect(
        sample,
        `${type} is no longer written as its sample of version ${version} says: raise the version in shared/events/catalog.ts, then npm run golden`,
      ).toEqual(read(`${type}.v${version}.json`));
    },
  );

  test.each(stored)('%s is still read', (name) => {
    const [, type, version] = /^(.+)\.v(\d+)\.json$/.exec(name) ?? [];
    const definition = catalog.find((candidate) => candidate.type === type);
    if (!definition) throw new Error(`${name} belongs to no event of the catalog: an event that was once sent must stay readable`);
    expect(Number(version)).toBeLessThanOrEqual(definition.version);
    const event = definition.parse(read(name));
    expect(event.type).toBe(type);
    if (Number(version) === definition.version) expect(event, 'nothing of it is dropped or added').toEqual(read(name));
  });
});

function read(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
}
