/** Messages and dead letters on RabbitMQ: what goes out is read back the same, and what a stranger made of headers breaks nothing. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DeadLetter } from '../../shared/bus/dead-letter.ts';
import { deliveryOf, earlierDeliveries, letterHeadersOf, letterOf, type ReceivedMessage, requeueHeaders } from '../../shared/bus/rabbitmq/wire.ts';
import { isRoutingKey } from '../../shared/bus/routing-key.ts';

const now = '2026-11-22T10:00:00.000Z';
const received = (headers: Record<string, unknown>, overrides: Partial<ReceivedMessage> = {}): ReceivedMessage => ({
  content: Buffer.from('{}'),
  fields: { routingKey: 'build.requested', redelivered: false },
  properties: { messageId: 'm1', headers },
  ...overrides,
});

describe('messages on RabbitMQ', () => {
  test('a dead letter is read back as it was written', () => {
    const letter = {
      id: 'm1',
      at: now,
      stage: 'resolver',
      queue: 'resolver.build.requested',
      routingKey: 'build.requested',
      reason: 'Koji is gone',
      code: 'KOJI_UNREACHABLE',
      buildId: 'b1',
      attempts: 6,
      body: '{}',
    };
    const { id, body, routingKey, ...rest } = letter;
    expect(letterOf(received(letterHeadersOf(rest)), 'later')).toEqual({ id, body, routingKey, ...rest });
  });

  test('what was handed back again and again keeps its key and its count', () => {
    let message = received({});
    for (let times = 1; times <= 4; times += 1) {
      message = received(requeueHeaders(message), { fields: { routingKey: 'resolver.build.requested', redelivered: false } });
      expect(earlierDeliveries(message)).toBe(times);
      expect(deliveryOf(message, 'resolver.build.requested')).toMatchObject({ routingKey: 'build.requested', redelivered: true, id: 'm1' });
    }
  });

  test('the broker’s own dead letter says when, where and how often', () => {
    const death = { queue: 'boot-test.image.built', reason: 'delivery_limit', count: 1, time: { '!': 'timestamp', value: 1_795_684_185 } };
    expect(letterOf(received({ 'x-death': [death], 'x-delivery-count': 51 }), now)).toMatchObject({
      queue: 'boot-test.image.built',
      code: 'DELIVERY_LIMIT',
      attempts: 51,
      at: '2026-11-26T09:09:45.000Z',
      stage: 'bus',
    });
  });

  test('no header that a stranger sets breaks the reading', () => {
    const names = [
      'x-death',
      'x-delivery-count',
      'spindle-requeues',
      'spindle-routing-key',
      'spindle-at',
      'spindle-reason',
      'spindle-code',
      'spindle-attempts',
    ];
    const time = fc.record({ queue: fc.anything(), reason: fc.anything(), time: fc.record({ value: fc.oneof(fc.double(), fc.integer(), fc.anything()) }) });
    const value = fc.oneof(fc.anything(), fc.string(), fc.string({ minLength: 256, maxLength: 300 }), fc.double(), fc.array(time, { maxLength: 2 }));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), value), fc.uint8Array(), fc.anything(), (headers, body, messageId) => {
        const message = received(headers, { content: Buffer.from(body), properties: { messageId, headers } });
        expect(DeadLetter.safeParse(letterOf(message, now)).success).toBe(true);
        expect(typeof deliveryOf(message, 'q').id).toBe('string');
        expect(Number.isSafeInteger(earlierDeliveries(message))).toBe(true);
        expect(isRoutingKey(deliveryOf(message, 'q').routingKey)).toBe(true);
      }),
      { seed: 26, numRuns: 500 },
    );
  });
});
