/** A process of its own for crash tests: downloads the RPM that its argument names into the state below its directory. */
import { join } from 'node:path';
import { systemClock } from '../../shared/clock/system.ts';
import { localPartialFiles } from '../../shared/downloads/local.ts';
import { httpEgress } from '../../shared/egress/http.ts';
import { localFiles } from '../../shared/files/local.ts';
import type { RpmSource, WantedRpm } from '../../shared/rpm/fetch-rpm.ts';
import { rpmDownloads } from '../../shared/rpm/rpm-downloads.ts';
import { contentTarget } from '../../shared/rpm/stored-rpm.ts';

const [, script, question] = process.argv;
if (script?.endsWith('download-rpm.ts') && question) {
  const { directory, rpm } = JSON.parse(question) as { readonly directory: string; readonly rpm: WantedRpm<RpmSource> };
  const clock = systemClock();
  const egress = httpEgress({ userAgent: 'spindle-test/1 (+https://example.org)', allow: ['127.0.0.1/32'] });
  const target = contentTarget(localFiles({ directory: join(directory, 'files') }));
  const downloads = rpmDownloads({ egress, clock, partials: localPartialFiles({ directory: join(directory, 'downloads'), clock }), target });
  await downloads.fetch(rpm, { signal: new AbortController().signal });
}
