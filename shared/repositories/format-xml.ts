/** Writes XML: elements as data, every text escaped. Pure. */

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Elements, or one text. */
  readonly content: readonly XmlElement[] | string;
}

export function element(name: string, attributes: Readonly<Record<string, string>> = {}, content: readonly XmlElement[] | string = []): XmlElement {
  return { name, attributes, content };
}

/** Characters that XML 1.0 cannot hold, not even escaped, become U+FFFD. */
export function escapeXml(text: string): string {
  // Nearly every name, version and path is plain.
  if (/^[\w .:/@+~^=-]*$/.test(text)) return text;
  return text
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&apos;')
    .replace(/[\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A whole document, indented by two blanks. */
export function formatXml(root: XmlElement): string {
  return `<?xml version="1.0" encoding="utf-8"?>\n${format(root, '')}`;
}

function format({ name, attributes, content }: XmlElement, indent: string): string {
  const start = `${indent}<${name}${Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${escapeXml(value)}"`)
    .join('')}`;
  if (content.length === 0) return `${start}/>\n`;
  if (typeof content === 'string') return `${start}>${escapeXml(content)}</${name}>\n`;
  return `${start}>\n${content.map((child) => format(child, `${indent}  `)).join('')}${indent}</${name}>\n`;
}
