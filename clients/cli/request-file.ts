/** Reads a build request from a file, with changes from the command line. What it means is the service's to judge. */
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { load, YAMLException } from 'js-yaml';
import { UsageError } from './outcome.ts';

const bytesMax = 1024 * 1024;

/** `file` may be `-` for standard input. Rejects with a UsageError where it cannot be read or is not YAML or JSON. */
export async function readRequest(file: string, changes: readonly string[], stdin: NodeJS.ReadableStream = process.stdin): Promise<unknown> {
  let content: string;
  try {
    content = file === '-' ? await text(stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (Buffer.byteLength(content) > bytesMax) throw new UsageError(`${file} is larger than ${bytesMax} bytes; no build request is`);
  return withChanges(parsed(content, file), changes);
}

function parsed(content: string, name: string): unknown {
  try {
    return load(content, { maxAliases: 0 });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const place = error.mark ? ` in line ${error.mark.line + 1}, column ${error.mark.column + 1}` : '';
    throw new UsageError(`${name} is not YAML or JSON: ${error.reason}${place}`);
  }
}

/** `sources.kojiBuilds=[hello-1.1-1]`: the path to a key and a YAML value. Throws a UsageError. */
export function withChanges(request: unknown, changes: readonly string[]): unknown {
  const result: unknown = structuredClone(request) ?? {};
  for (const change of changes) {
    const [, path = '', value = ''] = /^([A-Za-z][A-Za-z0-9.]*)=(.*)$/s.exec(change) ?? [];
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    if (path === '' || [...keys, last].some((key) => key === '' || key in Object.prototype))
      throw new UsageError(`--set ${change}: is not KEY=VALUE such as label=MyImage or sources.updates=false`);
    let target: unknown = result;
    for (const key of keys) {
      if (!isRecord(target)) break;
      target[key] ??= {};
      target = target[key];
    }
    if (!isRecord(target)) throw new UsageError(`--set ${change}: what stands above ${last} in the request has no keys`);
    target[last] = value === '' ? '' : parsed(value, `--set ${path}`);
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
