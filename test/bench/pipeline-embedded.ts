/**
 * Builds a second through all stages on the embedded store and bus; every step of every build is a durable commit. Two figures: `pipeline-embedded`, where a stage's work takes no time, so
 * that what is left is Spindle's runtime; and `pipeline-embedded-handlers`, where the real handlers run on simulated tools, and their own work counts. Files and workspaces are in
 * memory. The reference does as many durable commits of the same records on the same store, and nothing else.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Build, buildCollection, newBuild } from '../../shared/build/build.ts';
import { deadLetterCollection } from '../../shared/bus/dead-letter-collection.ts';
import { embeddedBus } from '../../shared/bus/embedded.ts';
import { pipelineTopology } from '../../shared/bus/topology.ts';
import { systemClock } from '../../shared/clock/system.ts';
import { createLog } from '../../shared/log/log.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../shared/store/embedded.ts';
import { type Handlers, pipelineReleases, pipelineRequest, startWholePipeline } from '../support/whole-pipeline.ts';
import { compare, print } from './figure.ts';

const inFlightMax = 64;
/** As many as need no more than the embedded service has at once. */
const slots = 32;
const rounds = 5;
const roundMs = 120_000;

const clock = systemClock();

interface Round {
  readonly buildsPerSecond: number;
  readonly commits: number;
  readonly transactions: number;
}

async function withStore<T>(act: (store: EmbeddedStore) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'spindle-bench-'));
  const store = await openEmbeddedStore({ path: join(directory, 'spindle.sqlite') });
  try {
    return await act(store);
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

async function pipelineRound(count: number, handlers: Handlers): Promise<Round> {
  return withStore(async (store) => {
    const bus = embeddedBus({ deadLetters: await store.collection(deadLetterCollection), clock });
    await bus.assert(pipelineTopology(pipelineReleases));
    const pipeline = await startWholePipeline({ store, bus, clock, logger: createLog({ level: 'silent' }), handlers, slots, inFlightMax });
    const commitsBefore = store.commits;
    const transactionsBefore = store.transactions;
    const startedAt = performance.now();
    await pipeline.run(count, roundMs);
    const seconds = (performance.now() - startedAt) / 1000;
    const finished = await pipeline.builds.count({ index: 'byState', prefix: ['finished'] });
    if (finished !== count) throw new Error(`only ${finished} of ${count} builds finished`);
    const round = { buildsPerSecond: count / seconds, commits: store.commits - commitsBefore, transactions: store.transactions - transactionsBefore };
    await pipeline.stop();
    return round;
  });
}

/** As many conditional writes of a finished build's record, from as many writers. */
async function referenceRound(count: number, commitsPerBuild: number, record: Build): Promise<number> {
  return withStore(async (store) => {
    const builds = await store.collection(buildCollection);
    const startedAt = performance.now();
    const write = async (from: number) => {
      for (let index = from; index < count; index += inFlightMax) {
        const document = { ...record, id: clock.id() };
        await builds.insert(document);
        for (let version = 1; version < commitsPerBuild; version += 1) await builds.replace(document, version);
      }
    };
    await Promise.all(Array.from({ length: inFlightMax }, (_, index) => write(index)));
    return count / ((performance.now() - startedAt) / 1000);
  });
}

/** One round in a child under strace, which counts what reaches the disk. Slower, so it is not timed. */
async function countSyncs(count: number, handlers: Handlers): Promise<{ readonly fdatasyncs: number; readonly commits: number }> {
  const script = fileURLToPath(import.meta.url);
  const args = [
    '-f',
    '-c',
    '-U',
    'calls,name',
    '-e',
    'trace=fdatasync,fsync',
    process.execPath,
    ...process.execArgv,
    script,
    '--child',
    String(count),
    handlers,
  ];
  const child = spawn('strace', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: roundMs, killSignal: 'SIGKILL' });
  let output = '';
  let table = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    table += chunk.toString();
  });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`the counted round failed: ${table.slice(-500)}`);
  const calls = [...table.matchAll(/^\s*(\d+)\s+(?:fdatasync|fsync)\s*$/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
  return { fdatasyncs: calls, commits: (JSON.parse(output) as Round).commits };
}

async function measure(name: string, handlers: Handlers, buildsPerRound: number): Promise<void> {
  const warm = await pipelineRound(300, handlers);
  const commitsPerBuild = Math.round(warm.commits / 300);
  const record = newBuild({ id: clock.id(), request: pipelineRequest, now: clock.now() });
  let last: Round | undefined;
  const figure = await compare(rounds, {
    ours: async () => {
      last = await pipelineRound(buildsPerRound, handlers);
      return last.buildsPerSecond;
    },
    reference: () => referenceRound(buildsPerRound, commitsPerBuild, record),
  });
  const counted = await countSyncs(500, handlers);
  if (counted.fdatasyncs === 0) throw new Error('not one fdatasync: the commits are not durable');
  print(name, 'builds/s', figure, {
    handlers,
    commitsPerRound: last?.commits,
    transactionsPerRound: last?.transactions,
    countedCommits: counted.commits,
    countedFdatasyncs: counted.fdatasyncs,
  });
}

export async function pipelineEmbedded(): Promise<void> {
  await measure('pipeline-embedded', 'instantaneous', 3_000);
  await measure('pipeline-embedded-handlers', 'real', 1_500);
}

const childAt = process.argv.indexOf('--child');
if (childAt > 0 && process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(JSON.stringify(await pipelineRound(Number(process.argv[childAt + 1]), process.argv[childAt + 2] === 'real' ? 'real' : 'instantaneous')));
}
