/** Reads what lorax, livemedia-creator and mkksiso print: how far they have come, and of a failed run the one reason. They share their code, and so their words. Pure. */
import type { EngineProgress, RelevantLines } from './engine.ts';
import { relevantToolLines, tellsFullDisk, tellsWhy, toolProgress } from './tool-lines.ts';

/** `2024-02-14 01:06:41,501 DEBUG pylorax.ltmpl: `, `2024-09-09 11:38:01,439: `, mkksiso's `ERROR:`. */
const prefix =
  /^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}(?: (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.-]+)?: ?|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):(?:[\w.]+:)?)/;

const steps: readonly (readonly [marker: RegExp, what: string])[] = [
  [/installing runtime packages/, 'installing packages'],
  [/Running anaconda\./, 'installing packages'],
  [/doing post-install configuration/, 'setting the system up'],
  [/cleaning unneeded files/, 'setting the system up'],
  [/creating the runtime image|Packing live rootfs image/, 'compressing the root file system'],
  [/rebuilding initramfs|Rebuilding initramfs/i, 'making the initramfs'],
  [/populating output tree|running \w+\.tmpl/, 'writing the ISO'],
];

/** dnf's counts within lorax: `(12/735) bash-5.2-1.x86_64`, and within Anaconda: `Installing bash.x86_64 (12/1741)`. */
const counts = /(?:^\((\d+)\/(\d+)\) \S+$)|(?:^Installing \S+ \((\d+)\/(\d+)\)$)/;

export function loraxPhase(line: string): EngineProgress | undefined {
  const text = stripped(line);
  const index = steps.findIndex(([marker]) => marker.test(text));
  const step = steps[index];
  return step && { done: index, total: steps.length, what: step[1] };
}

export function loraxProgress(line: string): EngineProgress | undefined {
  const text = stripped(line);
  const counted = counts.exec(text);
  if (counted) return { done: Number(counted[1] ?? counted[3]), total: Number(counted[2] ?? counted[4]), what: 'installing packages' };
  return toolProgress(text);
}

/** What they themselves say when they give up, the nearest to the cause first. */
const own: readonly RegExp[] = [
  /^installpkg .+ failed: |^No package matched|^Duplicate packages found/i,
  /dnf\.exceptions\.DepsolveError: .+|^Problem(?: \d+)?: /,
  /The transaction process has ended abruptly: .+|RPM transaction error: .+|^Error in \w+ scriptlet/,
  /packaging: Installation failed: .+|PayloadInstallError\(|NonCriticalInstallationError/,
  /^The exact error message is:|^Service org\.fedoraproject\.Anaconda\.\S+ has failed to start/,
  /^\S+, needed by \S+, does not exist$/,
  /^template command error in /,
  // The checks before the start: sentences of their own, at the level ERROR.
  /should not exist|is missing|doesn't exist|do not match|cannot be longer than|needs? to be installed|need to run this as root|requires anaconda|must (?:activate|not set|include)|Only url, nfs/,
  /^(?:Install failed|Image creation failed|ERROR: Image creation failed|make_runtime failed|Running anaconda failed): ?.*/,
];

export function relevantLoraxLines(lines: readonly string[]): RelevantLines {
  // What was said at a level that tells of a failure counts, whatever its words.
  const texts = lines
    .map((line) => ({ text: stripped(line), isError: / (?:ERROR|CRITICAL) [\w.-]+: |^(?:ERROR|CRITICAL):/.test(line) }))
    .filter(({ text }) => text !== '');
  const told = texts.filter(({ text, isError }) => isError || own.some((pattern) => pattern.test(text)) || tellsWhy(text)).map(({ text }) => text);
  // Its log and its terminal say everything twice.
  const distinct = [...new Set(told)];
  const full = distinct.find((text) => tellsFullDisk(text));
  const cause = full ?? own.map((pattern) => distinct.find((text) => pattern.test(text))).find((text) => text !== undefined);
  if (cause === undefined) {
    const error = texts.find(({ isError }) => isError)?.text;
    const found = relevantToolLines(texts.map(({ text }) => text));
    return error === undefined ? found : { reason: error.slice(0, 1000), lines: found.lines };
  }
  const after = texts[texts.findIndex(({ text }) => text === cause) + 1]?.text;
  // Anaconda writes the message on a line of its own; lorax names the template's line and says why in the next.
  const reason = /^(?:The exact error message is:|template command error in )/.test(cause) && after !== undefined ? `${cause} ${after}` : cause;
  const shown = distinct.slice(-20);
  if (!shown.includes(cause)) shown.splice(0, 1, cause);
  return { reason: reason.replace(/\s+/g, ' ').trim().slice(0, 1000), lines: shown.map((line) => line.slice(0, 1000)) };
}

function stripped(line: string): string {
  return line
    .replace(prefix, '')
    .replace(/^DNF error:\s*/, '')
    .trim();
}
