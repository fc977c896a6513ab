/** A request's body: JSON or YAML by its Content-Type and nothing else, bounded, without anything that could mean two things. Pure. */
import { load, YAMLException } from 'js-yaml';
import { type FieldProblem, Problem, quoted } from './problem.ts';

export const bodyBytesMax = 1024 * 1024;
const depthMax = 32;
const problemsMax = 20;

/** What `Content-Type` may say. */
export const bodyTypes = ['application/json', 'application/yaml', 'application/x-yaml', 'text/yaml', 'text/x-yaml'] as const;

/** Bytes and their Content-Type → a value of plain objects, arrays, strings, numbers, booleans and null. Throws a Problem. */
export function parseBody(bytes: Uint8Array, contentType: string): unknown {
  const [type = '', ...parameters] = contentType.split(';').map((part) => part.trim().toLowerCase());
  const isUtf8 = parameters.every((parameter) => !parameter.startsWith('charset=') || /^charset="?utf-?8"?$/.test(parameter));
  if (!bodyTypes.some((known) => known === type) || !isUtf8) throw unsupported(contentType);
  if (bytes.byteLength > bodyBytesMax) throw new Problem('BODY_TOO_LARGE', `the body is larger than ${bodyBytesMax} bytes`);
  const text = decoded(bytes);
  if (text.trim() === '') throw new Problem('BODY_MISSING', 'the body is empty');
  const value = type === 'application/json' ? parsedJson(text) : parsedYaml(text);
  const problems = structureProblems(value);
  if (problems.length > 0) throw new Problem('BODY_UNREADABLE', problems[0]?.message ?? '', { errors: problems });
  return value;
}

export function unsupported(contentType: string | undefined): Problem {
  return new Problem(
    'MEDIA_TYPE_UNSUPPORTED',
    `bodies are application/json or application/yaml in UTF-8; this one is ${quoted(contentType ?? 'without Content-Type')}`,
  );
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Problem('BODY_UNREADABLE', 'the body is not UTF-8');
  }
}

function parsedJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Problem('BODY_UNREADABLE', `the body is not JSON: ${quoted(error instanceof Error ? error.message : '').slice(1, -1)}`);
  }
  const key = duplicateKey(text);
  if (key !== undefined) throw new Problem('BODY_UNREADABLE', `the body names the key ${quoted(key)} twice in one object`);
  return value;
}

function parsedYaml(text: string): unknown {
  try {
    // Without aliases no small text can mean a large value.
    return load(text, { maxAliases: 0, maxDepth: depthMax + 8 });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    const place = error.mark ? ` in line ${error.mark.line + 1}, column ${error.mark.column + 1}` : '';
    const reason = error.reason.startsWith('aliases exceeded') ? 'aliases (*name) are not allowed' : error.reason;
    throw new Problem('BODY_UNREADABLE', `the body is not a YAML document that is accepted here: ${quoted(reason).slice(1, -1)}${place}`);
  }
}

/** The first key that an object of this JSON text has twice. `JSON.parse` keeps the last one without a word. `text` is valid JSON. */
function duplicateKey(text: string): string | undefined {
  const scopes: (Set<string> | undefined)[] = [];
  // In valid JSON a string before a colon is a key; everything else that matters is a bracket outside of strings.
  for (const match of text.matchAll(/"((?:[^"\\]|\\.)*)"(\s*:)?|[{}[\]]/g)) {
    const [token, , colon] = match;
    if (token === '{') scopes.push(new Set());
    else if (token === '[') scopes.push(undefined);
    else if (token === '}' || token === ']') scopes.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      const scope = scopes.at(-1);
      if (scope?.has(key)) return key;
      scope?.add(key);
    }
  }
  return undefined;
}

// All controls but tab and line ends, and halves of characters: none of them belongs into a request.
const forbiddenCharacter = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]|\p{Surrogate}/u;
const forbiddenKeys = new Set(['__proto__', 'constructor', 'prototype']);

/** Walks the whole value without recursion, so that depth is a finding and not a crash. */
function structureProblems(value: unknown): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const open: { readonly value: unknown; readonly field: string; readonly depth: number }[] = [{ value, field: '', depth: 0 }];
  for (let item = open.pop(); item && problems.length < problemsMax; item = open.pop()) {
    const { field, depth } = item;
    const name = field || 'the body';
    if (typeof item.value === 'string') {
      if (forbiddenCharacter.test(item.value)) problems.push({ field, code: 'CONTROL_CHARACTER', message: `${name} holds a control character` });
    } else if (typeof item.value === 'object' && item.value !== null) {
      if (depth >= depthMax) {
        problems.push({ field: field.slice(0, 200), code: 'TOO_DEEP', message: `the body is nested deeper than ${depthMax} levels` });
        continue;
      }
      const entries = Array.isArray(item.value) ? item.value.map((inner, index): [string, unknown] => [`[${index}]`, inner]) : Object.entries(item.value);
      for (const [key, inner] of entries.reverse()) {
        if (forbiddenKeys.has(key)) problems.push({ field, code: 'KEY_UNKNOWN', message: `${name} holds the key ${quoted(key)}, which is not allowed` });
        else if (forbiddenCharacter.test(key)) problems.push({ field, code: 'CONTROL_CHARACTER', message: `${name} holds a key with a control character` });
        else open.push({ value: inner, field: key.startsWith('[') || field === '' ? `${field}${key}` : `${field}.${key}`, depth: depth + 1 });
      }
    }
  }
  return problems;
}
