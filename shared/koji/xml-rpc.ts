/** XML-RPC as Koji speaks it: calls and answers, read and written, with bounds on everything that comes from outside. Pure. */
import { SaxesParser } from 'saxes';

/**
 * A value on the wire. Integers beyond 2^53 are read as bigint; a struct is a plain object. `Date` is only ever `dateTime.iso8601`, taken as UTC: Koji sends its times as
 * strings.
 */
export type XmlRpcValue = null | boolean | number | bigint | string | Date | Uint8Array | readonly XmlRpcValue[] | XmlRpcStruct;
export interface XmlRpcStruct {
  readonly [key: string]: XmlRpcValue;
}

export interface XmlRpcFault {
  readonly code: number;
  readonly text: string;
}

export interface XmlRpcCall {
  readonly method: string;
  readonly args: readonly XmlRpcValue[];
  /** What Koji sends as one last struct that holds `__starstar`. */
  readonly keywords: XmlRpcStruct;
}

export interface XmlRpcLimits {
  readonly depthMax: number;
  readonly elementsMax: number;
  /** Characters of the document, and so of every text in it. */
  readonly lengthMax: number;
}

const defaultLimits: XmlRpcLimits = { depthMax: 100, elementsMax: 5_000_000, lengthMax: 128 * 1024 * 1024 };

/** The text is not XML-RPC, or exceeds a limit; or a value cannot be written as XML-RPC. */
export class XmlRpcError extends Error {
  override readonly name = 'XmlRpcError';
}

export function encodeCall(method: string, args: readonly XmlRpcValue[], keywords: XmlRpcStruct = {}): string {
  const all = Object.keys(keywords).length === 0 ? args : [...args, withKeywords(keywords)];
  const params = all.map((value) => `<param>${encodeValue(value, 0)}</param>`).join('\n');
  return `<?xml version='1.0'?>\n<methodCall>\n<methodName>${escapeText(method)}</methodName>\n<params>\n${params}\n</params>\n</methodCall>\n`;
}

/** Keyword arguments as Koji's last parameter: a struct that says of itself that it is one. */
export function withKeywords(keywords: XmlRpcStruct): XmlRpcStruct {
  return { ...keywords, __starstar: true };
}

export function encodeResponse(value: XmlRpcValue): string {
  return `<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>${encodeValue(value, 0)}</param>\n</params>\n</methodResponse>\n`;
}

export function encodeFault({ code, text }: XmlRpcFault): string {
  return `<?xml version='1.0'?>\n<methodResponse>\n<fault>${encodeValue({ faultCode: code, faultString: text }, 0)}</fault>\n</methodResponse>\n`;
}

/** Throws XmlRpcError where the text is no call. */
export function decodeCall(text: string, limits: Partial<XmlRpcLimits> = {}): XmlRpcCall {
  const root = parse(text, { ...defaultLimits, ...limits });
  if (root.name !== 'methodCall' || root.method === undefined) throw new XmlRpcError('is not an XML-RPC call');
  const last = root.items.at(-1);
  if (!isStruct(last) || last['__starstar'] !== true) return { method: root.method, args: root.items, keywords: {} };
  const { __starstar: _, ...keywords } = last;
  return { method: root.method, args: root.items.slice(0, -1), keywords };
}

/** Throws XmlRpcError where the text is no answer. */
export function decodeResponse(text: string, limits: Partial<XmlRpcLimits> = {}): { readonly value: XmlRpcValue } | { readonly fault: XmlRpcFault } {
  const root = parse(text, { ...defaultLimits, ...limits });
  if (root.name !== 'methodResponse') throw new XmlRpcError('is not an XML-RPC answer');
  if (root.fault !== undefined) {
    const fault = readFault(root.fault);
    if (!fault) throw new XmlRpcError('holds a fault without code and text');
    return { fault };
  }
  const value = root.items[0];
  if (value === undefined || root.items.length !== 1) throw new XmlRpcError(`holds ${root.items.length} values instead of one`);
  return { value };
}

/** A struct of `faultCode` and `faultString`, as in faults and in the answers of multiCall. */
export function readFault(value: XmlRpcValue): XmlRpcFault | undefined {
  if (!isStruct(value)) return undefined;
  const { faultCode: code, faultString: text } = value;
  return typeof code === 'number' && typeof text === 'string' ? { code, text } : undefined;
}

export function isStruct(value: XmlRpcValue | undefined): value is XmlRpcStruct {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date) && !(value instanceof Uint8Array);
}

// Writing

// XML 1.0 has no way to write these, not even as character references. A lone surrogate is no character at all.
const unwritable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const int32 = 2 ** 31;
const int64 = 2n ** 63n;

function escapeText(text: string): string {
  if (unwritable.test(text)) throw new XmlRpcError('a text holds characters that XML cannot carry');
  // A bare carriage return would be read back as a line feed.
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('\r', '&#13;');
}

function encodeValue(value: XmlRpcValue, depth: number): string {
  if (depth > defaultLimits.depthMax / 3) throw new XmlRpcError('a value is nested too deeply');
  return `<value>${encodeInner(value, depth)}</value>`;
}

function encodeInner(value: XmlRpcValue, depth: number): string {
  if (value === null) return '<nil/>';
  if (typeof value === 'boolean') return `<boolean>${value ? 1 : 0}</boolean>`;
  if (typeof value === 'string') return `<string>${escapeText(value)}</string>`;
  if (typeof value === 'bigint') return encodeInteger(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new XmlRpcError(`${value} has no form in XML-RPC`);
    return Number.isSafeInteger(value) ? encodeInteger(BigInt(value)) : `<double>${value}</double>`;
  }
  if (value instanceof Date) return `<dateTime.iso8601>${value.toISOString().slice(0, 19).replaceAll('-', '')}</dateTime.iso8601>`;
  if (value instanceof Uint8Array) return `<base64>${Buffer.from(value).toString('base64')}</base64>`;
  if (isStruct(value)) {
    const members = Object.entries(value).map(([name, member]) => `<member>\n<name>${escapeText(name)}</name>\n${encodeValue(member, depth + 1)}\n</member>`);
    return `<struct>\n${members.map((member) => `${member}\n`).join('')}</struct>`;
  }
  return `<array><data>\n${value.map((item) => `${encodeValue(item, depth + 1)}\n`).join('')}</data></array>`;
}

function encodeInteger(value: bigint): string {
  if (value >= -int32 && value < int32) return `<int>${value}</int>`;
  if (value < -int64 || value >= int64) throw new XmlRpcError(`${value} does not fit into 64 bits`);
  return `<i8>${value}</i8>`;
}

// Reading

interface Frame {
  readonly name: string;
  text: string;
  /** Values that were closed inside. */
  readonly items: XmlRpcValue[];
  /** A struct's members. */
  readonly members: [string, XmlRpcValue][];
  key?: string;
  method?: string;
  fault?: XmlRpcValue;
}

const scalars = ['string', 'int', 'i4', 'i8', 'boolean', 'double', 'dateTime.iso8601', 'base64', 'nil'];
/** Element → the elements that may stand in it. What has none holds text. */
const grammar: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  Object.entries({
    '': ['methodCall', 'methodResponse'],
    methodCall: ['methodName', 'params'],
    methodResponse: ['params', 'fault'],
    params: ['param'],
    param: ['value'],
    fault: ['value'],
    value: [...scalars, 'array', 'struct'],
    array: ['data'],
    data: ['value'],
    struct: ['member'],
    member: ['name', 'value'],
  }).map(([name, children]) => [name, new Set(children)]),
);

function parse(text: string, limits: XmlRpcLimits): Frame {
  if (text.length > limits.lengthMax) throw new XmlRpcError(`has ${text.length} characters; at most ${limits.lengthMax} are read`);
  const parser = new SaxesParser({ xmlns: false, fragment: false });
  const root: Frame = newFrame('');
  const stack: Frame[] = [root];
  let elements = 0;
  let document: Frame | undefined;

  parser.on('doctype', () => {
    throw new XmlRpcError('holds a document type, which XML-RPC has no use for');
  });
  parser.on('opentagstart', ({ name }) => {
    const parent = stack.at(-1) ?? root;
    if (!grammar.get(parent.name)?.has(name)) throw new XmlRpcError(`holds <${name.slice(0, 64)}> in <${parent.name}>`);
    elements += 1;
    if (elements > limits.elementsMax) throw new XmlRpcError(`holds more than ${limits.elementsMax} elements`);
    if (stack.length > limits.depthMax) throw new XmlRpcError(`is nested more than ${limits.depthMax} deep`);
    stack.push(newFrame(name));
  });
  const addText = (chunk: string) => {
    const frame = stack.at(-1) ?? root;
    if (frame.name === 'value' || !grammar.has(frame.name)) frame.text += chunk;
    else if (chunk.trim() !== '') throw new XmlRpcError(`holds text in <${frame.name}>`);
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    const frame = stack.pop();
    const parent = stack.at(-1);
    if (!frame || !parent) throw new XmlRpcError('is not well-formed');
    if (parent === root) document = frame;
    else closeFrame(frame, parent);
  });
  try {
    parser.write(text).close();
  } catch (error) {
    if (error instanceof XmlRpcError) throw error;
    throw new XmlRpcError(`is not well-formed XML: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!document) throw new XmlRpcError('is empty');
  return document;
}

function newFrame(name: string): Frame {
  return { name, text: '', items: [], members: [] };
}

function closeFrame(frame: Frame, parent: Frame): void {
  switch (frame.name) {
    case 'methodName':
      if (parent.method !== undefined) throw new XmlRpcError('names two methods');
      parent.method = frame.text;
      return;
    case 'name':
      if (parent.key !== undefined) throw new XmlRpcError('holds a member with two names');
      parent.key = frame.text;
      return;
    case 'params':
      for (const item of frame.items) parent.items.push(item);
      return;
    case 'fault':
      parent.fault = onlyItem(frame);
      return;
    case 'param':
    case 'array':
      parent.items.push(onlyItem(frame));
      return;
    case 'member':
      if (frame.key === undefined) throw new XmlRpcError('holds a member without a name');
      parent.members.push([frame.key, onlyItem(frame)]);
      return;
    case 'struct':
      // fromEntries defines own properties, so a member called __proto__ is only a member.
      parent.items.push(Object.fromEntries(frame.members));
      return;
    case 'data':
      parent.items.push(frame.items);
      return;
    case 'value':
      // Without an element inside, the text is a string; beside one it may only be blank.
      if (frame.items.length === 0) parent.items.push(frame.text);
      else if (frame.text.trim() === '') parent.items.push(onlyItem(frame));
      else throw new XmlRpcError('holds text beside the element of a value');
      return;
    default:
      parent.items.push(readScalar(frame.name, frame.text));
  }
}

function onlyItem(frame: Frame): XmlRpcValue {
  const [item, ...more] = frame.items;
  if (item === undefined || more.length > 0) throw new XmlRpcError(`holds ${frame.items.length} values in <${frame.name}> instead of one`);
  return item;
}

function readScalar(type: string, text: string): XmlRpcValue {
  if (type === 'string') return text;
  const value = text.trim();
  const wrong = () => new XmlRpcError(`holds ${JSON.stringify(value.slice(0, 64))} as ${type}`);
  switch (type) {
    case 'nil':
      if (value !== '') throw wrong();
      return null;
    case 'boolean':
      if (value !== '0' && value !== '1') throw wrong();
      return value === '1';
    case 'double': {
      if (!/^[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,4})?$/.test(value)) throw wrong();
      const double = Number(value);
      if (!Number.isFinite(double)) throw wrong();
      return double;
    }
    case 'dateTime.iso8601': {
      const match = /^(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)Z?$/.exec(value);
      const date = match ? new Date(`${match[1]}-${match[2]}-${match[3]}T${match[4]}:${match[5]}:${match[6]}Z`) : undefined;
      if (!date || Number.isNaN(date.getTime())) throw wrong();
      return date;
    }
    case 'base64': {
      const packed = value.replace(/\s+/g, '');
      if (packed.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(packed)) throw wrong();
      return new Uint8Array(Buffer.from(packed, 'base64'));
    }
    default: {
      if (!/^[+-]?\d{1,20}$/.test(value)) throw wrong();
      const integer = BigInt(value.replace(/^\+/, ''));
      if (integer < -int64 || integer >= int64) throw wrong();
      return integer >= BigInt(Number.MIN_SAFE_INTEGER) && integer <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(integer) : integer;
    }
  }
}
