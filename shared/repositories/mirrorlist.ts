/** Reads a mirrorlist: one base URL a line, as MirrorManager and others serve it. Pure. */

const mirrorsMax = 500;

/** Base URLs in the list's order, each once, with a slash at its end. Comments and what is no http or https URL are left out: a proxy's error page gives none. */
export function readMirrorlist(text: string): readonly string[] {
  const found = new Set<string>();
  for (const line of text.split(/\r?\n/)) {
    const url = line.trim();
    if (url === '' || url.startsWith('#') || url.length > 2048 || !URL.canParse(url)) continue;
    const { protocol, search, hash, username, password, href } = new URL(url);
    if ((protocol !== 'http:' && protocol !== 'https:') || search || hash || username || password) continue;
    found.add(href.endsWith('/') ? href : `${href}/`);
    if (found.size >= mirrorsMax) break;
  }
  return [...found];
}
