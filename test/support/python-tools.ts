/** Where the Python tools stand that bin/python-tools.mjs installs for the tests. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const environment = fileURLToPath(new URL('../../.set-up/python-tools/', import.meta.url));

/** The tool's path; undefined where it is not installed: then skip with `pythonToolMissing`. */
export function pythonTool(name: 'pyspdxtools' | 'ksvalidator' | 'ksflatten' | 'python3'): string | undefined {
  const path = `${environment}bin/${name}`;
  return existsSync(`${environment}installed.txt`) && existsSync(path) ? path : undefined;
}

export const pythonToolMissing = 'its Python tool is not installed: node bin/python-tools.mjs installs it from PyPI';
