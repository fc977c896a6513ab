/** What every adapter of the repositories port promises, as one suite, on repositories that a test serves. */
import { createHash } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readRepomd } from '../../shared/repositories/repomd.ts';
import type { Repositories, RepositorySource } from '../../shared/repositories/repositories.ts';

export interface RepositoriesUnderTest {
  readonly repositories: Repositories;
  /** Serves these files (path below `/NAME/` → content) from now on, in the place of those before. */
  serve(name: string, files: ReadonlyMap<string, string | Uint8Array>): void;
  /** `http://127.0.0.1:1234` */
  readonly base: string;
  /** What was asked for, in order: paths. */
  readonly asked: string[];
  /** Answers with this status instead, for paths that begin so. Undefined: no longer. */
  fail(prefix: string, status: number | undefined): void;
  /** Time passes. */
  later(ms: number): void;
  close(): Promise<void>;
}

export interface RepositoryOptions {
  readonly revision?: string;
  readonly primary?: string | Uint8Array;
  readonly compress?: (content: Uint8Array) => Uint8Array;
  /** Changes the finished repomd.xml. */
  readonly change?: (repomd: string) => string;
  readonly openSize?: number;
}

const sha256 = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex');

export const primaryXml = (name = 'hello') =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" packages="1"><package type="rpm"><name>${name}</name></package></metadata>\n`;

/** A repository's files: repomd.xml and primary. */
export function repositoryFiles(options: RepositoryOptions = {}): ReadonlyMap<string, string | Uint8Array> {
  const open = Buffer.from(options.primary ?? primaryXml());
  const content = options.compress?.(open) ?? open;
  const location = `repodata/${sha256(content)}-primary.xml`;
  const repomd = [
    `<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>${options.revision ?? '1'}</revision>`,
    `<data type="primary"><checksum type="sha256">${sha256(content)}</checksum><open-checksum type="sha256">${sha256(open)}</open-checksum>`,
    `<location href="${location}"/><size>${content.byteLength}</size><open-size>${options.openSize ?? open.byteLength}</open-size></data>`,
    // What dnf would fetch or fail for, if it read of it: no such file is served.
    ...['primary_zck', 'modules', 'prestodelta'].map(
      (type) => `<data type="${type}"><checksum type="sha256">${sha256(type)}</checksum><location href="repodata/${type}"/></data>`,
    ),
    '</repomd>\n',
  ].join('');
  return new Map<string, string | Uint8Array>([
    ['repodata/repomd.xml', options.change?.(repomd) ?? repomd],
    [location, content],
  ]);
}

function metalinkXml(repomd: string | Uint8Array, urls: readonly string[]): string {
  const hash = (type: string) => `<hash type="${type}">${createHash(type).update(repomd).digest('hex')}</hash>`;
  const mirrors = urls.map((url, place) => `<url protocol="http" type="http" preference="${100 - place}">${url}repodata/repomd.xml</url>`).join('');
  return (
    `<?xml version="1.0" encoding="utf-8"?>\n<metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="http://fedorahosted.org/mirrormanager"><files><file name="repomd.xml">` +
    `<mm0:timestamp>1</mm0:timestamp><size>${repomd.length}</size><verification>${hash('sha256')}${hash('sha512')}</verification><resources>${mirrors}</resources></file></files></metalink>\n`
  );
}

export function repositoriesContract(name: string, make: () => Promise<RepositoriesUnderTest>): void {
  describe(`repositories: ${name}`, () => {
    const made: RepositoriesUnderTest[] = [];
    const adapter = async () => {
      const one = await make();
      made.push(one);
      return one;
    };
    afterEach(async () => {
      for (const one of made.splice(0)) {
        await one.repositories.close();
        await one.close();
      }
    });
    const never = new AbortController().signal;
    const at = (under: RepositoriesUnderTest, place: string, id = 'r'): RepositorySource => ({ id, baseurl: `${under.base}/${place}/` });
    const open = (under: RepositoriesUnderTest, source: RepositorySource, log?: (line: string) => void) =>
      under.repositories.open(source, { signal: never, ...(log ? { log } : {}) });

    it('fetches what the solver reads, and nothing else', async () => {
      const under = await adapter();
      const files = repositoryFiles();
      under.serve('a', files);
      const snapshot = await open(under, at(under, 'a'));
      expect(snapshot).toMatchObject({
        revision: '1',
        mirrors: [`${under.base}/a/`],
        openBytes: primaryXml().length,
        digest: sha256(files.get('repodata/repomd.xml') ?? ''),
      });
      const primary = [...files.keys()].find((path) => path.endsWith('-primary.xml')) ?? '';
      expect(await readFile(join(snapshot.directory, primary), 'utf8')).toBe(primaryXml());
      expect(under.asked).toEqual(['/a/repodata/repomd.xml', `/a/${primary}`]);
      const published = await readFile(join(snapshot.directory, 'repodata/repomd.xml'), 'utf8');
      expect(published.match(/type="[a-z_]+"><checksum|data type="[a-z_]+"/g)).toEqual(['data type="primary"']);
      expect(readRepomd(published)).toEqual(readRepomd(String(files.get('repodata/repomd.xml'))));
      snapshot.release();
      snapshot.release();
    });

    it('asks once for many, also under other names', async () => {
      const under = await adapter();
      under.serve('a', repositoryFiles());
      const snapshots = await Promise.all(['one', 'two', 'three'].map((id) => open(under, at(under, 'a', id))));
      expect(new Set(snapshots.map(({ directory }) => directory)).size).toBe(1);
      await open(under, at(under, 'a'));
      expect(under.asked).toHaveLength(2);
    });

    it('looks again when its time is up, and fetches only what is new', async () => {
      const under = await adapter();
      under.serve('a', repositoryFiles());
      const first = await open(under, at(under, 'a'));
      under.later(3600_000);
      const same = await open(under, at(under, 'a'));
      expect(same.digest).toBe(first.digest);
      expect(under.asked).toHaveLength(3);
      under.serve('a', repositoryFiles({ revision: '2' }));
      under.later(3600_000);
      const next = await open(under, at(under, 'a'));
      expect(next).toMatchObject({ revision: '2' });
      expect(next.digest).not.toBe(first.digest);
      // The same primary metadata is linked, not fetched; and who holds the old state still has it.
      expect(under.asked).toHaveLength(4);
      await access(join(first.directory, 'repodata/repomd.xml'));
    });

    it('lets one go without ending the fetch of the others', async () => {
      const under = await adapter();
      under.serve('a', repositoryFiles());
      const leaving = new AbortController();
      const [left, stayed] = [under.repositories.open(at(under, 'a'), { signal: leaving.signal }), open(under, at(under, 'a'))];
      leaving.abort(new Error('gone'));
      await expect(left).rejects.toThrow('gone');
      expect(await stayed).toMatchObject({ revision: '1' });
      // And a fetch that nobody waits for is no obstacle to the next.
      under.later(3600_000);
      const alone = new AbortController();
      const given = under.repositories.open(at(under, 'a'), { signal: alone.signal });
      alone.abort(new Error('gone too'));
      await expect(given).rejects.toThrow('gone too');
      expect(await open(under, at(under, 'a'))).toMatchObject({ revision: '1' });
    });

    it('goes through a metalink: passes over mirrors that fail, lie or are stale', async () => {
      const under = await adapter();
      const files = repositoryFiles();
      const repomd = files.get('repodata/repomd.xml') ?? '';
      under.serve('good', files);
      under.serve('stale', repositoryFiles({ revision: '0' }));
      under.serve('lies', new Map([...files].map(([path, content]) => [path, path.includes('primary') ? 'x'.repeat(content.length) : content])));
      under.serve(
        'link',
        new Map([
          [
            'metalink',
            metalinkXml(
              repomd,
              ['gone', 'stale', 'lies', 'good'].map((place) => `${under.base}/${place}/`),
            ),
          ],
        ]),
      );
      const lines: string[] = [];
      const snapshot = await open(under, { id: 'r', metalink: `${under.base}/link/metalink` }, (line) => lines.push(line));
      expect(snapshot.mirrors[0]).toBe(`${under.base}/good/`);
      expect(snapshot.mirrors).toHaveLength(4);
      expect(lines).toEqual([expect.stringMatching(/gone.*404/), expect.stringMatching(/stale.*stale or false/), expect.stringMatching(/lies.*instead of/)]);
      // Those that lied are passed over at once the next time.
      under.later(301_000);
      await open(under, { id: 'r', metalink: `${under.base}/link/metalink` });
      expect(under.asked.filter((path) => path.startsWith('/lies/'))).toHaveLength(2);
      expect(under.asked.filter((path) => path.startsWith('/stale/'))).toHaveLength(1);
    });

    it('goes through a mirrorlist', async () => {
      const under = await adapter();
      under.serve('good', repositoryFiles());
      under.serve('list', new Map([['mirrors', `# mirrors\nftp://x/\n${under.base}/gone\n${under.base}/good\n`]]));
      expect((await open(under, { id: 'r', mirrorlist: `${under.base}/list/mirrors` })).mirrors).toEqual([`${under.base}/good/`, `${under.base}/gone/`]);
      under.serve('list', new Map([['none', '<html>not now</html>']]));
      await expect(open(under, { id: 'r', mirrorlist: `${under.base}/list/none` })).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE' });
      await expect(open(under, { id: 'r', metalink: `${under.base}/list/none` })).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE' });
    });

    it('tries again where a host fails in passing, and never takes an old state for the present one', async () => {
      const under = await adapter();
      under.serve('a', repositoryFiles());
      under.fail('/a/', 503);
      await expect(open(under, at(under, 'a'))).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE', message: expect.stringContaining('503') });
      expect(under.asked.length).toBeGreaterThan(1);
      under.fail('/a/', undefined);
      const good = await open(under, at(under, 'a'));
      under.fail('/a/', 500);
      // What was looked at lately is still good; later it has to be asked for.
      expect((await open(under, at(under, 'a'))).digest).toBe(good.digest);
      under.later(3600_000);
      await expect(open(under, at(under, 'a'))).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE' });
    });

    const entities = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "b">]>\n<metadata>&a;</metadata>';
    it.each<[string, RepositoryOptions, RegExp]>([
      ['that opens to more than it announces', { primary: primaryXml('x'.repeat(1000)), openSize: 100 }, /opens to more than the 100 bytes/],
      ['that opens to less than it announces', { openSize: 100_000 }, /opens to \d+ bytes instead of 100000/],
      [
        'with a wrong checksum once opened',
        {
          change: (text) =>
            text
              .replace(/(<open-checksum type="sha256">)./, '$1z')
              .replace('z', '0')
              .replace(/<open-checksum type="sha256">0/, '<open-checksum type="sha256">f'),
        },
        /has the sha256/,
      ],
      [
        'with a wrong checksum',
        { change: (text) => text.replace(/<checksum type="sha256">[0-9a-f]{64}/, `<checksum type="sha256">${'0'.repeat(64)}`) },
        /instead of .* with 0{64}/,
      ],
      ['with entities', { primary: entities }, /declares entities/],
      ['with a document type', { primary: '<?xml version="1.0"?>\n<!DOCTYPE metadata SYSTEM "x">\n<metadata/>' }, /document type/],
      ['with a name that does not end', { primary: primaryXml('x'.repeat(1_000_000)) }, /more than 262144 bytes/],
      ['that is not text', { primary: `${primaryXml()}\0` }, /NUL/],
      ['that climbs out', { change: (text) => text.replace('href="repodata/', 'href="../repodata/') }, /leads out of the repository/],
      ['with an absolute location', { change: (text) => text.replace('href="repodata/', 'href="/etc/repodata/') }, /leads out of the repository/],
      ['with a file: location', { change: (text) => text.replace('href="repodata/', 'href="file:///etc/') }, /leads out of the repository/],
      ['with an encoded climb', { change: (text) => text.replace('href="repodata/', 'href="%2e%2e/') }, /leads out of the repository/],
      ['with another base', { change: (text) => text.replace('<location href', '<location xml:base="http://elsewhere/" href') }, /another place/],
      ['with entities in repomd.xml', { change: (text) => text.replace('<repomd', '<!DOCTYPE x [<!ENTITY a "b">]><repomd') }, /document type/],
      ['that is cut in the middle', { change: (text) => text.slice(0, 200) }, /not well-formed/],
      ['without a checksum that counts', { change: (text) => text.replace('<checksum type="sha256">', '<checksum type="md5">') }, /only SHA-256 and SHA-512/],
      ['without primary metadata', { change: (text) => text.replace('type="primary"', 'type="secondary"') }, /names no primary/],
      ['that says it is huge', { change: (text) => text.replace(/<size>\d+/, '<size>900000000000') }, /at most \d+ are read/],
    ])('refuses metadata %s', async (_, options, message) => {
      const under = await adapter();
      under.serve('bad', repositoryFiles(options));
      await expect(open(under, at(under, 'bad'))).rejects.toMatchObject({ code: 'REPOSITORY_METADATA_REFUSED', message: expect.stringMatching(message) });
      // It can be mended, and is taken then.
      under.serve('bad', repositoryFiles());
      under.later(3600_000);
      expect(await open(under, at(under, 'bad'))).toMatchObject({ revision: '1' });
    });

    it.each([{}, { baseurl: 'http://a/', metalink: 'http://a/' }, { baseurl: 'file:///etc/' }, { baseurl: 'not a url' }])(
      'refuses the address %j',
      async (address) => {
        const under = await adapter();
        await expect(open(under, { id: 'r', ...address })).rejects.toMatchObject({ code: 'REMOTE_REFUSED' });
      },
    );

    it('is closed for good', async () => {
      const under = await adapter();
      await under.repositories.close();
      await under.repositories.close();
      await expect(open(under, at(under, 'a'))).rejects.toMatchObject({ code: 'PORT_CLOSED' });
    });
  });
}
