/** Envelopes and events: written and read back alike, ids derived, and nothing odd gets through. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AnyEmitted, BuildCanceled, BuildRequested, catalog, definitionOf, routingKeyOf, SideRepoReady } from '../../shared/events/catalog.ts';
import { derivedId, Envelope } from '../../shared/events/envelope.ts';
import { eventSamples } from '../support/event-samples.ts';

const uuid = fc.uuid();
const envelope: fc.Arbitrary<Envelope> = fc.record(
  {
    specversion: fc.constant('1.0' as const),
    id: uuid,
    source: fc.string({ minLength: 1, maxLength: 256 }),
    type: fc.string({ minLength: 1, maxLength: 64 }),
    subject: uuid,
    time: fc.date({ min: new Date(0), max: new Date(4_102_444_800_000), noInvalidDate: true }).map((date) => date.toISOString()),
    datacontenttype: fc.constant('application/json' as const),
    correlationid: uuid,
    causationid: uuid,
    data: fc.jsonValue(),
  },
  { requiredKeys: ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'correlationid', 'data'] },
) as fc.Arbitrary<Envelope>;

describe('the envelope', () => {
  test('is read back from its JSON as it was', () => {
    fc.assert(
      fc.property(envelope, (value) => {
        // -0 becomes 0 in JSON: the comparison is of what was on the wire.
        const wire = JSON.stringify(value);
        expect(JSON.stringify(Envelope.parse(JSON.parse(wire)))).toBe(JSON.stringify(JSON.parse(wire)));
      }),
      { seed: 20261122, numRuns: 300 },
    );
  });

  test.each([
    ['no id', { id: undefined }],
    ['an id that is no UUID', { id: 'me' }],
    ['another version of CloudEvents', { specversion: '0.3' }],
    ['a time without a zone', { time: '2026-11-22T00:00:00' }],
    ['another content type', { datacontenttype: 'text/plain' }],
    ['a subject that climbs', { subject: '../../etc/passwd' }],
  ])('with %s is refused', (_, change) => {
    const good = eventSamples().get('build.requested');
    expect(Envelope.safeParse(good).success).toBe(true);
    expect(Envelope.safeParse({ ...good, ...change }).success).toBe(false);
  });
});

describe('derived ids', () => {
  test('are the same for the same parts, on every host and for ever', () => {
    expect(derivedId('a', 'b', 'c')).toBe('01bc6fc9-e9b5-5c20-a971-213078680570');
    fc.assert(fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), (parts) => void expect(derivedId(...parts)).toBe(derivedId(...parts))));
  });

  test('differ where the parts differ, also where their concatenation does not', () => {
    const part = fc.string({ maxLength: 6 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), fc.array(part, { minLength: 1, maxLength: 4 }), (one, other) => {
        expect(derivedId(...one) === derivedId(...other)).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
    );
    expect(derivedId('ab', 'c')).not.toBe(derivedId('a', 'bc'));
  });
});

describe('the catalog', () => {
  test('names each type once, and finds it', () => {
    expect(new Set(catalog.map(({ type }) => type)).size).toBe(catalog.length);
    for (const definition of catalog) expect(definitionOf(definition.type)).toBe(definition);
    expect(definitionOf('build.dreamed')).toBeUndefined();
  });

  test('routes every event by its type, but the builders’ work by what they can do', () => {
    const ready = eventSamples().get('side-repo.ready');
    expect(ready && routingKeyOf(SideRepoReady.parse(ready))).toBe('side-repo.ready.x86_64.live.kiwi');
    for (const [type, sample] of eventSamples()) {
      if (type !== 'side-repo.ready') expect(routingKeyOf({ type, data: sample.data } as AnyEmitted)).toBe(type);
    }
  });

  test('reads an event only as what it is', () => {
    const canceled = eventSamples().get('build.canceled');
    expect(BuildCanceled.parse(canceled)).toEqual(canceled);
    expect(() => BuildRequested.parse(canceled)).toThrow('event type is build.canceled, expected build.requested');
    expect(() => BuildRequested.parse({ ...eventSamples().get('build.requested'), data: { release: 7 } })).toThrow();
  });

  test('has no place for a path or a routing key in what becomes a routing key', () => {
    const parses = (change: object) => SideRepoReady.schema.safeParse({ ...(eventSamples().get('side-repo.ready')?.data as object), ...change }).success;
    expect(parses({})).toBe(true);
    for (const change of [{ arch: 'x86_64.live' }, { arch: '*' }, { arch: '#' }, { engine: 'kiwi.x' }, { imageType: '' }]) expect(parses(change)).toBe(false);
  });
});
