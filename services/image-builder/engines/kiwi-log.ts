/** Reads KIWI's output: how far it has come, and of a failed run the one reason with the lines that matter. Pure. */
import type { EngineProgress, RelevantLines } from './engine.ts';
import { tellsWhy, toolProgress } from './tool-lines.ts';

const phases: readonly (readonly [marker: string, what: string])[] = [
  ['Preparing new root system', 'preparing the root system'],
  ['Installing bootstrap packages', 'installing packages'],
  ['Running transaction', 'installing packages'],
  ['Installing system (chroot)', 'setting the system up'],
  ['Creating live ISO boot image', 'making the initramfs'],
  ['Packing system into', 'packing the root file system'],
  ['Creating squashfs container', 'compressing the root file system'],
  ['Creating live ISO image', 'writing the ISO'],
  ['Result files:', 'finishing'],
];

export function kiwiPhase(line: string): EngineProgress | undefined {
  const index = phases.findIndex(([marker]) => line.includes(marker));
  const phase = phases[index];
  return phase && { done: index, total: phases.length - 1, what: phase[1] };
}

/** What the tools tell that KIWI runs. */
export function kiwiProgress(line: string): EngineProgress | undefined {
  return toolProgress(unprefixed(line));
}

const linesMax = 20;
const prefix = /\[ (DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*\]: (?:\d\d:\d\d:\d\d \| )?/;

/** What KIWI's schema and KIWI itself say when they refuse; the tools that it runs have words of their own. */
const telling: readonly RegExp[] = [
  /^Failed with stderr: (?!\(no output)/,
  /^EXEC: Failed with stderr: (?!\(no output)/,
  /RELAXNGV/,
  /attribute is only available/,
];

function isTelling(message: string): boolean {
  const text = strip(message);
  return tellsWhy(text) || telling.some((pattern) => pattern.test(text));
}

/** The first error is the cause; what follows is cleaning up. */
export function relevantKiwiLines(lines: readonly string[]): RelevantLines {
  const messages = lines.flatMap(unglue);
  const errorAt = messages.findIndex((line) => /\[ (?:ERROR|CRITICAL)\s*\]:/.test(line) || line.startsWith('Traceback (most recent call last)'));
  if (errorAt === -1) {
    const told = messages.filter(isTelling).map(strip);
    const last = messages.map(strip).filter((line) => line !== '');
    return { reason: told.at(-1) ?? last.at(-1) ?? 'it printed nothing', lines: (told.length > 0 ? told : last).slice(-linesMax) };
  }
  const before = messages.slice(0, errorAt).filter(isTelling);
  const error = [messages[errorAt] ?? ''];
  // A message of several lines goes on until the next one that has a level of its own.
  for (const line of messages.slice(errorAt + 1)) {
    if (prefix.test(line) || error.length >= linesMax) break;
    error.push(line);
  }
  const kept = error.map(strip).filter((line) => line !== '' && line !== ':');
  const isTraceback = kept[0]?.startsWith('Traceback') || kept[0] === 'Unexpected error:';
  const reason = isTraceback
    ? (kept.at(-1) ?? '')
    : kept
        .join(' ')
        .replace(/^Kiwi[A-Za-z]+: ?/, '')
        .replace(/\s+/g, ' ')
        .trim();
  // Some of KIWI's own messages are only the consequence; the program that failed just before says why.
  const cause = messages
    .slice(Math.max(0, errorAt - 4), errorAt)
    .map((line) => /Failed with stderr: (.+?)(?:, stdout:.*)?$/.exec(line)?.[1])
    .findLast((text) => text !== undefined && !text.startsWith('(no output'));
  return {
    reason: `${reason || 'it gave no reason'}${cause && !reason.includes(cause) ? ` (${cause})` : ''}`.slice(0, 1000),
    lines: [...before.map(strip).slice(-(linesMax - Math.min(kept.length, linesMax / 2))), ...kept.slice(0, linesMax / 2)],
  };
}

/** KIWI's progress bar has no line's end: the next message stands behind it on the same line. */
function unglue(line: string): readonly string[] {
  return line
    .replace(/\[ INFO\s*\]: Processing: \[[# ]*\] \d+%/g, '')
    .split(/(?=\[ (?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*\]: )/)
    .filter((part) => part !== '');
}

function strip(line: string): string {
  return unprefixed(line).trim();
}

function unprefixed(line: string): string {
  return line
    .replace(prefix, '')
    .replace(/^--> /, '')
    .replace(/^(?:bootstrap|system): /, '');
}
