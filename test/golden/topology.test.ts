/** The queues of the shipped releases, as they are on each bus: a change to them is a change to what a running broker holds. */
import { test } from 'vitest';
import { brokerObjects, printBrokerObjects } from '../../shared/bus/rabbitmq/broker-objects.ts';
import { pipelineTopology, printTopology } from '../../shared/bus/topology.ts';
import { loadReleases } from '../../shared/releases/load.ts';
import { expectGolden } from '../support/golden.ts';

const shipped = async () => pipelineTopology((await loadReleases()).fill({ SAMPLE_SITE: 'http://sample.example' }));

test('the topology of the shipped releases file', async () => {
  expectGolden('test/golden/topology.txt', printTopology(await shipped()));
});

test('the same on RabbitMQ, whichever version', async () => {
  expectGolden('test/golden/topology-rabbitmq.txt', printBrokerObjects(brokerObjects(await shipped())));
});
