/**
 * Why an image tool failed, from its ending, its lines and the state of the node: a tool that is gone and a full disk are the operator's to mend, whatever the tool itself made of
 * them; the rest is the reason that it gave.
 */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Programs } from '../../shared/programs/programs.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import type { ImageEngine } from './engines/engine.ts';
import { tellsFailedWrite, tellsFullDisk } from './engines/tool-lines.ts';

/** With less than this no tool gets anywhere: rpm and its like remove the file that did not fit, so some room is there again. */
const roomBytesMin = 16 * 1024 * 1024;
/** Of a tool's lines, so many of the last are about its end. */
const lastLinesMax = 200;

interface FailedTool {
  readonly engine: ImageEngine;
  /** As the log names it. */
  readonly tool: string;
  /** `ended with status 1`, `crashed (SIGSEGV)`. */
  readonly ending: string;
  readonly lines: readonly string[];
  /** The whole image needs about so much. */
  readonly bytesWanted: number;
}

/** TOOL_MISSING, DISK_FULL or ENGINE_FAILED. */
export async function toolFailure(
  { engine, tool, ending, lines, bytesWanted }: FailedTool,
  { workspace, programs }: { readonly workspace: Workspace; readonly programs: Programs },
): Promise<SpindleError> {
  const texts = textsOf(lines).filter((line) => !namesSignal.test(line) || /^ended with/.test(ending));
  const { reason, lines: details } =
    texts.length === 0 && lines.some((line) => line.includes('\ufffd')) ? { reason: 'what it printed is not text', lines: [] } : engine.relevantLines(texts);
  const last = [...details, ...texts.slice(-lastLinesMax)];
  const gone = await goneTool(engine, last, programs);
  if (gone !== undefined) {
    return new SpindleError(
      'TOOL_MISSING',
      `${tool} ${ending}, because ${gone}, which the engine ${engine.name} needs, is not installed on this worker any more; install it and retry the build`,
      { details },
    );
  }
  const shortage = await shortageOfRoom(last, workspace, bytesWanted);
  if (shortage !== undefined) {
    return new SpindleError('DISK_FULL', `${tool} ${ending}, because no space was left for the image (${shortage}); free some. It said: ${reason}`, {
      details,
    });
  }
  return new SpindleError('ENGINE_FAILED', `${tool} ${ending}: ${reason}`, { details });
}

/** Of the engine's own programs one that was there when the build began, and that the tool now complains of. */
async function goneTool(engine: ImageEngine, lines: readonly string[], programs: Programs): Promise<string | undefined> {
  const complaints = lines.filter((line) => /not found|No such file or directory/.test(line));
  for (const command of complaints.length > 0 ? engine.needs.commands : []) {
    const name = new RegExp(`(?<![\\w./-])${command.replace(/[^A-Za-z0-9]/g, '\\$&')}(?![\\w./-])`);
    if (complaints.some((line) => name.test(line)) && !(await programs.has(command))) return command;
  }
  return undefined;
}

/** What shows that the disk was full, whether the tool knew or not; undefined where nothing does. `bytesWanted`: what it was about to write, at most. */
export async function shortageOfRoom(lines: readonly string[], workspace: Workspace, bytesWanted: number): Promise<string | undefined> {
  const free = await workspace.freeBytes();
  const left = `${Math.floor(free / 2 ** 20)} MiB are free`;
  if (free < roomBytesMin || lines.some(tellsFullDisk)) return left;
  // rpm tells that it could not write, and then of an error that has nothing to do with it.
  return free < bytesWanted && lines.some(tellsFailedWrite) ? left : undefined;
}

/** What a shell says of a program that a signal ended: nothing that its ending does not say. */
const namesSignal = /^(?:Segmentation fault|Aborted|Bus error|Illegal instruction|Floating point exception|Killed|Terminated)(?: \(core dumped\))?$/;
/** Among bytes a few letters in a row are chance; words are not. */
const hasWords = /[A-Za-z]{3,}\W? .*[A-Za-z]{3,}/;

/** A program that prints bytes leaves little in its lines but the marks that stand for them. */
function textsOf(lines: readonly string[]): readonly string[] {
  const texts = lines.filter((line) => (line.match(/\ufffd/g)?.length ?? 0) * 10 <= line.length);
  return texts.length > lines.length * 0.9 ? texts : texts.filter((line) => hasWords.test(line));
}
