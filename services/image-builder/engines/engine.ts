/** What an image engine is: a pure function from a resolved request to files and command lines, and a reader of those commands' output. */
import type { Engine, ImageType, SingleBuildRequest } from '../../../shared/build/request.ts';
import type { KickstartContent } from '../../../shared/kickstart/content.ts';
import type { ProgramRequest, Sandbox } from '../../../shared/programs/programs.ts';
import type { Release } from '../../../shared/releases/releases.ts';
import type { Resolution } from '../../../shared/resolution/resolution.ts';

export interface EngineOrder {
  /** With what its kickstart asks for in it already: packages, repositories, language. */
  readonly request: SingleBuildRequest;
  /** The requester's own kickstart, which holds nothing that the engine's recipe cannot say (shared/kickstart/recipe-support.ts). */
  readonly kickstart?: KickstartContent | undefined;
  readonly resolution: Resolution;
  /** What `$releasever` is in this release. */
  readonly releasever: string;
  /** The release's name for people, such as `Fedora Linux 44`. */
  readonly releaseName?: string | undefined;
  /** As the releases file has it now; undefined where it has it no more. */
  readonly release?: Release | undefined;
  /** Absolute path of the workspace; the repositories stand in it, at `layout`. */
  readonly root: string;
  /** What the engine's tool here says its version is; undefined where it did not say. Command lines differ between versions. */
  readonly toolVersion?: string | undefined;
}

/** Where things stand in the workspace, relative to it. */
export const layout = {
  repositories: 'repositories',
  /** One folder a repository, with its metadata. Stable before side, wherever an order shows. */
  stable: 'repositories/stable',
  side: 'repositories/side',
  home: 'home',
  recipe: 'recipe',
  cache: 'cache',
  temporary: 'temporary',
  output: 'output',
  inspection: 'inspection',
  /** The tool's own log files. */
  logs: 'logs',
} as const;

export interface Recipe {
  /** Relative to the workspace. */
  readonly files: readonly { readonly path: string; readonly content: string }[];
  /** Directories that the tool expects, relative to the workspace. */
  readonly directories: readonly string[];
  /** Run one after the other, in the workspace; the first that fails ends the build. */
  readonly steps: readonly RecipeStep[];
  /** What is published, so that people can see and repeat what was done. */
  readonly artifact: { readonly name: string; readonly mediaType: string; readonly content: string };
}

export interface RecipeStep {
  /** For those who wait: `installing packages`. */
  readonly what: string;
  /** Which part of the whole time it takes, beside the other steps' shares. All alike where left out. */
  readonly share?: number;
  /** Whose lines these are, for the log, where `run.command` is only what starts it. */
  readonly tool?: string;
  /** What it needs of the host besides what every step has: trees that the operator named, loop devices. Absolute paths. */
  readonly sandbox?: Omit<Sandbox, 'directory'>;
  readonly run: Pick<ProgramRequest, 'command' | 'args' | 'isolation'> & { readonly env: Readonly<Record<string, string>> };
}

export interface EngineProgress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

export interface RelevantLines {
  /** One sentence: why the tool gave up. */
  readonly reason: string;
  /** The lines that say so, in their order; at most 20. */
  readonly lines: readonly string[];
}

/** What a node must have for an engine to run on it. */
interface EngineNeeds {
  /** Programs, looked for on PATH; without any one of them the engine is absent. */
  readonly commands: readonly string[];
  /** The packages that bring them, for those who read that the engine is absent; empty where the distribution has none. */
  readonly install: { readonly debian: readonly string[]; readonly fedora: readonly string[] };
}

export interface ImageEngine {
  readonly name: Engine;
  readonly imageTypes: readonly ImageType[];
  readonly needs: EngineNeeds;
  /** The tool's version for the manifest: how to ask, and what to take of the answer. */
  readonly version: { readonly command: string; readonly args: readonly string[]; readonly read: (stdout: string) => string | undefined };
  readonly render: (order: EngineOrder) => Recipe;
  /** Files that the tool leaves besides its output, relative to the workspace: a directory stands for the files in it. Kept with the build, however it ends. */
  readonly logs?: readonly string[];
  /** Of the names in `layout.output`, those that are the image, relative to that. More than one is the tool's mistake. */
  readonly findImages: (names: readonly string[]) => readonly string[];
  /** The phase of the tool's work that begins with a line of its output, and which of how many it is. Of an engine whose steps are its phases, none. */
  readonly phase: (line: string) => EngineProgress | undefined;
  /** How far a line says that the tool is within its phase; undefined where it says nothing. */
  readonly progress: (line: string) => EngineProgress | undefined;
  /** Of the lines of the step that failed. */
  readonly relevantLines: (lines: readonly string[]) => RelevantLines;
}
