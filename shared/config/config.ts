/** The settings: one schema of the environment, read once, every problem named at once. The only file that reads `process.env`. */
import { availableParallelism, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { nothingUntrusted, type UntrustedCode, untrustedCodeNames } from '../build/untrusted-code.ts';
import { addressPolicy } from '../egress/address-policy.ts';
import { parseS3Url, type S3Place } from './s3-url.ts';
import { Secret } from './secret.ts';
import { type MailServer, parseSmtpUrl } from './smtp-url.ts';

interface Listen {
  readonly host: string;
  readonly port: number;
}

/** What the embedded service needs to start. Paths are absolute; URLs have no slash at the end. */
export interface Config {
  /** `amqp`: RabbitMQ; the URLs hold its password. `management`: of its plugin that tells of queues. */
  readonly bus:
    | { readonly scheme: 'embedded' }
    | { readonly scheme: 'amqp'; readonly url: Secret; readonly management: { readonly url: Secret; readonly virtualHost: string } };
  /** `mongodb`: many processes may share it; the URL holds its password. */
  readonly store: { readonly scheme: 'file'; readonly path: string } | { readonly scheme: 'mongodb'; readonly url: Secret };
  readonly files: { readonly scheme: 'file'; readonly path: string } | { readonly scheme: 's3'; readonly place: S3Place };
  readonly mail: { readonly scheme: 'file'; readonly path: string } | { readonly scheme: 'smtp'; readonly server: MailServer };
  readonly stateDir: string;
  readonly listen: Listen;
  /** Where a service alone answers those who watch it. */
  readonly healthListen: Listen;
  /** Address of a running sample site, for services alone; absent: releases that need one are left out. */
  readonly sampleSite?: string;
  /** Where people and letters find this service. */
  readonly publicUrl: string;
  readonly logLevel: LogLevel;
  readonly auth: 'none';
  /** Absent: the shipped file. */
  readonly releasesFile?: string;
  /** What may be fetched from besides public addresses: `host:port` or networks. */
  readonly egressAllow: readonly string[];
  /** What the tokens are made with by which build nodes read repositories over HTTP; the same on all machines. */
  readonly repositorySecret?: Secret;
  /** What requesters may bring that runs as root on the build node. */
  readonly untrustedCode: UntrustedCode;
  /** Bounds on uploaded RPMs: of one file, and of all of an owner together. */
  readonly uploads: { readonly fileBytesMax: number; readonly countMax: number; readonly bytesMax: number; readonly keepDays: number };
  /** Bytes of stored RPMs, above which those go that were not used for longest. */
  readonly rpmStoreBytesMax: number;
  /** Builds between `resolving` and their end at once; the others stay `queued`. */
  readonly buildsInFlightMax: number;
  /** Images that this process builds at once. */
  readonly builderSlots: number;
  /** What one image build may use at most. */
  readonly buildBounds: { readonly memoryBytesMax: number; readonly processesMax: number; readonly diskBytesMax: number; readonly diskFreeBytesMin: number };
  /** Settings that look like ours but are not: sentences for the log. */
  readonly warnings: readonly string[];
}

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Every setting that is wrong or missing. Its message is what the operator reads; the entry point then exits with 78 (EX_CONFIG). */
export class ConfigProblem extends Error {
  override readonly name = 'ConfigProblem';
  readonly problems: readonly { readonly variable: string; readonly message: string }[];
  constructor(problems: readonly { readonly variable: string; readonly message: string }[]) {
    super(`The settings are not usable:\n${problems.map(({ variable, message }) => `  ${variable}: ${message}`).join('\n')}`);
    this.problems = problems;
  }
}

/** What each port's scheme will mean, so that a setting for a later version is told apart from a mistake. */
const laterSchemes: Readonly<Record<string, readonly string[]>> = {
  SPINDLE_FILES_URL: ['ftp', 'ftps', 'sftp'],
  SPINDLE_FEED_URL: ['amqp', 'amqps'],
};

const schemeOf = (text: string): string | undefined => /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();

/** Messages name the scheme only: the rest of the URL may hold a password. */
function refusedScheme(variable: string, text: string, served: string): string {
  const scheme = schemeOf(text);
  if (scheme === undefined) return `is not a URL; this version serves ${served}`;
  if (laterSchemes[variable]?.includes(scheme)) return `${scheme}: comes with a later version of Spindle; this one serves ${served}`;
  return `has the unknown scheme ${scheme}:; this version serves ${served}`;
}

/** `file:`, `file:relative/path`, `file:/path` or `file:///path` → the path as written, empty for the place under the state directory. */
function filePath(text: string): string | undefined {
  const rest = text.slice('file:'.length);
  if (/[\0?#]/.test(rest)) return undefined;
  if (!rest.startsWith('/')) return rest;
  try {
    return fileURLToPath(new URL(text));
  } catch {
    return undefined;
  }
}

const text = z.instanceof(Secret).transform((value) => value.reveal());
const count = (max: number) =>
  text.pipe(
    z
      .string()
      .regex(/^\d{1,6}$/, 'is not a whole number')
      .transform(Number)
      .pipe(z.number().min(1, 'must be at least 1').max(max, `must be at most ${max}`)),
  );

const sizeUnits: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const size = (min: number, shown: string) =>
  text.transform((value, context) => {
    const [, digits, unit = ''] = /^(\d{1,15})([KMGT]?)$/.exec(value) ?? [];
    const bytes = Number(digits) * (sizeUnits[unit] ?? 1);
    if (digits !== undefined && Number.isSafeInteger(bytes) && bytes >= min) return bytes;
    context.addIssue({ code: 'custom', message: digits === undefined ? 'is not a size such as 8G or 512M' : `must be at least ${shown}` });
    return z.NEVER;
  });

const listen = text.transform((value, context): Listen => {
  const match = /^(?:\[([0-9a-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/i.exec(value);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    context.addIssue({ code: 'custom', message: 'is not HOST:PORT such as 127.0.0.1:8080 or [::1]:8080' });
    return z.NEVER;
  }
  return { host, port };
});

const publicUrl = text.transform((value, context) => {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    context.addIssue({ code: 'custom', message: 'is not an http or https URL without user, query and fragment' });
    return z.NEVER;
  }
  return url.href.replace(/\/+$/, '');
});

const egressAllow = text.transform((value, context) => {
  const entries = value.split(/[\s,]+/).filter((entry) => entry !== '');
  try {
    addressPolicy(entries);
    return entries;
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : 'is not a list of host:port and networks' });
    return z.NEVER;
  }
});

const untrustedCode = text.transform((value, context): UntrustedCode => {
  const entries = value.split(/[\s,]+/).filter((entry) => entry !== '');
  const known = Object.keys(untrustedCodeNames);
  if (entries.some((entry) => !known.includes(entry))) {
    context.addIssue({ code: 'custom', message: `is not a list of ${known.join(', ')} with commas between` });
    return z.NEVER;
  }
  return { kickstartScripts: entries.includes('kickstart-scripts'), rpms: entries.includes('rpms') };
});

function isAmqpUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^amqps?:$/.test(url.protocol) && url.hostname !== '' && url.hash === '' && /^\/?[^/]*$/.test(url.pathname) && isDecodable(url);
}

/** Whether what is escaped in it stands for text. */
function isDecodable({ username, password, pathname }: URL): boolean {
  try {
    return [username, password, pathname].map(decodeURIComponent).every((part) => !part.includes('\0'));
  } catch {
    return false;
  }
}

function isMongoDbUrl(text: string): boolean {
  // Several hosts with commas between are no URL of the standard; the driver judges the rest.
  return /^mongodb(\+srv)?:\/\/(?:[^@/?#\s]*@)?[^@/?#\s]+(?:\/[^/?#@\s]*)?(?:\?[^#\s]*)?$/i.test(text);
}

/** `file:` and its path, or what another scheme's URL says. `others`: by scheme, the value or what is wrong, in words that hold nothing of it. */
const placeUrl = <T>(variable: string, served: string, others: Readonly<Record<string, (url: Secret) => T | { readonly problem: string }>>) =>
  z
    .instanceof(Secret)
    .optional()
    .transform((url, context): { readonly path: string } | { readonly other: T } => {
      const given = url ?? new Secret('file:');
      const value = given.reveal();
      const scheme = schemeOf(value) ?? '';
      const path = scheme === 'file' ? filePath(value) : undefined;
      if (path !== undefined) return { path };
      let message = scheme === 'file' ? 'is not a file URL of this host such as file:///var/lib/spindle' : refusedScheme(variable, value, served);
      if (Object.hasOwn(others, scheme)) {
        const other = others[scheme]?.(given);
        if (typeof other === 'object' && other !== null && !('problem' in other)) return { other: other as T };
        message = (other as { readonly problem: string }).problem;
      }
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    });

const mongoDb = (url: Secret): { readonly url: Secret } | { readonly problem: string } =>
  isMongoDbUrl(url.reveal())
    ? { url }
    : { problem: 'is not a MongoDB URL such as mongodb://user:password@host:27017/database; what is no letter or digit in a password is written as %XX' };
const storeUrl = placeUrl('SPINDLE_STORE_URL', '`file:`, `file:///a/path` and `mongodb://user:password@host/database`', {
  mongodb: mongoDb,
  'mongodb+srv': mongoDb,
});
const filesUrl = placeUrl('SPINDLE_FILES_URL', '`file:`, `file:///a/path` and `s3://bucket/prefix?endpoint=https://host&region=name`', {
  s3: (url) => parseS3Url(url.reveal()),
});
const smtp = (url: Secret) => parseSmtpUrl(url.reveal());
const mailUrl = placeUrl('SPINDLE_MAIL_URL', '`file:`, `file:///a/path` and `smtp://user:password@host?from=address`', { smtp, smtps: smtp });

function isManagementUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.username !== '' && url.search === '' && url.hash === '' && isDecodable(url);
}

/** Where the plugin is unless somebody says otherwise: on the broker's host, for the same user. */
function managementOf(amqp: Secret, given: Secret | undefined): { readonly url: Secret; readonly virtualHost: string } {
  const { protocol, hostname, username, password, pathname } = new URL(amqp.reveal());
  const [scheme, port] = protocol === 'amqps:' ? ['https', 15671] : ['http', 15672];
  const user = username === '' ? 'guest:guest' : `${username}:${password}`;
  // As AMQP clients read it: no path means the virtual host `/`.
  const virtualHost = pathname === '' || pathname === '/' ? '/' : decodeURIComponent(pathname.slice(1));
  return { url: given ?? new Secret(`${scheme}://${user}@${hostname}:${port}`), virtualHost };
}

const Environment = z.object({
  SPINDLE_BUS_URL: z
    .instanceof(Secret)
    .optional()
    .transform((url, context): { readonly scheme: 'embedded' } | { readonly scheme: 'amqp'; readonly url: Secret } => {
      const value = url?.reveal() ?? 'embedded:';
      if (url === undefined || value === 'embedded:') return { scheme: 'embedded' };
      if (isAmqpUrl(value)) return { scheme: 'amqp', url };
      const isAmqp = /^amqps?$/.test(schemeOf(value) ?? '');
      const message = isAmqp
        ? 'is not an AMQP URL such as amqp://user:password@host:5672/virtual-host; a virtual host has no slash in it unless written as %2F'
        : refusedScheme('SPINDLE_BUS_URL', value, '`embedded:` and `amqp://user:password@host/virtual-host`');
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    }),
  SPINDLE_BUS_MANAGEMENT_URL: z
    .instanceof(Secret)
    .refine((url) => isManagementUrl(url.reveal()), 'is not an http or https URL such as http://user:password@host:15672, without query and fragment')
    .optional(),
  SPINDLE_STORE_URL: storeUrl,
  SPINDLE_FILES_URL: filesUrl,
  SPINDLE_MAIL_URL: mailUrl,
  SPINDLE_FEED_URL: z
    .instanceof(Secret)
    .optional()
    .superRefine((url, context) => {
      if (url) context.addIssue({ code: 'custom', message: refusedScheme('SPINDLE_FEED_URL', url.reveal(), 'none: leave it unset') });
    }),
  SPINDLE_STATE_DIR: text.pipe(z.string().refine((path) => !path.includes('\0'), 'is not a path')).optional(),
  SPINDLE_PUBLIC_URL: publicUrl.optional(),
  SPINDLE_LISTEN: listen.optional(),
  SPINDLE_HEALTH_LISTEN: listen.optional(),
  SPINDLE_SAMPLE_SITE: publicUrl.optional(),
  SPINDLE_LOG_LEVEL: text.pipe(z.enum(logLevels, { error: `is not one of ${logLevels.join(', ')}` })).optional(),
  SPINDLE_AUTH: text
    .pipe(
      z.string().superRefine((value, context) => {
        if (value === 'none') return;
        const later = value === 'tokens' || value === 'oidc';
        context.addIssue({
          code: 'custom',
          message: later ? `${value} comes with a later version of Spindle; this one serves none` : 'is not one of none, tokens, oidc',
        });
      }),
    )
    .optional(),
  SPINDLE_RELEASES_FILE: text.pipe(z.string().refine((path) => !path.includes('\0'), 'is not a path')).optional(),
  SPINDLE_EGRESS_ALLOW: egressAllow.optional(),
  SPINDLE_UNTRUSTED_CODE: untrustedCode.optional(),
  SPINDLE_REPOSITORY_SECRET: z
    .instanceof(Secret)
    .refine((secret) => secret.reveal().length >= 16, 'has fewer than 16 characters')
    .optional(),
  SPINDLE_UPLOAD_MIB_MAX: count(16_384).optional(),
  SPINDLE_UPLOADS_MAX: count(1000).optional(),
  SPINDLE_UPLOADS_MIB_MAX: count(999_999).optional(),
  SPINDLE_UPLOAD_DAYS: count(365).optional(),
  SPINDLE_RPM_STORE_MIB_MAX: count(999_999).optional(),
  SPINDLE_BUILDS_IN_FLIGHT_MAX: count(1000).optional(),
  SPINDLE_BUILDER_SLOTS: count(256).optional(),
  SPINDLE_BUILD_MEMORY_MAX: size(64 * 2 ** 20, '64M').optional(),
  SPINDLE_BUILD_PROCESSES_MAX: count(100_000).optional(),
  SPINDLE_BUILD_DISK_MAX: size(2 ** 20, '1M').optional(),
  SPINDLE_DISK_FREE_MIN: size(2 ** 20, '1M').optional(),
});

const mebibyte = 1024 ** 2;

/** Read by others than the service (the command-line client, the test runner): not ours to judge. */
const foreignVariables = /^SPINDLE_(URL|TOKEN|TEST_.*)$/;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

const urlOf = ({ host, port }: Listen) => `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/**
 * Reads the settings. An empty variable counts as unset. Throws one ConfigProblem that names every variable that is wrong.
 * Relative paths are below `cwd`. `shape`: a service alone shares bus and store with other processes, so it takes only those that can be shared.
 */
export function readConfig(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  host: { readonly cwd: string; readonly cores: number; readonly memoryBytes?: number } = {
    cwd: process.cwd(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  },
  shape: 'embedded' | 'alone' = 'embedded',
): Config {
  const given = Object.entries(environment).filter(([name, value]) => name.startsWith('SPINDLE_') && value);
  // Everything is wrapped before the schema sees it, so that no message of the schema library can quote a value.
  const parsed = Environment.safeParse(Object.fromEntries(given.map(([name, value]) => [name, new Secret(value ?? '')])));
  const problems = parsed.error?.issues.map(({ path, message }) => ({ variable: String(path[0]), message })) ?? [];
  if (shape === 'alone') problems.push(...unshared(given));
  const listens = parsed.data?.SPINDLE_LISTEN ?? { host: '127.0.0.1', port: 8080 };
  if (parsed.success && !isLoopback(listens.host)) {
    problems.push({ variable: 'SPINDLE_LISTEN', message: `${listens.host} is not a loopback address, and SPINDLE_AUTH=none serves no other` });
  }
  if (!parsed.success || problems.length > 0) throw new ConfigProblem(problems);
  const settings = parsed.data;
  const stateDir = resolve(host.cwd, settings.SPINDLE_STATE_DIR ?? '.spindle');
  const below = (path: string, name: string) => (path === '' ? resolve(stateDir, name) : resolve(host.cwd, path));
  const builderSlots = settings.SPINDLE_BUILDER_SLOTS ?? Math.min(4, Math.max(1, Math.floor(host.cores / 2)));
  return deepFreeze({
    bus:
      settings.SPINDLE_BUS_URL.scheme === 'amqp'
        ? { ...settings.SPINDLE_BUS_URL, management: managementOf(settings.SPINDLE_BUS_URL.url, settings.SPINDLE_BUS_MANAGEMENT_URL) }
        : settings.SPINDLE_BUS_URL,
    store:
      'other' in settings.SPINDLE_STORE_URL
        ? { scheme: 'mongodb' as const, ...settings.SPINDLE_STORE_URL.other }
        : { scheme: 'file' as const, path: below(settings.SPINDLE_STORE_URL.path, 'store') },
    files:
      'other' in settings.SPINDLE_FILES_URL
        ? { scheme: 's3' as const, place: settings.SPINDLE_FILES_URL.other }
        : { scheme: 'file' as const, path: below(settings.SPINDLE_FILES_URL.path, 'files') },
    mail:
      'other' in settings.SPINDLE_MAIL_URL
        ? { scheme: 'smtp' as const, server: settings.SPINDLE_MAIL_URL.other }
        : { scheme: 'file' as const, path: below(settings.SPINDLE_MAIL_URL.path, 'mail') },
    stateDir,
    listen: listens,
    healthListen: settings.SPINDLE_HEALTH_LISTEN ?? { host: '127.0.0.1', port: 0 },
    ...(settings.SPINDLE_SAMPLE_SITE === undefined ? {} : { sampleSite: settings.SPINDLE_SAMPLE_SITE }),
    publicUrl: settings.SPINDLE_PUBLIC_URL ?? urlOf(listens),
    logLevel: settings.SPINDLE_LOG_LEVEL ?? 'info',
    auth: 'none' as const,
    ...(settings.SPINDLE_RELEASES_FILE === undefined ? {} : { releasesFile: resolve(host.cwd, settings.SPINDLE_RELEASES_FILE) }),
    egressAllow: settings.SPINDLE_EGRESS_ALLOW ?? [],
    untrustedCode: settings.SPINDLE_UNTRUSTED_CODE ?? { ...nothingUntrusted },
    ...(settings.SPINDLE_REPOSITORY_SECRET === undefined ? {} : { repositorySecret: settings.SPINDLE_REPOSITORY_SECRET }),
    uploads: {
      fileBytesMax: (settings.SPINDLE_UPLOAD_MIB_MAX ?? 1024) * mebibyte,
      countMax: settings.SPINDLE_UPLOADS_MAX ?? 200,
      bytesMax: (settings.SPINDLE_UPLOADS_MIB_MAX ?? 5120) * mebibyte,
      keepDays: settings.SPINDLE_UPLOAD_DAYS ?? 14,
    },
    rpmStoreBytesMax: (settings.SPINDLE_RPM_STORE_MIB_MAX ?? 20_480) * 1024 * 1024,
    buildsInFlightMax: settings.SPINDLE_BUILDS_IN_FLIGHT_MAX ?? 4,
    builderSlots,
    buildBounds: {
      // All builds at once leave a quarter of the host to the service and the boot tests; less than this makes no image of use.
      memoryBytesMax: settings.SPINDLE_BUILD_MEMORY_MAX ?? Math.max(2 ** 30, Math.floor((0.75 * (host.memoryBytes ?? 0)) / builderSlots)),
      processesMax: settings.SPINDLE_BUILD_PROCESSES_MAX ?? 4096,
      diskBytesMax: settings.SPINDLE_BUILD_DISK_MAX ?? 64 * 2 ** 30,
      diskFreeBytesMin: settings.SPINDLE_DISK_FREE_MIN ?? 2 ** 30,
    },
    warnings: given.map(([name]) => name).flatMap(unknownVariable),
  });
}

/** The same settings once the port is known: `SPINDLE_LISTEN` may name port 0, and the public URL follows where it was derived from it. */
export function withPort(config: Config, port: number): Config {
  const listens = { ...config.listen, port };
  return deepFreeze({ ...config, listen: listens, publicUrl: config.publicUrl === urlOf(config.listen) ? urlOf(listens) : config.publicUrl });
}

function unshared(given: readonly (readonly [name: string, value: string | undefined])[]): readonly { readonly variable: string; readonly message: string }[] {
  const settings = Object.fromEntries(given);
  const schemes = { SPINDLE_BUS_URL: 'embedded', SPINDLE_STORE_URL: 'file' } as const;
  const needed = { SPINDLE_BUS_URL: 'amqp://user:password@host/virtual-host', SPINDLE_STORE_URL: 'mongodb://user:password@host/database' } as const;
  return (['SPINDLE_BUS_URL', 'SPINDLE_STORE_URL'] as const).flatMap((variable) => {
    const value = settings[variable];
    if (value !== undefined && schemeOf(value) !== schemes[variable]) return [];
    const said = value === undefined ? `is not set, and \`${schemes[variable]}:\` is` : `\`${schemes[variable]}:\` is`;
    return [{ variable, message: `${said} for one process only; a service alone shares it with others: ${needed[variable]}` }];
  });
}

function unknownVariable(name: string): readonly string[] {
  const known = Object.keys(Environment.shape);
  if (known.includes(name) || foreignVariables.test(name)) return [];
  const nearest = known.reduce((best, candidate) => (distance(name, candidate) < distance(name, best) ? candidate : best));
  return [`${name} is not a setting of Spindle and does nothing; the nearest one is ${nearest}`];
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
