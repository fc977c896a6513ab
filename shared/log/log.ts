/** The service's own log: JSON lines by pino, secrets redacted. */
import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from '../config/config.ts';

export type Log = Logger;

/** Field names whose value is never written, at the top and two levels down. */
const secretFields = ['password', 'passwd', 'secret', 'token', 'authorization', 'cookie', 'apiKey'];

/** Static messages, data in fields; children carry build and stage. Goes to standard output unless `destination` is given. */
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
