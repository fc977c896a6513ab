/** What Sample Linux's Bodhi knows: two releases and their advisories, with the fields of the real server's answers. Pure. */
import { createHash } from 'node:crypto';
import { advisoryAliases, sampleRelease, sideTag } from './known-names.ts';

export interface BodhiRelease {
  readonly id: number;
  /** As the server shows it, under the server's own names. */
  readonly shown: { readonly name: string; readonly long_name: string; readonly version: string; readonly dist_tag: string; readonly state: string } & Readonly<
    Record<string, string | boolean | null>
  >;
}

function release(id: number, name: string, longName: string, version: string, tag: string, hasUpdatesTag: boolean): BodhiRelease {
  return {
    id,
    shown: {
      ...{ name, long_name: longName, version, id_prefix: 'FEDORA', branch: tag, dist_tag: tag },
      ...{ stable_tag: hasUpdatesTag ? `${tag}-updates` : tag, testing_tag: `${tag}-updates-testing`, candidate_tag: `${tag}-updates-candidate` },
      ...{ pending_signing_tag: `${tag}-signing-pending`, pending_testing_tag: `${tag}-updates-testing-pending` },
      ...{ pending_stable_tag: `${tag}-updates-pending`, override_tag: `${tag}-override`, mail_template: 'fedora_errata_template' },
      ...{ state: 'current', composed_by_bodhi: true, create_automatic_updates: false, package_manager: 'dnf' },
      ...{ testing_repository: 'updates-testing', released_on: '2026-01-06', eol: '2036-01-06', setting_status: null },
    },
  };
}

const sample = release(11, 'SAMPLE', 'Sample Linux 1', sampleRelease.version, 'sample', true);
const other = release(12, 'OTHER', 'Other Linux 1', '2', 'other', false);
export const releases: readonly BodhiRelease[] = [other, sample];

export interface Advisory {
  readonly alias: string;
  readonly release: BodhiRelease;
  readonly nvrs: readonly string[];
  readonly status: 'pending' | 'testing' | 'stable' | 'unpushed' | 'obsolete';
  readonly request: 'testing' | 'stable' | null;
  readonly locked: boolean;
  readonly fromTag: string | null;
  /** Days and times, as Bodhi has them: UTC without saying so. */
  readonly submitted: string;
  readonly testingSince: string | null;
  readonly stableSince: string | null;
  readonly notes: string;
}

const base = { release: sample, request: null, locked: false, fromTag: null, testingSince: null, stableSince: null } as const;

/** Newest first, which is the order that the server answers in. */
export const advisories: readonly Advisory[] = [
  {
    ...{ ...base, alias: advisoryAliases.pending, nvrs: ['sample-tools-1.3-1.sample'], status: 'pending' },
    ...{ submitted: '2026-03-12 09:00:00', notes: 'Nobody has asked for it to be tested yet' },
  },
  {
    ...{ ...base, alias: advisoryAliases.fromSideTag, nvrs: ['sample-app-2.0-1.sample', 'sample-lib-2.0-1.sample'], status: 'pending', request: 'testing' },
    ...{ fromTag: sideTag, submitted: '2026-03-11 09:00:00', notes: 'The library has a new interface; the application is built against it' },
  },
  {
    ...{ ...base, alias: advisoryAliases.locked, nvrs: ['sample-notes-1.3-1.sample'], status: 'pending', request: 'testing', locked: true },
    ...{ submitted: '2026-03-10 09:00:00', notes: 'Is being pushed, for ever' },
  },
  {
    ...{ ...base, alias: advisoryAliases.unpushed, nvrs: ['sample-notes-1.2-1.sample'], status: 'unpushed' },
    ...{ submitted: '2026-03-09 09:00:00', notes: 'Taken back by its owner' },
  },
  {
    ...{ ...base, alias: advisoryAliases.otherRelease, release: other, nvrs: ['hello-0.9-1.other'], status: 'testing' },
    ...{ submitted: '2026-03-08 09:00:00', testingSince: '2026-03-08 12:00:00', notes: 'Says hello in the other release' },
  },
  {
    ...{ ...base, alias: advisoryAliases.testedOnly, nvrs: ['sample-tested-1.0-1.sample'], status: 'testing' },
    ...{ submitted: '2026-03-07 09:00:00', testingSince: '2026-03-07 12:00:00', notes: 'A new package' },
  },
  {
    ...{ ...base, alias: advisoryAliases.testing, nvrs: ['hello-1.1-1.sample'], status: 'testing' },
    ...{ submitted: '2026-03-06 09:00:00', testingSince: '2026-03-06 12:00:00', notes: 'Says hello in a newer version' },
  },
  {
    ...{ ...base, alias: advisoryAliases.stable, nvrs: ['sample-notes-1.1-1.sample', 'sample-tools-1.2-1.sample'], status: 'stable' },
    ...{ submitted: '2026-02-04 09:00:00', testingSince: '2026-02-04 12:00:00', stableSince: '2026-02-11 12:00:00', notes: 'Tested and found good' },
  },
  {
    ...{ ...base, alias: advisoryAliases.obsolete, nvrs: ['sample-tools-1.1-1.sample'], status: 'obsolete' },
    ...{ submitted: '2026-02-03 09:00:00', notes: 'A newer update has taken its place' },
  },
];

/** Of sample-split, which is in no advisory, the epoch would be 1. */
export const buildRow = (nvr: string, { release: of, status }: Pick<Advisory, 'release' | 'status'>) => ({
  nvr,
  signed: status === 'testing' || status === 'stable',
  type: 'rpm',
  release_id: of.id,
  epoch: 0,
});

/** The update object, with every field that the real server sends. `siteUrl` is where people find its page. */
export function updateRow(advisory: Advisory, siteUrl: string) {
  const { alias, nvrs, status, request, locked, fromTag, submitted, testingSince, stableSince, notes } = advisory;
  return {
    ...{ autokarma: true, autotime: true, stable_karma: 1, stable_days: 7, unstable_karma: -1, require_bugs: false, require_testcases: false },
    ...{ display_name: '', notes, type: 'bugfix', status, request, severity: 'unspecified', suggest: 'unspecified', locked },
    ...{ pushed: status === 'testing' || status === 'stable', critpath: false, critpath_groups: null, close_bugs: true },
    ...{ date_submitted: submitted, date_modified: null, date_approved: null, date_testing: testingSince, date_stable: stableSince },
    ...{ alias, test_gating_status: 'passed', from_tag: fromTag, date_pushed: stableSince ?? testingSince, meets_testing_requirements: status === 'stable' },
    ...{ url: `${siteUrl}/bodhi/updates/${alias}`, title: nvrs.join(' ') },
    version_hash: createHash('sha1')
      .update([...nvrs].sort().join(' '))
      .digest('hex'),
    release: advisory.release.shown,
    user: { id: 1, name: 'sample', email: null, avatar: null, openid: null, groups: [{ name: 'packager' }] },
    ...{ comments: [], builds: nvrs.map((nvr) => buildRow(nvr, advisory)), bugs: [] },
    ...{ updateid: alias, karma: 0, content_type: 'rpm', test_cases: [] },
  };
}
export type BodhiUpdateRow = ReturnType<typeof updateRow>;

/** Of the source package. */
export const packageOf = (nvr: string) => nvr.replace(/-[^-]+-[^-]+$/, '');
