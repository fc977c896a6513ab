/** Small XML documents as trees, with bounds on everything: what names repositories comes from anybody. Pure. */
import { SaxesParser } from 'saxes';

export interface XmlElement {
  /** Without its prefix. */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Of the element itself, trimmed. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** The text is not XML, or exceeds a bound. */
export class XmlDocumentError extends Error {
  override readonly name = 'XmlDocumentError';
}

const depthMax = 20;
const elementsMax = 20_000;
const lengthMax = 4 * 1024 * 1024;

interface OpenElement {
  readonly name: string;
  readonly attributes: Record<string, string>;
  text: string;
  readonly children: XmlElement[];
}

const local = (name: string) => name.slice(name.indexOf(':') + 1);

/** The root element. Throws XmlDocumentError. A document type is refused: with it come entities, and none of these formats has one. */
export function readXmlDocument(text: string): XmlElement {
  if (text.length > lengthMax) throw new XmlDocumentError(`has more than ${lengthMax} characters`);
  const parser = new SaxesParser({ xmlns: false, fragment: false });
  const open: OpenElement[] = [];
  let root: XmlElement | undefined;
  let elements = 0;
  parser.on('doctype', () => {
    throw new XmlDocumentError('holds a document type');
  });
  parser.on('error', (error) => {
    throw new XmlDocumentError(`is not well-formed XML (${error.message.slice(0, 200)})`);
  });
  parser.on('opentag', ({ name, attributes }) => {
    elements += 1;
    if (elements > elementsMax) throw new XmlDocumentError(`holds more than ${elementsMax} elements`);
    if (open.length >= depthMax) throw new XmlDocumentError(`is nested more than ${depthMax} deep`);
    open.push({ name: local(name), attributes: { ...(attributes as Record<string, string>) }, text: '', children: [] });
  });
  const addText = (chunk: string) => {
    const element = open.at(-1);
    if (element) element.text += chunk;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    const element = open.pop();
    if (!element) return;
    const done: XmlElement = { ...element, text: element.text.trim() };
    const parent = open.at(-1);
    if (parent) parent.children.push(done);
    else root = done;
  });
  parser.write(text).close();
  if (!root) throw new XmlDocumentError('is empty');
  return root;
}

export function childrenOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return element?.children.filter((child) => child.name === name) ?? [];
}

export function textOf(element: XmlElement | undefined, name: string): string | undefined {
  return childrenOf(element, name)[0]?.text;
}
