/** The repository as the architecture tests see it: its files, and of each TypeScript file what it imports and which names of the runtime it uses. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

interface Import {
  /** As written: a package, a `node:` module, or for a file of ours its path from the repository. */
  readonly target: string;
  readonly isOurs: boolean;
  /** Gone at run time. */
  readonly isTypeOnly: boolean;
}

export interface Source {
  /** From the repository, with slashes. */
  readonly path: string;
  readonly text: string;
  /** The doc comment at the top; empty where there is none. */
  readonly opening: string;
  readonly imports: readonly Import[];
  /** Effects that are named in code, not in comments or strings: `process.env`, `Date.now`, `Math.random`, `new Date()`, `setTimeout`, `setInterval`. */
  readonly effects: readonly string[];
}

/** What git ignores here, and what it does not list. */
const ignored = new Set([
  '.git',
  ...readFileSync(join(root, '.gitignore'), 'utf8')
    .split('\n')
    .map((line) => line.replace(/\/$/, '')),
]);

/** Every file of the repository, sorted. */
export function allFiles(directory = root): readonly string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter(({ name }) => !ignored.has(name) && !ignored.has(relative(root, join(directory, name))) && !name.endsWith('.log'))
    .flatMap((entry) => (entry.isDirectory() ? allFiles(join(directory, entry.name)) : [relative(root, join(directory, entry.name))]))
    .sort();
}

export function readSources(): readonly Source[] {
  return allFiles()
    .filter((path) => path.endsWith('.ts'))
    .map(readSource);
}

function readSource(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8');
  const file = ts.createSourceFile(basename(path), text, ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const effects = new Set<string>();
  const add = (specifier: ts.Node | undefined, isTypeOnly: boolean) => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return;
    const isOurs = specifier.text.startsWith('.');
    imports.push({ target: isOurs ? relative(root, resolve(root, dirname(path), specifier.text)) : specifier.text, isOurs, isTypeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node)) {
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], false);
      const called = node.expression.getText(file);
      if (/^(globalThis\.)?(setTimeout|setInterval)$/.test(called)) effects.add(called);
    } else if (ts.isPropertyAccessExpression(node)) {
      const name = node.getText(file);
      if (name === 'process.env' || name === 'Date.now' || name === 'Math.random' || name === 'performance.now') effects.add(name);
    } else if (ts.isNewExpression(node) && node.expression.getText(file) === 'Date' && !node.arguments?.length) effects.add('new Date()');
    ts.forEachChild(node, visit);
  };
  visit(file);
  return { path, text, opening: /^(?:#![^\n]*\n)?\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? '', imports, effects: [...effects] };
}

/** The first cycle found among imports that exist at run time, as a path that ends where it began. */
export function importCycle(sources: readonly Source[]): readonly string[] | undefined {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): readonly string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const { target, isOurs, isTypeOnly } of byPath.get(path)?.imports ?? []) {
      const found = isOurs && !isTypeOnly ? walk(target, [...trail, path]) : undefined;
      if (found) return found;
    }
    done.add(path);
    return undefined;
  };
  for (const { path } of sources) {
    const found = walk(path, []);
    if (found) return found;
  }
  return undefined;
}
