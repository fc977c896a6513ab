/** The service's own log: JSON lines by pino, secrets redacted, children that carry build and stage. */
import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from '../config/config.ts';

export type Log = Logger;

/** Field names whose value is never written, at the top and two levels down. */
const secretFields = ['password', 'passwd', 'secret', 'token', 'authorization', 'cookie', 'apiKey'];

/** Static messages, data in fields. Goes to standard output unless `destination` is given. */
export function createLog(options: { readonly level: LogLevel; readonly destination?: DestinationStream }): Log {
  const settings = {
    name: 'spindle',
    level: options.level,
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '***' },
    formatters: { level: (label: string) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return options.destination ? pino(settings, options.destination) : pino(settings);
}

/** A child that names the build, the stage and the whole build's thread on every line. */
export function buildLogger(log: Log, fields: { readonly buildId: string; readonly stage: string; readonly correlationId?: string }): Log {
  return log.child(fields);
}
