/** Messages a second: over a minute, from the first second on, and back to nothing. */
import { expect, test } from 'vitest';
import { messageRate } from '../../shared/bus/message-rate.ts';

test('a rate follows what was counted in the last minute', () => {
  let now = 1_000_003;
  const rate = messageRate({ now: () => now });
  rate.count();
  expect(rate.perSecond()).toBe(null);
  now += 2_000;
  rate.count();
  expect(rate.perSecond()).toBe(1);
  // 10 a second for two minutes.
  for (let tick = 0; tick < 1200; tick += 1) {
    now += 100;
    rate.count();
  }
  expect(rate.perSecond()).toBeCloseTo(10, 0);
  now += 30_000;
  expect(rate.perSecond()).toBeGreaterThan(3);
  expect(rate.perSecond()).toBeLessThan(7);
  now += 60_000;
  expect(rate.perSecond()).toBe(0);
  now += 1e9;
  expect(rate.perSecond()).toBe(0);
  rate.count();
  now += 1000;
  expect(rate.perSecond()).toBeGreaterThan(0);
});
