/** Settings and the releases file: defaults, every problem at once, and nothing secret in a message. */
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigProblem, readConfig, withPort } from '../../shared/config/config.ts';
import { Secret } from '../../shared/config/secret.ts';
import { createLog } from '../../shared/log/log.ts';
import { loadReleases, parseReleases, ReleasesProblem } from '../../shared/releases/load.ts';

const host = { cwd: '/home/spindle', cores: 6, memoryBytes: 16 * 2 ** 30 };

function problemsOf(environment: Record<string, string>): Record<string, string> {
  try {
    readConfig(environment, host);
  } catch (error) {
    if (error instanceof ConfigProblem) return Object.fromEntries(error.problems.map(({ variable, message }) => [variable, message]));
    throw error;
  }
  return {};
}

describe('settings', () => {
  test('an empty environment is the embedded service on loopback', () => {
    expect(readConfig({ PATH: '/bin', SPINDLE_STATE_DIR: '' }, host)).toEqual({
      bus: { scheme: 'embedded' },
      store: { scheme: 'file', path: '/home/spindle/.spindle/store' },
      files: { scheme: 'file', path: '/home/spindle/.spindle/files' },
      mail: { scheme: 'file', path: '/home/spindle/.spindle/mail' },
      healthListen: { host: '127.0.0.1', port: 0 },
      stateDir: '/home/spindle/.spindle',
      listen: { host: '127.0.0.1', port: 8080 },
      publicUrl: 'http://127.0.0.1:8080',
      logLevel: 'info',
      auth: 'none',
      egressAllow: [],
      untrustedCode: { kickstartScripts: false, rpms: false },
      uploads: { fileBytesMax: 1024 ** 3, countMax: 200, bytesMax: 5 * 1024 ** 3, keepDays: 14 },
      rpmStoreBytesMax: 20 * 1024 ** 3,
      buildsInFlightMax: 4,
      buildBounds: { memoryBytesMax: 4 * 2 ** 30, processesMax: 4096, diskBytesMax: 64 * 2 ** 30, diskFreeBytesMin: 2 ** 30 },
      builderSlots: 3,
      warnings: [],
    });
  });

  test('sizes are numbers with a unit, and not so small that nothing could be built', () => {
    expect(problemsOf({ SPINDLE_BUILD_MEMORY_MAX: '8 GB', SPINDLE_BUILD_DISK_MAX: '-1', SPINDLE_DISK_FREE_MIN: '0' })).toEqual({
      SPINDLE_BUILD_MEMORY_MAX: 'is not a size such as 8G or 512M',
      SPINDLE_BUILD_DISK_MAX: 'is not a size such as 8G or 512M',
      SPINDLE_DISK_FREE_MIN: 'must be at least 1M',
    });
    // A small machine's builds get what an image needs all the same.
    expect(readConfig({}, { ...host, memoryBytes: 2 ** 30 }).buildBounds.memoryBytesMax).toBe(2 ** 30);
  });

  test('given values are used, paths are absolute, the value cannot be changed', () => {
    const config = readConfig(
      {
        SPINDLE_STATE_DIR: 'state',
        SPINDLE_FILES_URL: 'file:///srv/spindle%20files',
        SPINDLE_MAIL_URL: 'file:letters',
        SPINDLE_LISTEN: '[::1]:9000',
        SPINDLE_PUBLIC_URL: 'https://images.example.org/spindle/',
        SPINDLE_LOG_LEVEL: 'debug',
        SPINDLE_RELEASES_FILE: 'releases.yaml',
        SPINDLE_BUILDS_IN_FLIGHT_MAX: '12',
        SPINDLE_BUILDER_SLOTS: '1',
        SPINDLE_BUILD_MEMORY_MAX: '512M',
        SPINDLE_BUILD_PROCESSES_MAX: '300',
        SPINDLE_BUILD_DISK_MAX: '1048576',
        SPINDLE_DISK_FREE_MIN: '2T',
        SPINDLE_EGRESS_ALLOW: 'mirror.lan:8080, 10.1.0.0/16',
        SPINDLE_UNTRUSTED_CODE: 'rpms',
        SPINDLE_UPLOAD_MIB_MAX: '10',
        SPINDLE_UPLOADS_MAX: '3',
        SPINDLE_UPLOADS_MIB_MAX: '20',
        SPINDLE_UPLOAD_DAYS: '2',
      },
      host,
    );
    expect(config).toMatchObject({
      buildBounds: { memoryBytesMax: 512 * 2 ** 20, processesMax: 300, diskBytesMax: 2 ** 20, diskFreeBytesMin: 2 * 2 ** 40 },
      stateDir: '/home/spindle/state',
      store: { path: '/home/spindle/state/store' },
      files: { path: '/srv/spindle files' },
      mail: { path: '/home/spindle/letters' },
      listen: { host: '::1', port: 9000 },
      publicUrl: 'https://images.example.org/spindle',
      releasesFile: '/home/spindle/releases.yaml',
      buildsInFlightMax: 12,
      builderSlots: 1,
      egressAllow: ['mirror.lan:8080', '10.1.0.0/16'],
      untrustedCode: { kickstartScripts: false, rpms: true },
      uploads: { fileBytesMax: 10 * 1024 ** 2, countMax: 3, bytesMax: 20 * 1024 ** 2, keepDays: 2 },
    });
    expect(Object.isFrozen(config) && Object.isFrozen(config.listen)).toBe(true);
  });

  test('builder slots are half the cores, at least one and at most four', () => {
    expect([1, 2, 3, 8, 64].map((cores) => readConfig({}, { ...host, cores }).builderSlots)).toEqual([1, 1, 1, 4, 4]);
  });

  test('one error names every bad variable', () => {
    const problems = problemsOf({
      SPINDLE_BUS_URL: 'kafka://x',
      SPINDLE_STORE_URL: 'nonsense',
      SPINDLE_LISTEN: '8080',
      SPINDLE_PUBLIC_URL: 'ftp://x',
      SPINDLE_LOG_LEVEL: 'loud',
      SPINDLE_AUTH: 'ldap',
      SPINDLE_BUILDS_IN_FLIGHT_MAX: '0',
      SPINDLE_BUILDER_SLOTS: '1e3',
      SPINDLE_EGRESS_ALLOW: 'mirror.lan',
      SPINDLE_UNTRUSTED_CODE: 'rpms,scripts',
    });
    expect(problems).toEqual({
      SPINDLE_BUS_URL: 'has the unknown scheme kafka:; this version serves `embedded:` and `amqp://user:password@host/virtual-host`',
      SPINDLE_STORE_URL: 'is not a URL; this version serves `file:`, `file:///a/path` and `mongodb://user:password@host/database`',
      SPINDLE_LISTEN: 'is not HOST:PORT such as 127.0.0.1:8080 or [::1]:8080',
      SPINDLE_PUBLIC_URL: 'is not an http or https URL without user, query and fragment',
      SPINDLE_LOG_LEVEL: 'is not one of fatal, error, warn, info, debug, trace, silent',
      SPINDLE_AUTH: 'is not one of none, tokens, oidc',
      SPINDLE_BUILDS_IN_FLIGHT_MAX: 'must be at least 1',
      SPINDLE_BUILDER_SLOTS: 'is not a whole number',
      SPINDLE_UNTRUSTED_CODE: 'is not a list of kickstart-scripts, rpms with commas between',
      SPINDLE_EGRESS_ALLOW: '"mirror.lan" is neither host:port nor a network such as 10.1.0.0/16',
    });
  });

  test('what comes with a later version says so and shows no password', () => {
    const environment = {
      SPINDLE_FILES_URL: 'ftp://user:hunter2@host/prefix',
      SPINDLE_FEED_URL: 'amqps://user:hunter2@rabbitmq',
      SPINDLE_AUTH: 'oidc',
    };
    const problems = problemsOf(environment);
    expect(Object.keys(problems).sort()).toEqual(Object.keys(environment).sort());
    for (const message of Object.values(problems)) expect(message).toContain('comes with a later version of Spindle');
    let shown = '';
    try {
      readConfig(environment, host);
    } catch (error) {
      shown = `${error}${inspect(error)}${JSON.stringify(error)}`;
    }
    expect(shown).toContain('SPINDLE_FEED_URL');
    expect(shown).not.toContain('hunter2');
  });

  test('a store is named by a MongoDB URL, whose password is not shown', () => {
    for (const url of [
      'mongodb://user:hunter2@db-1.example:27017,db-2.example/spindle?replicaSet=rs0',
      'mongodb+srv://user:hunter2@db.example/',
      'mongodb://[::1]:27017',
    ]) {
      const { store } = readConfig({ SPINDLE_STORE_URL: url }, host);
      expect(store).toMatchObject({ scheme: 'mongodb' });
      expect('url' in store && store.url.reveal()).toBe(url);
      expect(`${inspect(store)}${JSON.stringify(store)}`).not.toContain('hunter2');
    }
    for (const url of ['mongodb://', 'mongodb://user:hunter2@', 'mongodb://user:hunter/2@db', 'mongodb://db/a/b']) {
      const said = problemsOf({ SPINDLE_STORE_URL: url })['SPINDLE_STORE_URL'];
      expect(said).toContain('is not a MongoDB URL');
      expect(said).not.toContain('hunter');
    }
  });

  test('a bucket is named by an S3 URL, whose keys are not shown', () => {
    const { files } = readConfig({ SPINDLE_FILES_URL: 's3://key:hunter2%2F@images/spindle/f44?endpoint=https://s3.example:9000&region=eu-1&links=900' }, host);
    expect(files).toMatchObject({
      scheme: 's3',
      place: { bucket: 'images', prefix: 'spindle/f44', endpoint: 'https://s3.example:9000', region: 'eu-1', linkSeconds: 900 },
    });
    expect('place' in files && files.place.credentials?.secretKey.reveal()).toBe('hunter2/');
    expect(`${inspect(files, { depth: 9 })}${JSON.stringify(files)}`).not.toContain('hunter2');
    expect(readConfig({ SPINDLE_FILES_URL: 's3://images' }, host).files).toEqual({
      scheme: 's3',
      place: { bucket: 'images', prefix: '', region: 'us-east-1' },
    });
    for (const url of [
      's3:',
      's3://',
      's3://a',
      's3://images:80',
      's3://key@images',
      's3://%E0%A4:hunter2@images',
      's3://images/a b',
      's3://images?endpoint=ftp://host',
      's3://images?endpoint=http://user:hunter2@host',
      's3://images?secret=hunter2',
      's3://images?links=0',
      's3://images?links=604801',
      's3://images#x',
    ]) {
      const said = problemsOf({ SPINDLE_FILES_URL: url })['SPINDLE_FILES_URL'];
      expect(said, url).toMatch(/^(is not|names|has) /);
      expect(said).not.toContain('hunter2');
    }
  });

  test('a mail server is named by an SMTP URL, whose password is not shown', () => {
    const { mail } = readConfig({ SPINDLE_MAIL_URL: 'smtp://me%40x:hunter2@mail.example?from=Images%20%3Cimages@example.org%3E' }, host);
    expect(mail).toMatchObject({ scheme: 'smtp', server: { host: 'mail.example', port: 587, isSecure: false, from: 'Images <images@example.org>' } });
    expect(`${inspect(mail, { depth: 9 })}${JSON.stringify(mail)}`).not.toContain('hunter2');
    expect(readConfig({ SPINDLE_MAIL_URL: 'smtps://[::1]' }, host).mail).toEqual({ scheme: 'smtp', server: { host: '::1', port: 465, isSecure: true } });
    for (const url of [
      'smtp:',
      'smtp://me@mail',
      'smtp://mail/x',
      'smtp://mail?secret=hunter2',
      'smtp://mail?from=me',
      'smtp://mail?from=a@b%0D%0ABcc:c@d',
      'smtp://%E0%A4:x@mail',
    ]) {
      const said = problemsOf({ SPINDLE_MAIL_URL: url })['SPINDLE_MAIL_URL'];
      expect(said, url).toMatch(/^(is not|has) /);
      expect(said).not.toContain('hunter2');
    }
  });

  test('a broker is named by an AMQP URL, whose password is not shown', () => {
    const { bus } = readConfig({ SPINDLE_BUS_URL: 'amqps://user:hunter2@broker.example/spindle?heartbeat=5' }, host);
    expect(bus.scheme === 'amqp' && bus.url.reveal()).toBe('amqps://user:hunter2@broker.example/spindle?heartbeat=5');
    expect(`${JSON.stringify(bus)}${inspect(bus)}`).not.toContain('hunter2');
    expect(readConfig({}, host).bus).toEqual({ scheme: 'embedded' });
    for (const wrong of [
      'amqp:',
      'amqp://',
      'amqp://user:hunter2@broker/a/b',
      'amqp://user:hunter2@broker:port/',
      'amqp:broker',
      'amqp://user:hunter2@broker/%zz',
      'amqp://user:hunter2%ff@broker',
    ]) {
      const problem = problemsOf({ SPINDLE_BUS_URL: wrong })['SPINDLE_BUS_URL'];
      expect(problem, wrong).toContain('is not an AMQP URL');
      expect(problem).not.toContain('hunter2');
    }
  });

  test('the management plugin is on the broker’s host unless somebody says otherwise', () => {
    const managementOf = (settings: Record<string, string>) => {
      const { bus } = readConfig(settings, host);
      return bus.scheme === 'amqp' ? [bus.management.url.reveal(), bus.management.virtualHost] : [];
    };
    for (const [url, expected] of [
      ['amqp://user:hun%25ter2@broker.example', ['http://user:hun%25ter2@broker.example:15672', '/']],
      ['amqps://user:hunter2@broker.example:5671/a%2Fb', ['https://user:hunter2@broker.example:15671', 'a/b']],
      ['amqp://[::1]/', ['http://guest:guest@[::1]:15672', '/']],
    ] as const) {
      expect(managementOf({ SPINDLE_BUS_URL: url })).toEqual(expected);
    }
    const given = 'https://watcher:hunter2@watch.example/rabbitmq';
    expect(managementOf({ SPINDLE_BUS_URL: 'amqp://broker/x', SPINDLE_BUS_MANAGEMENT_URL: given })).toEqual([given, 'x']);
    for (const wrong of ['watch.example:15672', 'http://watch.example:15672', 'amqp://a:hunter2@b', 'http://a:hunter2@b/?c', 'http://a:hunter2%ff@b']) {
      const problem = problemsOf({ SPINDLE_BUS_MANAGEMENT_URL: wrong })['SPINDLE_BUS_MANAGEMENT_URL'];
      expect(problem, wrong).toContain('is not an http or https URL');
      expect(problem).not.toContain('hunter2');
    }
  });

  test('a service alone takes only what processes can share, and every wrong setting is named at once', () => {
    const problems = (environment: Record<string, string>) => {
      try {
        readConfig(environment, host, 'alone');
        return {};
      } catch (error) {
        return Object.fromEntries((error as ConfigProblem).problems.map(({ variable, message }) => [variable, message]));
      }
    };
    const shared = { SPINDLE_BUS_URL: 'amqp://broker', SPINDLE_STORE_URL: 'mongodb://db' };
    expect(problems(shared)).toEqual({});
    expect(problems({})).toEqual({
      SPINDLE_BUS_URL: 'is not set, and `embedded:` is for one process only; a service alone shares it with others: amqp://user:password@host/virtual-host',
      SPINDLE_STORE_URL: 'is not set, and `file:` is for one process only; a service alone shares it with others: mongodb://user:password@host/database',
    });
    expect(
      Object.keys(
        problems({ SPINDLE_BUS_URL: 'embedded:', SPINDLE_STORE_URL: 'file:///x', SPINDLE_HEALTH_LISTEN: 'nowhere', SPINDLE_BUILDER_SLOTS: 'x' }),
      ).sort(),
    ).toEqual(['SPINDLE_BUILDER_SLOTS', 'SPINDLE_BUS_URL', 'SPINDLE_HEALTH_LISTEN', 'SPINDLE_STORE_URL']);
    expect(Object.keys(problems({ ...shared, SPINDLE_BUS_URL: 'kafka://x' }))).toEqual(['SPINDLE_BUS_URL']);
    const { healthListen } = readConfig(shared, host, 'alone');
    expect(healthListen).toEqual({ host: '127.0.0.1', port: 0 });
    // Health and metrics hold nothing secret: others may watch.
    expect(problems({ ...shared, SPINDLE_HEALTH_LISTEN: '0.0.0.0:9090' })).toEqual({});
  });

  test('without sign-in only loopback is served', () => {
    for (const listen of ['0.0.0.0:80', '[::]:80', 'example.org:80', '192.168.1.1:80', '10.127.0.0:1'])
      expect(problemsOf({ SPINDLE_LISTEN: listen })).toHaveProperty('SPINDLE_LISTEN');
    for (const listen of ['127.0.0.1:0', 'localhost:80', '127.1.2.3:80', '[::1]:65535']) expect(problemsOf({ SPINDLE_LISTEN: listen })).toEqual({});
    expect(problemsOf({ SPINDLE_LISTEN: '127.0.0.1:65536' })).toHaveProperty('SPINDLE_LISTEN');
  });

  test('a mistyped name is reported with its nearest, those of others are left alone', () => {
    const { warnings } = readConfig({ SPINDLE_BUILDER_SLOT: '2', SPINDLE_URL: 'http://x', SPINDLE_TOKEN: 'hunter2' }, host);
    expect(warnings).toEqual(['SPINDLE_BUILDER_SLOT is not a setting of Spindle and does nothing; the nearest one is SPINDLE_BUILDER_SLOTS']);
  });

  test('a port that is known late moves the public URL only where that followed the address', () => {
    expect(withPort(readConfig({ SPINDLE_LISTEN: '127.0.0.1:0' }, host), 4711)).toMatchObject({ listen: { port: 4711 }, publicUrl: 'http://127.0.0.1:4711' });
    const fixed = readConfig({ SPINDLE_LISTEN: '127.0.0.1:0', SPINDLE_PUBLIC_URL: 'https://x.example' }, host);
    expect(withPort(fixed, 4711).publicUrl).toBe('https://x.example');
  });
});

test('a secret prints as asterisks wherever it goes, and so do secret fields in the log', () => {
  const secret = new Secret('hunter2');
  expect([`${secret}`, JSON.stringify({ secret }), inspect({ secret }), String(secret)].join()).not.toContain('hunter2');
  expect(secret.reveal()).toBe('hunter2');
  const lines: string[] = [];
  const log = createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } });
  log.info({ secret, token: 'hunter2', request: { headers: { authorization: 'Bearer hunter2' } }, mail: { password: 'hunter2' } }, 'connected');
  const written = lines.join('');
  expect(written).toContain('"msg":"connected"');
  expect(written).not.toContain('hunter2');
});

describe('releases', () => {
  test('the shipped file holds Fedora and, where the sample site runs, the sample', async () => {
    const shipped = await loadReleases();
    expect(shipped.needs).toEqual(['SAMPLE_SITE']);
    expect(shipped.fill({}).releases.map(({ id }) => id)).toEqual(['43', '44', '45', 'rawhide']);
    const filled = shipped.fill({ SAMPLE_SITE: 'http://127.0.0.1:4711' });
    expect(filled.releases.map(({ id }) => id)).toEqual(['43', '44', '45', 'rawhide', 'sample', 'sample-unsigned']);
    expect(filled.releases.find(({ id }) => id === 'sample')?.koji?.hub).toBe('http://127.0.0.1:4711/kojihub');
    expect(JSON.stringify(filled)).not.toMatch(/\$\{/);
    expect(filled.releases.find(({ id }) => id === '43')?.sigkeys).toEqual(['31645531']);
  });

  test('a bad file names every place', () => {
    const bad = 'releases:\n  - {id: x, name: X, arches: [], repositories: [{id: r, role: stable}], engines: {live: magic}, colour: red}\n';
    const read = () => parseReleases(bad, 'releases.yaml');
    expect(read).toThrow(ReleasesProblem);
    for (const place of ['releases.0.arches', 'releases.0.repositories.0', 'releases.0.engines.live', 'colour']) expect(read).toThrow(place);
    expect(() => parseReleases('releases: [', 'f')).toThrow('f is not YAML');
    expect(() => parseReleases('', 'f')).toThrow('f is not YAML');
    expect(() => parseReleases('- 1', 'f')).toThrow('the whole file');
    expect(() => parseReleases(`releases:\n  - {id: "$\{HOME}"}`, 'f')).toThrow(/unknown placeholder \$\{HOME\}/);
  });

  test('what lies on nodes is named by absolute paths and plain names', () => {
    const file = (more: string) =>
      `releases:\n  - {id: x, name: X, arches: [x86_64], repositories: [{id: r, role: stable, baseurl: "https://a.example/"}], engines: {live: kiwi}, ${more}}\n`;
    const read = (more: string) => parseReleases(file(more), 'f').fill({}).releases[0];
    expect(read('kiwi: {description: /srv/d, profiles: {live: Workstation-Live}}, baseIsos: {x86_64: /srv/x.iso}')).toMatchObject({
      kiwi: { description: '/srv/d', file: 'Fedora.kiwi', packages: [] },
      baseIsos: { x86_64: '/srv/x.iso' },
    });
    expect(() => read('kiwi: {description: d, profiles: {live: "--help"}, packages: ["-x"]}')).toThrow(/description.*\n.*profiles\.live.*\n.*packages/);
    expect(() => read('baseIsos: {x86_64: ../x.iso}')).toThrow(/baseIsos\.x86_64: is not an absolute path/);
  });

  test('a missing file is one readable problem', async () => {
    await expect(loadReleases('/nowhere/releases.yaml')).rejects.toThrow('The releases file /nowhere/releases.yaml cannot be read');
  });
});
