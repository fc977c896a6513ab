/** Splits a kickstart line into words exactly as pykickstart does, which uses Python's shlex: what it would read differently from us could slip past our rules. Pure. */

export type SplitWords = { readonly isValid: true; readonly words: readonly string[] } | { readonly isValid: false; readonly why: string };

/**
 * POSIX quoting: single quotes take everything as it stands; in double quotes a backslash goes before `"` and itself only; outside it takes the next character as it
 * stands. An unquoted `#` begins a comment, also within a word.
 */
export function shellWords(line: string): SplitWords {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at] as string;
    const next = line[at + 1];
    if (quote !== undefined) {
      if (character === quote) quote = undefined;
      else if (character === '\\' && quote === '"' && (next === '"' || next === '\\')) {
        word += next;
        at += 1;
      } else word += character;
    } else if (character === '#') break;
    else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (character === '\\') {
      if (next === undefined) return { isValid: false, why: 'ends with a backslash; a command stands on one line' };
      word = (word ?? '') + next;
      at += 1;
    } else if (/[ \t]/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== undefined) return { isValid: false, why: `has a ${quote} that is not closed` };
  if (word !== undefined) words.push(word);
  return { isValid: true, words };
}
