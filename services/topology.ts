/** Prints the queues of the configured releases: `npm run topology`, or as RabbitMQ holds them: `npm run topology -- rabbitmq`. */
import { brokerObjects, printBrokerObjects } from '../shared/bus/rabbitmq/broker-objects.ts';
import { pipelineTopology, printTopology } from '../shared/bus/topology.ts';
import { readConfig } from '../shared/config/config.ts';
import { loadReleases } from '../shared/releases/load.ts';

const loaded = await loadReleases(readConfig().releasesFile);
// Which sites packages come from makes no difference to the queues.
const topology = pipelineTopology(loaded.fill(Object.fromEntries(loaded.needs.map((name) => [name, 'http://sample.example']))));
process.stdout.write(process.argv.includes('rabbitmq') ? printBrokerObjects(brokerObjects(topology)) : printTopology(topology));
