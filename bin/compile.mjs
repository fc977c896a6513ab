/**
 * Makes `dist/` of the sources: each TypeScript file on its own, without looking at types (`npm run check` does that), and what else the program reads. Only what is
 * older than its source is made again, so that a second call costs the look at a few hundred files.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './set-up.mjs';

const folders = ['services', 'shared', 'clients', 'examples', 'test'];
const assets = /\.(py|yaml|sh|json)$/;
/** Golden files and the tests' own configuration are read from where they are. */
const left = /(^|\/)golden(\/|$)|\.test\.ts$|vitest\.config\.ts$/;

function* filesBelow(folder) {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (left.test(path)) continue;
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile() && (entry.name.endsWith('.ts') || assets.test(entry.name))) yield path;
  }
}

const outputOf = (path) => join(root, 'dist', path.replace(/\.ts$/, '.js'));

function isStale(path) {
  const made = statSync(outputOf(path), { throwIfNoEntry: false });
  const source = statSync(join(root, path));
  return made === undefined || made.mtimeMs < source.mtimeMs || made.mtimeMs < statSync(import.meta.filename).mtimeMs;
}

/** A half-written file is never in its place: several commands may compile at once. */
function put(path, write) {
  const output = outputOf(path);
  const temporary = `${output}.${process.pid}`;
  mkdirSync(dirname(output), { recursive: true });
  write(temporary);
  renameSync(temporary, output);
}

/** Compiles what is stale. Returns the URL that a source file's compiled twin has. */
export async function compile() {
  const stale = folders.flatMap((folder) => (existsSync(join(root, folder)) ? [...filesBelow(folder)] : [])).filter(isStale);
  if (stale.length > 0) {
    const { default: ts } = await import('typescript');
    const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
    const { options } = ts.convertCompilerOptionsFromJson(
      { ...config.compilerOptions, module: 'esnext', moduleResolution: 'bundler', sourceMap: false, inlineSourceMap: true },
      root,
    );
    for (const path of stale) {
      if (!path.endsWith('.ts')) {
        put(path, (temporary) => copyFileSync(join(root, path), temporary));
        continue;
      }
      const { outputText } = ts.transpileModule(readFileSync(join(root, path), 'utf8'), { compilerOptions: options, fileName: join(root, path) });
      put(path, (temporary) => writeFileSync(temporary, outputText));
    }
  }
  return (path) => pathToFileURL(outputOf(path));
}
