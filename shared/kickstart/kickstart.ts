/** A kickstart as data: commands and sections with the lines they stand on. Reads text, and says of each mistake where it is. Pure. */
import { distance } from 'fastest-levenshtein';
import { commandKind, commandNames } from './commands.ts';
import { shellWords } from './shell-words.ts';

/** Where a line stands. `url`: of the file, where it is not the request's own text. */
export interface Place {
  readonly url?: string;
  /** From 1. */
  readonly line: number;
}

export interface KickstartLine {
  /** Without its end. */
  readonly text: string;
  readonly place: Place;
}

export interface KickstartCommand extends KickstartLine {
  readonly name: string;
  readonly words: readonly string[];
}

const sectionNames = ['%packages', '%pre', '%pre-install', '%post', '%onerror', '%traceback', '%addon', '%certificate'] as const;
type SectionName = (typeof sectionNames)[number];

export interface KickstartSection extends KickstartLine {
  readonly name: SectionName;
  /** Of its first line, after the name. */
  readonly words: readonly string[];
  readonly lines: readonly KickstartLine[];
}

export interface Kickstart {
  readonly commands: readonly KickstartCommand[];
  readonly sections: readonly KickstartSection[];
}

export interface KickstartProblem {
  readonly place: Place;
  /** A predicate: `is no kickstart command`. What it says never quotes a value: values may be secrets. */
  readonly what: string;
}

export interface Include extends KickstartLine {
  readonly url: string;
}

const linesMax = 20_000;
const lineLengthMax = 16 * 1024;
const sectionsMax = 200;
const problemsMax = 20;

/** Whether a request's kickstart is an address rather than a text. */
export function isKickstartUrl(kickstart: string): boolean {
  return /^\s*[a-z][a-z0-9+.-]*:\/\/\S*\s*$/i.test(kickstart);
}

/**
 * Lines of a text, or of a fetched file where `url` says of which. A byte order mark is dropped, CRLF is a line's end. Other characters that control something are
 * problems: Python's reader, which gets the text later, takes some of them for the end of a line.
 */
export function kickstartLines(text: string, url?: string): { readonly lines: readonly KickstartLine[]; readonly problems: readonly KickstartProblem[] } {
  const place = (index: number): Place => ({ ...(url === undefined ? {} : { url }), line: index + 1 });
  const texts = text
    .replace(/^\ufeff/, '')
    .replaceAll('\r\n', '\n')
    .split('\n');
  if (texts.at(-1) === '') texts.pop();
  if (texts.length > linesMax) return { lines: [], problems: [{ place: place(linesMax), what: `is one line too many: a kickstart has at most ${linesMax}` }] };
  const lines = texts.map((line, index) => ({ text: line, place: place(index) }));
  const problems = lines.flatMap((line): readonly KickstartProblem[] => {
    if (line.text.length > lineLengthMax) return [{ place: line.place, what: `is longer than ${lineLengthMax} characters` }];
    if (/(?!\t)[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\ufffd]/u.test(line.text))
      return [{ place: line.place, what: 'holds a character that is no text, such as a NUL' }];
    return [];
  });
  return { lines, problems: problems.slice(0, problemsMax) };
}

/** The files that a line asks to read: `%include` and `%ksappend`, wherever they stand. A problem where the address is none that is read. Undefined for other lines. */
export function includeOf(line: KickstartLine): Include | KickstartProblem | undefined {
  const start = /^\s*(%include|%ksappend)(?=\s|$)/.exec(line.text)?.[1];
  if (start === undefined) return undefined;
  const split = shellWords(line.text);
  const [, url, ...more] = split.isValid ? split.words : [];
  if (url === undefined || more.length > 0) return { place: line.place, what: `names no address: ${start} is followed by one https address` };
  if (!/^https:\/\//i.test(url) || !URL.canParse(url)) {
    return { place: line.place, what: `names what is not read: ${start} takes https addresses, and no files of the machine that builds` };
  }
  const parsed = new URL(url);
  if (parsed.username !== '' || parsed.password !== '')
    return { place: line.place, what: `has a user name or password in its address, which would become public` };
  return { ...line, url: parsed.href };
}

export function isInclude(found: Include | KickstartProblem): found is Include {
  return 'url' in found;
}

/** Reads flattened lines: includes among them are passed over. At most 20 problems. */
export function readKickstart(lines: readonly KickstartLine[]): { readonly kickstart: Kickstart; readonly problems: readonly KickstartProblem[] } {
  const commands: KickstartCommand[] = [];
  const sections: KickstartSection[] = [];
  const problems: KickstartProblem[] = [];
  let open: (Omit<KickstartSection, 'lines'> & { readonly lines: KickstartLine[] }) | undefined;
  for (const line of lines) {
    const { text, place } = line;
    if (problems.length >= problemsMax) break;
    if (includeOf(line) !== undefined) continue;
    const mark = /^\s*(%\S*)/.exec(text)?.[1];
    if (open) {
      if (mark === '%end') {
        sections.push(open);
        open = undefined;
      } else if (isSectionName(mark) || mark === '%anaconda') {
        problems.push({ place, what: `begins ${mark} while ${open.name} of ${placeName(open.place)} is not closed; write %end before it` });
        open = undefined;
        break;
      } else open.lines.push(line);
      continue;
    }
    if (/^\s*(#|$)/.test(text)) continue;
    const split = shellWords(text);
    if (!split.isValid) {
      problems.push({ place, what: split.why });
      continue;
    }
    const [name = '', ...words] = split.words;
    if (name === '%end') problems.push({ place, what: 'closes a section, but none is open' });
    else if (name.startsWith('%')) {
      if (!isSectionName(name)) {
        problems.push({ place, what: `begins the unknown section ${shown(name)}; the nearest one is ${nearest(name, sectionNames)}` });
        // Its lines would only be more of the same.
        break;
      }
      if (sections.length >= sectionsMax) {
        problems.push({ place, what: `begins one section too many: a kickstart has at most ${sectionsMax}` });
        break;
      }
      const problem = sectionProblem(name, words);
      if (problem !== undefined) problems.push({ place, what: problem });
      open = { name, words, text, place, lines: [] };
    } else {
      const problem = commandProblem(name, words);
      if (problem === undefined) commands.push({ name, words, text, place });
      else problems.push({ place, what: problem });
    }
  }
  if (open && problems.length < problemsMax) problems.push({ place: open.place, what: `begins ${open.name}, which is never closed; write %end after it` });
  return { kickstart: { commands, sections }, problems };
}

const scriptOptions = ['erroronfail', 'interpreter', 'log', 'logfile'];
/** What %packages takes is packages-section.ts's matter; an add-on's words are its own. */
const sectionOptions: Readonly<Partial<Record<SectionName, readonly string[]>>> = {
  '%pre': scriptOptions,
  '%pre-install': scriptOptions,
  '%post': [...scriptOptions, 'nochroot'],
  '%onerror': scriptOptions,
  '%traceback': scriptOptions,
  '%certificate': ['filename', 'dir'],
};

function sectionProblem(name: SectionName, words: readonly string[]): string | undefined {
  const known = sectionOptions[name];
  const strange = known && optionNames(words).find((option) => !known.includes(option));
  if (strange !== undefined) return `${name} has no option --${shown(strange)}; the nearest one is --${nearest(strange, known ?? [])}`;
  if (name === '%certificate' && !['filename', 'dir'].every((option) => typeof optionValue(words, option) === 'string')) {
    return 'begins %certificate without --filename=… and --dir=…, which say where the certificate goes';
  }
  if (name === '%addon' && words.length === 0) return 'begins %addon without saying which';
  return undefined;
}

function isSectionName(text: string | undefined): text is SectionName {
  return sectionNames.includes(text as SectionName);
}

function commandProblem(name: string, words: readonly string[]): string | undefined {
  const kind = commandKind(name);
  if (kind.is === 'refused') return `${name} ${kind.why}`;
  if (kind.is === 'unknown') return `${shown(name)} is no kickstart command; the nearest one is ${nearest(name, commandNames)}`;
  const known = kind.options;
  if (known === undefined) return undefined;
  // Abbreviated options, which the installer would take, are refused: the rules about single options go by their names.
  const strange = optionNames(words).find((option) => !known.has(option));
  if (strange === undefined) return undefined;
  const hint = known.size > 0 ? `the nearest one is --${nearest(strange, [...known])}` : 'it has none';
  return `${name} has no option --${shown(strange)}; ${hint}`;
}

/** Names of the options among words, without the dashes. A word with blanks is a value, as for Python's argparse. */
export function optionNames(words: readonly string[]): readonly string[] {
  return words.flatMap((word) => (/^-[^\s\d]\S*$/.test(word.split('=')[0] ?? '') ? [(word.split('=')[0] ?? '').replace(/^--?/, '')] : []));
}

/** An option's value, written `--name=value` or `--name value`; true where it stands alone. Undefined where it is not there. The last one counts. */
export function optionValue(words: readonly string[], name: string): string | true | undefined {
  const at = words.findLastIndex((word) => word === `--${name}` || word.startsWith(`--${name}=`));
  const word = words[at];
  if (word === undefined) return undefined;
  if (word.includes('=')) return word.slice(word.indexOf('=') + 1);
  const next = words[at + 1];
  return next === undefined || /^-\D/.test(next) ? true : next;
}

/** `line 7`, `line 7 of https://…`. */
export function placeName({ url, line }: Place): string {
  return url === undefined ? `line ${line}` : `line ${line} of ${url.slice(0, 200)}`;
}

/** `line 7 has …`. */
export function problemSentence({ place, what }: KickstartProblem): string {
  return `${placeName(place)} ${what}`;
}

const shown = (text: string) => JSON.stringify(text.length > 40 ? `${text.slice(0, 39)}…` : text);

function nearest(text: string, known: readonly string[]): string {
  const wanted = text.toLowerCase().slice(0, 40);
  return known.reduce((best, name) => (distance(wanted, name) < distance(wanted, best) ? name : best), known[0] ?? '');
}
