/** Writes the advisories that are in updates-testing as updateinfo.xml, which installers read from the repository. Pure. */
import { advisories } from './bodhi-content.ts';
import { nvrOf } from './koji-content.ts';
import type { BuiltRpm } from './koji-records.ts';

/** `rpms`: those of the repository, sources among them. */
export function updateinfo(rpms: readonly BuiltRpm[]): string {
  const inTesting = advisories.filter(({ status, release }) => status === 'testing' && release.shown.name === 'SAMPLE');
  const updates = inTesting.map(
    ({ alias, nvrs, submitted, release, notes }) => `  <update from="updates@sample.invalid" status="testing" type="bugfix" version="2.0">
    <id>${alias}</id>
    <title>${nvrs.join(' ')}</title>
    <issued date="${submitted}"/>
    <rights>Copyright of nobody</rights>
    <release>${release.shown.long_name}</release>
    <severity>None</severity>
    <summary>${nvrs.join(' ')} bugfix update</summary>
    <description>${notes}</description>
    <references/>
    <pkglist>
      <collection short="${release.shown.name}">
        <name>${release.shown.long_name}</name>
${rpms
  .filter(({ nvrOfSource, name, arch }) => nvrs.includes(nvrOfSource) && arch !== 'src' && !/-debug(info|source)$/.test(name))
  .map(
    (
      rpm,
    ) => `        <package name="${rpm.name}" version="${rpm.version}" release="${rpm.release}" epoch="${rpm.epoch ?? 0}" arch="${rpm.arch}" src="${rpm.nvrOfSource}.src.rpm">
          <filename>${nvrOf(rpm)}.${rpm.arch}.rpm</filename>
        </package>`,
  )
  .join('\n')}
      </collection>
    </pkglist>
  </update>`,
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n${updates.join('\n')}\n</updates>\n`;
}
