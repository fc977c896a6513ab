/** How a test file comes by a server that the whole run shares: one that a setting names, else the one that the keeper starts. */
import { request } from 'node:http';
import { inject } from 'vitest';
import type { MongoDb } from './mongodb.ts';
import type { RabbitMq } from './rabbitmq.ts';
import type { S3 } from './s3.ts';

/** The run's RabbitMQ, or why there is none: then skip with that. Rejects where one should start and does not. */
export async function sharedRabbitMq(): Promise<RabbitMq | string> {
  const named = process.env['SPINDLE_TEST_AMQP_URL'];
  if (!named) return kept<RabbitMq>('rabbitmq');
  const url = new URL(named);
  const managementUrl = process.env['SPINDLE_TEST_AMQP_MANAGEMENT_URL'] ?? `http://${url.username}:${url.password}@${url.hostname}:15672`;
  url.pathname = '';
  return { amqpUrl: url.href.replace(/\/$/, ''), managementUrl };
}

/** Likewise the run's MongoDB or what speaks its protocol. */
export async function sharedMongoDb(): Promise<MongoDb | string> {
  const named = process.env['SPINDLE_TEST_MONGODB_URL'];
  return named ? { url: named } : kept<MongoDb>('mongodb');
}

/** Likewise a bucket of the run's S3 server. */
export async function sharedS3(): Promise<S3 | string> {
  const named = process.env['SPINDLE_TEST_S3_URL'];
  return named ? { url: named } : kept<S3>('s3');
}

async function kept<Facts>(name: string): Promise<Facts | string> {
  const text = await new Promise<string>((resolve, reject) => {
    const call = request({ socketPath: inject('serverKeeper'), path: `/${name}` }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve(body));
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
  const answer = JSON.parse(text) as { readonly server?: Facts; readonly missing?: string; readonly broken?: string };
  if (answer.missing !== undefined) return answer.missing;
  if (answer.server === undefined) throw new Error(answer.broken);
  return answer.server;
}
