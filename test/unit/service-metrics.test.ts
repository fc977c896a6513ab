/** What a service tells Prometheus, and what its address for those who watch answers. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { imageEngines } from '../../services/image-builder/engines/all.ts';
import { SpindleError } from '../../shared/build/failure.ts';
import { servedEngines } from '../../shared/build/served-engines.ts';
import type { QueueState } from '../../shared/bus/queue-report.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { healthApp } from '../../shared/http/health-app.ts';
import { serviceMetrics } from '../../shared/stage/metrics.ts';

describe('metrics', () => {
  test('runs, durations and queues, by names of ours only', async () => {
    const metrics = serviceMetrics({ service: 'monitor', version: '1.2.3' });
    metrics.stageEnded({ stage: 'resolver', outcome: 'returned', durationMs: 1500 });
    metrics.stageEnded({ stage: 'resolver', outcome: 'threw', durationMs: 50 });
    let isAway = false;
    const state = (name: string, depth: number): QueueState => ({ name, depth, inHand: 1, consumers: 2, publishRate: null, ackRate: null });
    const queues = async () => {
      if (isAway) throw new SpindleError('BUS_UNAVAILABLE', 'away');
      return [state('one', 7), state('amq.gen-somebody-else', 9), state('spindle.dead-letters', 3)];
    };
    metrics.watchQueues({ queues }, { queues: [{ name: 'one', bindings: [] }] });
    const { body, contentType } = await metrics.text();
    expect(contentType).toContain('text/plain');
    for (const line of [
      'spindle_build_info{version="1.2.3",service="monitor"} 1',
      'spindle_stage_runs_total{stage="resolver",outcome="returned",service="monitor"} 1',
      'spindle_stage_duration_seconds_bucket{le="5",service="monitor",stage="resolver"} 2',
      'spindle_queue_depth{queue="one",service="monitor"} 7',
      'spindle_queue_in_hand{queue="one",service="monitor"} 1',
      'spindle_queue_consumers{queue="spindle.dead-letters",service="monitor"} 2',
    ]) {
      expect(body.split('\n')).toContain(line);
    }
    expect(body).toContain('process_resident_memory_bytes');
    expect(body).not.toContain('amq.gen');
    isAway = true;
    expect((await metrics.text()).body).not.toContain('spindle_queue_depth{');
  });
});

describe('the address for those who watch', () => {
  let problem: unknown;
  let app: Awaited<ReturnType<typeof healthApp>>;
  const port = {
    ping: async () => {
      if (problem !== undefined) throw problem;
    },
  };
  beforeEach(async () => {
    problem = undefined;
    app = await healthApp({
      store: port,
      files: { ping: async () => undefined },
      bus: port,
      clock: systemClock(),
      metrics: serviceMetrics({ service: 'resolver', version: '1' }).text,
    });
  });
  afterEach(() => app.close());

  test('says what is missing, and nothing that is not made for people', async () => {
    expect((await app.inject('/healthz')).json()).toEqual({ status: 'ok' });
    expect((await app.inject('/readyz')).json()).toEqual({ status: 'ready', checks: { store: 'ok', files: 'ok', bus: 'ok' }, problems: {} });
    problem = new SpindleError('BUS_UNAVAILABLE', 'the broker at b:5672 is away');
    const away = await app.inject('/readyz');
    expect(away.statusCode).toBe(503);
    expect(away.json()).toEqual({
      status: 'not-ready',
      checks: { store: 'failed', files: 'ok', bus: 'failed' },
      problems: { store: 'BUS_UNAVAILABLE: the broker at b:5672 is away', bus: 'BUS_UNAVAILABLE: the broker at b:5672 is away' },
    });
    problem = new Error('connect to mongodb://user:hunter2@db');
    expect((await app.inject('/readyz')).json().problems).toEqual({ store: 'it cannot be used', bus: 'it cannot be used' });
  });

  test('metrics are Prometheus text; other paths and methods are not there', async () => {
    const answer = await app.inject('/metrics');
    expect(answer.headers['content-type']).toContain('text/plain; version=0.0.4');
    expect(answer.body).toMatch(/^spindle_build_info\{version="1",service="resolver"\} 1$/m);
    expect((await app.inject('/api/v1/builds')).statusCode).toBe(404);
    expect((await app.inject({ method: 'POST', url: '/metrics', payload: 'x' })).statusCode).toBeGreaterThanOrEqual(400);
  });
});

test('what intake offers is what the image-builder’s engines make', () => {
  expect(servedEngines).toEqual(Object.fromEntries(imageEngines.map(({ name, imageTypes }) => [name, imageTypes])));
});
