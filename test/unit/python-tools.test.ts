/** The Python tools that tests use: each at one version, and able to start. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pythonTool, pythonToolMissing } from '../support/python-tools.ts';

const list = readFileSync(new URL('../../bin/python-tools.txt', import.meta.url), 'utf8');

test('every package of the list is pinned to one version', () => {
  const packages = list.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(packages.length).toBeGreaterThan(10);
  expect(packages.filter((line) => !/^[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*$/.test(line))).toEqual([]);
});

test('what is installed is whole: nothing that a tool needs is missing', ({ skip }) => {
  const python = pythonTool('python3') ?? skip(pythonToolMissing);
  const { status, stdout, stderr } = spawnSync(python, ['-m', 'pip', '--disable-pip-version-check', 'check'], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toMatchObject({ status: 0 });
});
