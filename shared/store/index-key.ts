/** Index keys as text whose order, code point by code point, is the order of the keys: so that any sorted structure can hold them. Pure. */
import { SpindleError } from '../build/failure.ts';
import type { IndexValue, Query } from './store.ts';

/**
 * Every value ends in \u0001, which is smaller than anything inside a value; so `ending` + 1 is a bound after all keys that go on from there.
 * The three characters that would confuse this are written as \u0002 and another one.
 */
const end = '\u0001';
const afterEnd = '\u0002';
const valuesMax = 8;
const lengthMax = 2048;

const numberBytes = new DataView(new ArrayBuffer(8));

function encodeValue(value: IndexValue): string {
  if (typeof value === 'string') {
    return `s${/[\0-\x02]/.test(value) ? value.replace(/[\0-\x02]/g, (char) => `\u0002${String.fromCharCode(char.charCodeAt(0) + 2)}`) : value}${end}`;
  }
  if (typeof value !== 'number' || Number.isNaN(value))
    throw new SpindleError('INTERNAL', `an index key holds ${String(value)}; only strings and numbers can be found`);
  // The bits of a double order like the number once the sign is turned round, and all bits with it where it is negative. -0 is 0.
  numberBytes.setFloat64(0, value === 0 ? 0 : value);
  let high = numberBytes.getUint32(0);
  let low = numberBytes.getUint32(4);
  if (high >= 0x80000000) {
    high = ~high >>> 0;
    low = ~low >>> 0;
  } else {
    high = (high | 0x80000000) >>> 0;
  }
  return `n${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}${end}`;
}

export function encodeKey(values: readonly IndexValue[]): string {
  if (values.length === 0 || values.length > valuesMax) throw new SpindleError('INTERNAL', `an index key has 1 to ${valuesMax} values, not ${values.length}`);
  let key = '';
  for (const value of values) key += encodeValue(value);
  if (key.length > lengthMax) throw new SpindleError('INTERNAL', `an index key has ${key.length} characters; at most ${lengthMax} are kept`);
  return key;
}

const after = (key: string) => key.slice(0, -1) + afterEnd;

/** `low` is inside the range, `high` is the first key after it. */
export interface KeyRange {
  readonly low: string;
  readonly high: string;
}

/** The keys that a query means. An impossible query gives a range that holds nothing. */
export function keyRange(query: Query): KeyRange {
  const prefix = (query.prefix ?? []).map(encodeValue).join('');
  // Above all encoded keys, which begin with `n` or `s`.
  let low = prefix;
  let high = prefix === '' ? 't' : after(prefix);
  const raise = (key: string) => {
    if (compareText(key, low) > 0) low = key;
  };
  const lower = (key: string) => {
    if (compareText(key, high) < 0) high = key;
  };
  if (query.from !== undefined) raise(prefix + encodeValue(query.from));
  if (query.to !== undefined) lower(after(prefix + encodeValue(query.to)));
  if (query.beyond !== undefined) {
    const key = prefix + encodeValue(query.beyond);
    if (query.order === 'descending') lower(key);
    else raise(after(key));
  }
  return { low, high };
}

/** Orders text by code points, as UTF-8 bytes order. (`<` orders by UTF-16 units, where surrogates come before U+E000 to U+FFFF.) */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const unitA = a.charCodeAt(index);
    const unitB = b.charCodeAt(index);
    if (unitA !== unitB) return rank(unitA) - rank(unitB);
  }
  return a.length - b.length;
}

/** Puts the surrogates above the rest of the units. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
