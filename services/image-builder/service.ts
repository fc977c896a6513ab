/** Makes the image: exactly the resolved packages, from local repositories, without network; then reads it back to see that it is what was asked for. */
import type { Artifact } from '../../shared/build/artifact.ts';
import { failureOf, SpindleError } from '../../shared/build/failure.ts';
import { BuildFailed, ImageBuilt, SideRepoReady } from '../../shared/events/catalog.ts';
import { formatNevra, parseNevra } from '../../shared/fedora/nvr.ts';
import { readContentText, storeContent } from '../../shared/files/content.ts';
import type { FileRef } from '../../shared/files/content-ref.ts';
import type { Files } from '../../shared/files/files.ts';
import { readStoredKickstart, type StoredKickstart } from '../../shared/kickstart/requested.ts';
import { hideHashes, withoutHashes } from '../../shared/kickstart/secrets.ts';
import { inSandbox } from '../../shared/programs/in-sandbox.ts';
import type { ProgramRequest } from '../../shared/programs/programs.ts';
import type { Release } from '../../shared/releases/releases.ts';
import { RepositorySet, Resolution } from '../../shared/resolution/resolution.ts';
import { defineStage, type StageContext } from '../../shared/stage/stage.ts';
import type { Workspace } from '../../shared/workspace/workspace.ts';
import { type ImageEngine, layout, type Recipe } from './engines/engine.ts';
import { kiwi } from './engines/kiwi.ts';
import { passedOverScriptlet } from './engines/tool-lines.ts';
import { readImageContents } from './image-contents.ts';
import type { ImagePackage } from './image-reading.ts';
import { lastLines } from './last-lines.ts';
import { type Comparison, compareContents, formatManifest } from './manifest.ts';
import { takeImage } from './produced-image.ts';
import { formatSbom } from './sbom.ts';
import { toolFailure } from './tool-failure.ts';

export interface ImageBuilderOptions {
  readonly engines?: readonly ImageEngine[];
}

const stageName = 'image-builder';
const kickstartName = 'kickstart.ks';
const deadlineMs = 2 * 3_600_000;
/** Placing, checking and storing need the rest of the stage's time. */
const engineDeadlineMs = deadlineMs - 15 * 60_000;
const jsonBytesMax = 64 * 1024 * 1024;
const linesKeptMax = 5000;
const charactersKeptMax = 4 * 1024 * 1024;
const differencesToldMax = 50;
const logsMax = 20;
const logBytesMax = 64 * 1024 * 1024;

/** Failures that no further try mends: the build ends with them, and keeps its recipe. */
const finalCodes: ReadonlySet<string> = new Set([
  'ENGINE_FAILED',
  'ENGINE_OUTPUT_MISSING',
  'ENGINE_OUTPUT_WRONG',
  'TOOL_MISSING',
  'REQUESTED_BUILD_MISSING',
  'IMAGE_UNREADABLE',
  'TOOL_TIMED_OUT',
  'RESOURCE_LIMIT',
  'ISOLATION_FAILED',
]);

export function imageBuilder({ engines = [kiwi] }: ImageBuilderOptions = {}) {
  const versions = toolVersions();
  return defineStage({
    name: stageName,
    state: 'building',
    consumes: SideRepoReady,
    emits: [ImageBuilt, BuildFailed],
    long: true,
    limits: { concurrency: 2, attemptsMax: 3, deadlineMs },

    async handle({ data }, context) {
      const { request, files, log, phase } = context;
      const engine = engines.find(({ name }) => name === data.engine);
      if (!engine?.imageTypes.includes(data.imageType)) {
        const present = engines.map(({ name, imageTypes }) => `${name} (${imageTypes.join(', ')})`).join(', ');
        const refusal = new SpindleError('ENGINE_UNSUPPORTED', `${data.engine} cannot make a ${data.imageType} image here; there is ${present}`);
        return BuildFailed({ failure: failureOf(refusal, stageName), artifacts: [] });
      }
      const [resolved, made] = await Promise.all([readJson(files, data.resolution), readJson(files, data.repositories)]);
      const resolution = Resolution.parse(resolved);
      const repositories = RepositorySet.parse(made);
      checkNames(resolution);

      const workspace = await context.workspace();
      phase('laying out the repositories');
      const release = context.releases.releases.find(({ id }) => id === resolution.release);
      const version = await versions(engine, context);
      const own = await kickstartOf(resolution, release, context);
      const recipe = engine.render({
        request: own?.request ?? request,
        kickstart: own?.content,
        resolution,
        releasever: release?.releasever ?? resolution.release,
        releaseName: release?.name,
        release,
        root: workspace.path,
        toolVersion: version,
      });
      const [storedRecipe, trees] = await both(
        both(storeContent(files, own ? hideHashes(recipe.artifact.content) : recipe.artifact.content), writeRecipe(workspace, recipe)),
        showRepositories(workspace, repositories, context),
      );
      const recipeArtifacts: readonly Artifact[] = [
        { name: recipe.artifact.name, mediaType: recipe.artifact.mediaType, ...storedRecipe[0] },
        // An engine whose recipe is a kickstart has merged it into that; of the others it shows what was asked.
        ...(own && recipe.artifact.name !== kickstartName
          ? [{ name: kickstartName, mediaType: 'text/plain', ...(await storeContent(files, withoutHashes(own.text))) }]
          : []),
      ];

      try {
        // What makes an image and what looks into one handle strangers' content: they see nothing of the service's own.
        const inside = { ...context, programs: inSandbox(context.programs, { directory: workspace.path, readOnly: trees }) };
        const image = await makeImage(engine, recipe, workspace, resolution, inside);
        // Digested beside reading it back, which leaves a processor to it; of an image that is refused nobody wants the digest.
        const refused = new AbortController();
        const checked = checkImage(image, workspace, { resolution, repositories }, inside).catch((error: unknown) => {
          refused.abort(error);
          throw error;
        });
        const [{ contents, comparison }] = await both(checked, workspace.digest(image, AbortSignal.any([context.signal, refused.signal])));
        const name = `${request.label}-${resolution.release}-${resolution.arch}.iso`;
        phase('storing the image');
        const imageRef = await workspace.store(image, context.signal);
        const manifest = formatManifest({
          buildId: context.buildId,
          request,
          engine: engine.name,
          tools: { [engine.name]: version ?? 'unknown' },
          image: { name, ...imageRef },
          resolution,
          comparison,
        });
        const sbom = formatSbom({ buildId: context.buildId, release: resolution.release, image: { name, ...imageRef }, contents, comparison });
        log(stageName, `${name}: ${imageRef.size} bytes, ${comparison.packages.length} packages, sha256 ${imageRef.sha256}`);
        return ImageBuilt({
          arch: data.arch,
          imageType: data.imageType,
          image: name,
          requested: [...resolution.requested],
          artifacts: [
            { name, mediaType: 'application/x-iso9660-image', ...imageRef },
            { name: 'manifest.json', mediaType: 'application/json', ...(await storeContent(files, manifest)) },
            { name: 'sbom.spdx.json', mediaType: 'application/spdx+json', ...(await storeContent(files, sbom)) },
            ...recipeArtifacts,
            ...(await keptLogs(engine, workspace, context)),
          ],
        });
      } catch (error) {
        if (context.signal.aborted || !(error instanceof SpindleError) || !finalCodes.has(error.code)) throw error;
        for (const line of error.details) log(stageName, line);
        return BuildFailed({ failure: failureOf(error, stageName), artifacts: [...recipeArtifacts, ...(await keptLogs(engine, workspace, context))] });
      }
    },
  });
}

async function kickstartOf(
  { kickstart }: Resolution,
  release: Release | undefined,
  { files, request, untrustedCode }: StageContext,
): Promise<StoredKickstart | undefined> {
  if (!kickstart) return undefined;
  if (!release) throw new SpindleError('RELEASE_UNKNOWN', `release: there is no release ${request.release} here any more, which the kickstart goes with`);
  return await readStoredKickstart(kickstart, { files, request, release, allowed: untrustedCode });
}

/** A log that is missing, empty or huge is no reason to lose what else there is. */
async function keptLogs({ logs = [] }: ImageEngine, workspace: Workspace, { files, log }: StageContext): Promise<readonly Artifact[]> {
  const named = await Promise.all(
    logs.map(async (path) => {
      const inside = await workspace.list(path);
      return inside.length > 0 ? inside.map((name) => `${path}/${name}`) : [path];
    }),
  );
  const artifacts: Artifact[] = [];
  for (const path of named.flat()) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const size = await workspace.size(path);
    if (!size || size > logBytesMax || artifacts.length >= logsMax || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)) continue;
    if (artifacts.some((artifact) => artifact.name === name)) continue;
    try {
      const text = hideHashes((await workspace.readText(path, logBytesMax)).replaceAll(`${workspace.path}/`, ''));
      artifacts.push({ name, mediaType: 'text/plain', ...(await storeContent(files, text)) });
    } catch (error) {
      log(stageName, `${name} could not be kept: ${error instanceof SpindleError ? error.message : 'it cannot be read'}`);
    }
  }
  return artifacts;
}

async function readJson(files: Files, ref: FileRef): Promise<unknown> {
  return JSON.parse(await readContentText(files, ref, jsonBytesMax));
}

/** Names go onto command lines and into recipes. What metadata calls a package is a stranger's word until here. */
function checkNames({ packages }: Resolution): void {
  for (const item of packages) {
    const parsed = parseNevra(item.nevra);
    if (!parsed || formatNevra(parsed) !== item.nevra || parsed.name !== item.name) {
      throw new SpindleError(
        'PACKAGE_MISMATCH',
        `the resolution names a package ${JSON.stringify(item.name.slice(0, 200))} as ${JSON.stringify(item.nevra.slice(0, 200))}, which no RPM is called`,
      );
    }
  }
}

/** Both stand there, also where one has nothing: an engine's recipe names both. Nothing may write to them. Resolves with where they really stand. */
async function showRepositories(workspace: Workspace, { repositories }: RepositorySet, { rpms, signal }: StageContext): Promise<readonly string[]> {
  const trees: string[] = [];
  for (const { id, files } of repositories) trees.push(await rpms.showRepository(files, workspace, layout[id], signal));
  return trees;
}

async function writeRecipe(workspace: Workspace, { files, directories }: Recipe): Promise<void> {
  await Promise.all([
    ...files.map(({ path, content }) => workspace.write(path, content)),
    ...directories.map((directory) => workspace.makeDirectory(directory)),
  ]);
}

interface FailedScriptlet {
  readonly line: string;
  readonly scriptlet: string;
  /** As rpm names a package, without an epoch. */
  readonly nevra: string;
}

/** Runs the engine's steps. Returns the image's path in the workspace, media check implanted. */
async function makeImage(engine: ImageEngine, recipe: Recipe, workspace: Workspace, resolution: Resolution, context: StageContext): Promise<string> {
  const { programs, request, signal, log, phase, progress } = context;
  const shares = recipe.steps.map(({ share = 1 }) => share);
  const shareOfAll = shares.reduce((sum, share) => sum + share, 0);
  let lines = lastLines(linesKeptMax, charactersKeptMax);
  for (const [index, { what, run, sandbox, tool: speaker = run.command }] of recipe.steps.entries()) {
    // An engine that is one tool goes by its own name; of several, the one that speaks is named.
    const tool = recipe.steps.length > 1 ? speaker : engine.name;
    const before = shares.slice(0, index).reduce((sum, share) => sum + share, 0);
    /** Of the whole image. */
    const tell = (doneOfStep: number, said: string) => progress(Math.round((100 * (before + (shares[index] ?? 1) * doneOfStep)) / shareOfAll), 100, said);
    /** Of an engine that is one tool: which of its own phases it has come to. */
    let own = { done: 0, total: 1 };
    const failed: FailedScriptlet[] = [];
    lines = lastLines(linesKeptMax, charactersKeptMax);
    const onLine = (text: string) => {
      // Where this worker keeps its workspaces says nothing to those who read the log.
      const line = hideHashes(text.replaceAll(`${workspace.path}/`, ''));
      log(tool, line);
      lines.push(line);
      const begun = engine.phase(line);
      if (begun) {
        phase(begun.what);
        own = { done: Math.max(own.done, begun.done), total: begun.total };
        tell(own.done / own.total, begun.what);
      }
      const come = engine.progress(line);
      if (come) tell(Math.min(1, (own.done + come.done / come.total) / own.total), come.what);
      const scriptlet = passedOverScriptlet(line);
      if (scriptlet && failed.length < linesKeptMax) failed.push({ line: line.trim(), ...scriptlet });
    };
    log(stageName, `${run.command} ${run.args.join(' ')}`.replaceAll(`${workspace.path}/`, ''));
    phase(what);
    tell(0, what);
    const result = await programs.run({
      ...run,
      sandbox: { directory: workspace.path, ...sandbox },
      cwd: workspace.path,
      deadlineMs: engineDeadlineMs,
      signal,
      onLine,
      outputBytesMax: 4096,
    });
    if (result.exitCode === 0) {
      judgeScriptlets(failed, resolution.requested, tool, log);
      continue;
    }
    const ending = result.signal === null ? `ended with status ${result.exitCode}` : endedBy(result.signal);
    throw await toolFailure({ engine, tool, ending, lines: lines.all, bytesWanted: resolution.installedBytes }, { workspace, programs });
  }
  phase('implanting the media check');
  const image = await takeImage(engine, workspace, request, lines.all.slice(-10));
  // Some tools have implanted a sum already.
  await runChecked(image, workspace, { command: 'implantisomd5', args: ['--force'] }, 'implanting the media check failed', context);
  return image;
}

/** Bounds and cancels have words of their own; here nobody of ours sent the signal. */
function endedBy(signal: string): string {
  if (['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP', 'SIGSYS'].includes(signal)) return `crashed (${signal})`;
  return signal === 'SIGKILL' ? 'was killed (SIGKILL), as the kernel does where the whole host is out of memory' : `was ended by ${signal}`;
}

/** rpm goes on after a scriptlet that fails once its package is installed. Of a requested build that is a failure; with the others a release may well live, and the log tells. */
function judgeScriptlets(failed: readonly FailedScriptlet[], requested: readonly string[], tool: string, log: StageContext['log']): void {
  const asked = new Set(requested.map((text) => text.replace(/-\d+:/, '-')));
  const fatal = failed.find(({ nevra }) => asked.has(nevra));
  if (fatal) {
    throw new SpindleError(
      'ENGINE_FAILED',
      `${tool} installed ${fatal.nevra}, which was asked for, but its %${fatal.scriptlet} scriptlet failed: ${fatal.line}`,
      {
        details: failed.slice(0, 20).map(({ line }) => line),
      },
    );
  }
  for (const { nevra, scriptlet } of failed) log(stageName, `warning: the %${scriptlet} scriptlet of ${nevra} failed; the package is installed all the same`);
}

/** Reads the finished image back. Throws REQUESTED_BUILD_MISSING where it lacks what was asked for; lesser differences are told in the log and by the manifest. */
async function checkImage(
  image: string,
  workspace: Workspace,
  { resolution, repositories }: { readonly resolution: Resolution; readonly repositories: RepositorySet },
  context: StageContext,
): Promise<{ readonly contents: readonly ImagePackage[]; readonly comparison: Comparison }> {
  const { programs, request, signal, log, phase } = context;
  phase('reading the image back');
  const [, { packages: installed, source }] = await both(
    runChecked(image, workspace, { command: 'checkisomd5', args: [] }, 'the image fails its own media check', context),
    readImageContents(image, request.imageType, { programs, workspace, signal, log }),
  );
  const signers = new Map(repositories.repositories.flatMap(({ files }) => files.map(({ sha256, signedBy = null }) => [sha256, signedBy] as const)));
  const comparison = compareContents(installed, resolution, signers);
  tellEach('resolved, but not in the image', comparison.missing, log);
  tellEach('in the image, but not resolved', comparison.unexpected, log);
  if (comparison.requestedMissing.length > 0) {
    const missing = comparison.requestedMissing.map(
      ({ nevra, instead }) => `${nevra} (${instead.length > 0 ? `it holds ${instead.join(', ')}` : 'it holds none'})`,
    );
    throw new SpindleError(
      'REQUESTED_BUILD_MISSING',
      `the finished image lacks ${missing.slice(0, 10).join('; ')}${missing.length > 10 ? ` and ${missing.length - 10} more` : ''}`,
      {
        details: missing,
      },
    );
  }
  log(stageName, `${source} lists ${installed.length} packages, every requested build among them`);
  return { contents: installed, comparison };
}

/** The manifest has all of them: an image that was made by adding to another holds hundreds that nobody resolved. */
function tellEach(what: string, nevras: readonly string[], log: StageContext['log']): void {
  for (const nevra of nevras.slice(0, differencesToldMax)) log(stageName, `${what}: ${nevra}`);
  if (nevras.length > differencesToldMax) log(stageName, `${what}: ${nevras.length - differencesToldMax} more`);
}

/** `args`: before the image's path. */
async function runChecked(
  image: string,
  workspace: Workspace,
  { command, args }: Pick<ProgramRequest, 'command' | 'args'>,
  complaint: string,
  { programs, signal }: StageContext,
): Promise<void> {
  const file = `${workspace.path}/${image}`;
  const result = await programs.run({ command, args: [...args, file], signal, isolation: 'private-no-network', deadlineMs: 15 * 60_000 });
  if (result.exitCode !== 0) {
    throw new SpindleError('IMAGE_UNREADABLE', `${complaint}: ${command} ended with ${result.signal ?? `status ${result.exitCode}`}`, {
      details: `${result.stdout}\n${result.stderr}`.split('\n').filter(Boolean).slice(-10),
    });
  }
}

/** Asks each tool once in the life of the process. A tool that cannot say is no reason to fail a build that it may well make. */
function toolVersions(): (engine: ImageEngine, context: StageContext) => Promise<string | undefined> {
  const known = new Map<string, string>();
  return async ({ name, version }, { programs, signal }) => {
    const found = known.get(name);
    if (found !== undefined) return found;
    const answer = await programs.run({ command: version.command, args: version.args, deadlineMs: 60_000, signal }).catch(() => undefined);
    const text = answer?.exitCode === 0 ? version.read(answer.stdout) : undefined;
    if (text !== undefined) known.set(name, text);
    return text;
  };
}

/** Both results, or the first's error before the second's. Unlike Promise.all it leaves nobody running in a workspace that is about to go. */
async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<readonly [A, B]> {
  const [a, b] = await Promise.allSettled([first, second]);
  if (a.status === 'rejected') throw a.reason;
  if (b.status === 'rejected') throw b.reason;
  return [a.value, b.value];
}
