/** The `%packages` sections of a kickstart: which packages, groups and environments are wanted and which not. Pure. */
import { PackageSpec } from '../build/request.ts';
import { type KickstartProblem, type KickstartSection, optionNames } from './kickstart.ts';

export interface PackagesSection {
  readonly install: readonly string[];
  readonly exclude: readonly string[];
  /** Options of the section that go into the merged kickstart as they stand. */
  readonly options: readonly string[];
}

const keptOptions = ['excludedocs', 'inst-langs', 'instLangs', 'timeout', 'retries'] as const;

const refusedOptions: Readonly<Record<string, string>> = {
  ignoremissing: 'what is missing is never passed over; leave the option out, and what does not exist too',
  ignorebroken: 'what cannot be installed is never passed over; leave the option out',
  'exclude-weakdeps': 'weak dependencies come along; name what you do not want as -NAME',
  excludeWeakdeps: 'weak dependencies come along; name what you do not want as -NAME',
  multilib: 'name the packages of the second architecture, such as glibc.i686',
  default: 'name the groups that you want',
  nobase: 'it has had no meaning since Fedora 22; leave it out',
};

/** Every `%packages` of a kickstart together. As in the installer, each brings `@core` unless it says `--nocore`. */
export function readPackages(sections: readonly KickstartSection[]): { readonly packages: PackagesSection; readonly problems: readonly KickstartProblem[] } {
  const problems: KickstartProblem[] = [];
  const install = new Set<string>();
  const exclude = new Set<string>();
  const options: string[] = [];
  const ofPackages = sections.filter(({ name }) => name === '%packages');
  if (ofPackages.length > 0 && !ofPackages.some(({ words }) => optionNames(words).includes('nocore'))) install.add('@core');
  for (const section of ofPackages) {
    for (const option of optionNames(section.words)) {
      const refusal = Object.hasOwn(refusedOptions, option) ? refusedOptions[option] : undefined;
      if (refusal) problems.push({ place: section.place, what: `has --${option}: ${refusal}` });
      else if (option !== 'nocore' && !keptOptions.some((kept) => kept === option))
        problems.push({ place: section.place, what: `has an option that %packages does not have here; it takes --nocore, --excludedocs and --inst-langs` });
    }
    options.push(...section.words.filter((word) => word !== '--nocore'));
    for (const { text, place } of section.lines) {
      const entry = (text.split('#')[0] ?? '').trim();
      if (entry === '') continue;
      const isExcluded = entry.startsWith('-');
      const spec = isExcluded ? entry.slice(1) : entry;
      const what = entryProblem(spec);
      if (what) problems.push({ place, what });
      else (isExcluded ? exclude : install).add(spec);
    }
  }
  const both = [...exclude].filter((spec) => install.has(spec) && spec !== '@core');
  for (const spec of both) {
    const place = ofPackages.flatMap(({ lines }) => lines).find(({ text }) => text.trim().startsWith(`-${spec}`))?.place;
    if (place) problems.push({ place, what: `leaves out ${JSON.stringify(spec.slice(0, 80))}, which %packages also names; take one of the two away` });
  }
  if (exclude.has('@core')) {
    install.delete('@core');
    exclude.delete('@core');
  }
  return { packages: { install: [...install], exclude: [...exclude], options }, problems };
}

function entryProblem(spec: string): string | undefined {
  if (/^@.*\s--(nodefaults|optional)\b/.test(spec)) return 'asks for a part of a group, which is not taken; name the group, or its packages one by one';
  if (/^@[^/]*[:/]/.test(spec)) return 'names a module; modules are gone from Fedora, so name the packages';
  if (/\s/.test(spec)) return 'names more than one package; write each on a line of its own';
  return PackageSpec.safeParse(spec).success ? undefined : 'names no package, @group, glob or file';
}
