/** A reporter for vitest that leaves what `npm test` ends with in a file: how many tests passed and failed, and which were skipped, with their reasons. */
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { root } from './set-up.mjs';

/** `{ passed, failed, skipped: [{ name, reason }], broken: [text] }`. A file that could not be run counts as one failed test. */
function summarize(testModules, unhandledErrors) {
  const summary = { passed: 0, failed: 0, skipped: [], broken: unhandledErrors.map((error) => `outside of any test: ${firstLine(error)}`) };
  for (const module of testModules) {
    const file = relative(root, module.moduleId);
    for (const test of module.children.allTests()) {
      const { state, note } = test.result();
      if (state === 'passed') summary.passed += 1;
      else if (state === 'failed') summary.failed += 1;
      else summary.skipped.push({ name: `${file}: ${test.fullName}`, reason: note });
    }
    const errors = [...module.errors(), ...[...module.children.allSuites()].flatMap((suite) => suite.errors())];
    summary.broken.push(...errors.map((error) => `${file}: ${firstLine(error)}`));
  }
  summary.failed += summary.broken.length;
  return summary;
}

const firstLine = (error) => String(error?.message ?? error).split('\n')[0];

// biome-ignore lint/style/noDefaultExport: vitest takes a reporter from a module's default export.
export default class TestReport {
  onTestRunEnd(testModules, unhandledErrors) {
    writeFileSync(process.env.SPINDLE_TEST_REPORT, JSON.stringify(summarize(testModules, unhandledErrors)));
  }
}
