/** Kickstarts of requesters: what is read, what is refused and in which words, and that nothing gets past by being written oddly. */
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Engine, ImageType } from '../../shared/build/request.ts';
import { BuildRequest, type SingleBuildRequest, splitRequest } from '../../shared/build/request.ts';
import { withKickstart } from '../../shared/kickstart/apply.ts';
import { readText } from '../../shared/kickstart/content.ts';
import { problemSentence } from '../../shared/kickstart/kickstart.ts';
import { recipeProblems } from '../../shared/kickstart/recipe-support.ts';
import { withoutHashes } from '../../shared/kickstart/secrets.ts';
import { shellWords } from '../../shared/kickstart/shell-words.ts';
import { pythonTool, pythonToolMissing } from '../support/python-tools.ts';
import { simulatedRelease } from '../support/simulated-fedora.ts';

const problems = (text: string) => readText(text).problems.map(problemSentence);
const content = (text: string) => {
  expect(problems(text)).toEqual([]);
  return readText(text).content;
};
const request = (change: object = {}) =>
  splitRequest(BuildRequest.parse({ release: 'simulated', imageType: 'live', packages: ['hello'], ...change }))[0] as SingleBuildRequest;

describe('reading', () => {
  it('takes packages, repositories and language', () => {
    const read = content(`lang de_DE.UTF-8
keyboard --xlayouts='de (nodeadkeys)','us'
timezone Europe/Berlin --utc --ntpservers=a,b
repo --name=mine --baseurl "https://copr.example/f$releasever/$basearch/"
%packages --nocore --excludedocs
@^workstation-product-environment
@games
htop # what goes on
glibc.i686
-nano
%end
`);
    expect(read).toMatchObject({
      packages: { install: ['@^workstation-product-environment', '@games', 'htop', 'glibc.i686'], exclude: ['nano'], options: ['--excludedocs'] },
      repositories: [{ name: 'mine', baseurl: 'https://copr.example/f$releasever/$basearch/' }],
      locale: 'de_DE.UTF-8',
      keyboard: 'de-nodeadkeys',
      timezone: 'Europe/Berlin',
      code: [],
    });
  });

  it('brings @core as the installer does, unless it is told not to', () => {
    expect(content('%packages\nhello\n%end').packages.install).toEqual(['@core', 'hello']);
    expect(content('%packages\nhello\n-@core\n%end').packages).toMatchObject({ install: ['hello'], exclude: [] });
    expect(content('lang en_US.UTF-8').packages.install).toEqual([]);
  });

  it('takes CRLF, a byte order mark, blanks before commands, and no end of line at the end', () => {
    const read = content('\ufefflang de_DE.UTF-8\r\n  keyboard us\r\n%packages\r\nhtop\r\n%end');
    expect(read).toMatchObject({ locale: 'de_DE.UTF-8', keyboard: 'us', packages: { install: ['@core', 'htop'] } });
  });

  it('leaves scripts as they stand', () => {
    const { code } = content('%post --nochroot --interpreter=/usr/bin/python3\n# %packages\nprint("100%")\n%hello\n%end\n%pre\n%end');
    expect(code.map(({ name, lines }) => [name, lines.map(({ text }) => text)])).toEqual([
      ['%post', ['# %packages', 'print("100%")', '%hello']],
      ['%pre', []],
    ]);
  });
});

describe('what is wrong is named with its line, and never quoted where it may be a secret', () => {
  it.each([
    ['langg en_US.UTF-8', 'line 1 "langg" is no kickstart command; the nearest one is lang'],
    ['# a\n\nrepoo --name=x', 'line 3 "repoo" is no kickstart command; the nearest one is repo'],
    ['clearpart --al', 'line 1 clearpart has no option --"al"; the nearest one is --all'],
    ['install', 'line 1 install is no command of Fedora any more; leave the line out'],
    ['auth --useshadow', 'line 1 auth is no command of Fedora any more; write authselect'],
    ['lang "en_US', 'line 1 has a " that is not closed'],
    ['bootloader --append=x \\', 'line 1 ends with a backslash; a command stands on one line'],
    ['lang en_US.UTF-8\u0000', 'line 1 holds a character that is no text, such as a NUL'],
    // Python's reader would take these for the end of a line, and what follows for a command.
    ['lang en_US.UTF-8 #\u2028url --url=http://x/', 'line 1 holds a character that is no text, such as a NUL'],
    ['lang en_US.UTF-8 #\u0085url --url=http://x/', 'line 1 holds a character that is no text, such as a NUL'],
    ['lang en_US.UTF-8 #\rurl --url=http://x/', 'line 1 holds a character that is no text, such as a NUL'],
    ['lang en_US.UTF-8\n%packages\nhello', 'line 2 begins %packages, which is never closed; write %end after it'],
    ['%packages\nhello\n%post\ntrue\n%end', 'line 3 begins %post while %packages of line 1 is not closed; write %end before it'],
    ['%end', 'line 1 closes a section, but none is open'],
    ['%packagess\nhello\n%end', 'line 1 begins the unknown section "%packagess"; the nearest one is %packages'],
    ['%post --chroot\n%end', 'line 1 %post has no option --"chroot"; the nearest one is --nochroot'],
    ['%certificate --filename=x\n%end', 'line 1 begins %certificate without --filename=… and --dir=…, which say where the certificate goes'],
    ['%packages\nfoo bar\n%end', 'line 2 names more than one package; write each on a line of its own'],
    ['%packages\n@perl:5.30\n%end', 'line 2 names a module; modules are gone from Fedora, so name the packages'],
    ['%packages\n@core --nodefaults\n%end', 'line 2 asks for a part of a group, which is not taken; name the group, or its packages one by one'],
    ['%packages\n--installroot=/\n%end', 'line 2 names no package, @group, glob or file'],
    ['%packages\nhello\n-hello\n%end', 'line 3 leaves out "hello", which %packages also names; take one of the two away'],
    ['%packages --ignoremissing\n%end', 'line 1 has --ignoremissing: what is missing is never passed over; leave the option out, and what does not exist too'],
    ['lang ../../etc', 'line 1 has a value of lang that is not a locale such as en_US.UTF-8'],
    ['keyboard', 'line 1 gives keyboard no value'],
    ['repo --name=x --baseurl=file:///', 'line 1 names a repository that is not fetched from: its --baseurl begins with https:// or http://'],
    ['repo --name=../x --baseurl=https://a.example/', 'line 1 has a repository name that is none: letters, digits, ".", "_" and "-", at most 64'],
    ['repo --name=x --baseurl=https://me:secret@a.example/', 'line 1 has a user name or password in the address of a repository, which would become public'],
    ['rootpw hunter2', 'line 1 has the password of rootpw in clear, which would stand on the image for all to read; write it hashed, with --iscrypted'],
    [
      'rootpw --iscrypted hunter2',
      'line 1 has the password of rootpw in clear, which would stand on the image for all to read; write it hashed, with --iscrypted',
    ],
    [
      'user --name=a --password=hunter2',
      'line 1 has the password of user in clear, which would stand on the image for all to read; write it hashed, with --iscrypted',
    ],
    ['user --name=a --password=hunter2 --plaintext', expect.stringContaining('in clear')],
    ['user --name=a --passw=hunter2', 'line 1 user has no option --"passw"; the nearest one is --password'],
    ['sshpw --username=root hunter2', expect.stringContaining('the password of sshpw in clear')],
    ['autopart --encrypted --passphrase=hunter2', expect.stringContaining('in clear in --passphrase')],
    ['network --wpakey=hunter2 --essid=x', expect.stringContaining('in clear in --wpakey')],
    ['realm join --one-time-password=hunter2 a.example', expect.stringContaining('in clear')],
    ['%include /etc/shadow', expect.stringContaining('%include takes https addresses, and no files of the machine that builds')],
    ['%include file:///etc/shadow', expect.stringContaining('takes https addresses')],
    ['%ksappend http://a.example/x.ks', expect.stringContaining('%ksappend takes https addresses')],
    ['%include https://me:secret@a.example/x.ks', expect.stringContaining('which would become public')],
    ['%include', 'line 1 names no address: %include is followed by one https address'],
  ])('%j', (text, sentence) => {
    const found = problems(text);
    expect(found[0]).toEqual(sentence);
    expect(found.join('\n')).not.toMatch(/hunter2|secret@/);
  });

  it.each([
    'url --url=https://a.example/',
    '"url" --url=https://a.example/',
    '\\url --url=x',
    'cdrom',
    'nfs --server=a --dir=b',
    'liveimg --url=x',
    'ostreesetup',
    'bootc --source-imgref=x',
  ])('another source than the build’s repositories: %s', (text) => {
    expect(problems(text)).toEqual([expect.stringMatching(/is not taken: an image is made of the resolved packages only.*sources\.repositories/)]);
  });

  it.each(['--metalink=https://a/', '--mirrorlist=https://a/', '--cost=1', '--noverifyssl', '--proxy=http://p/', '--install', '--excludepkgs=a'])(
    'a repository with %s',
    (option) => {
      expect(problems(`repo --name=x --baseurl=https://a.example/ ${option}`)).toEqual([
        expect.stringMatching(/^line 1 (names|has) .*repo --name=… --baseurl=https:/),
      ]);
    },
  );

  it('hashed passwords are taken, and shown to nobody', () => {
    const text =
      'rootpw --iscrypted $y$j9T$abc/def.$xyz\nuser --name=a --password=$6$salt$hash --iscrypted\nbootloader --iscrypted --password=grub.pbkdf2.sha512.1.2\nrootpw --lock\n';
    expect(problems(text)).toEqual([]);
    expect(withoutHashes(`# $5 off\n${text}%post\necho $HOME\n%end\n`)).toBe(
      '# $5 off\nrootpw --iscrypted *\nuser --name=a --password=* --iscrypted\nbootloader --iscrypted --password=*\nrootpw --lock\n%post\necho $HOME\n%end\n',
    );
  });
});

describe('too much of anything', () => {
  it.each([
    ['10,000 sections', '%post\n%end\n'.repeat(10_000), /^line 401 begins one section too many/],
    ['100,000 lines', 'lang en_US.UTF-8\n'.repeat(100_000), /^line 20001 is one line too many/],
    ['one endless line', `lang ${'x'.repeat(200_000)}`, /^line 1 is longer than 16384 characters$/],
    ['nothing but mistakes', 'x\n'.repeat(10_000), /^line 1 "x" is no kickstart command/],
    ['quotes', '"'.repeat(16_000), /^line 1 "" is no kickstart command/],
  ])('%s', (_, text, sentence) => {
    const startedAt = performance.now();
    const found = problems(text);
    expect(found.length).toBeLessThanOrEqual(40);
    expect(found[0]).toMatch(sentence);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('anything at all is read or refused', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom('%packages', '%end', '%post', 'repo --name=a --baseurl=https://a.example/', '-x', '@y', '%include https://a.example/'),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        for (const sentence of problems(lines.join('\n'))) expect(sentence).toMatch(/^line \d+ \S/);
      }),
      { seed: 1, numRuns: 500 },
    );
  });
});

it('words are what Python’s shlex makes of a line', ({ skip }) => {
  const python = pythonTool('python3') ?? skip(pythonToolMissing);
  const piece = fc.constantFrom('a', 'B', '"', "'", '\\', '#', ' ', '  ', '\t', '--x=', '$y$', 'é', '=', '%');
  const lines = fc.sample(
    fc.array(piece, { maxLength: 14 }).map((parts) => parts.join('')),
    { seed: 7, numRuns: 3000 },
  );
  const script = `import json, shlex, sys
def words(line):
    try: return shlex.split(line, comments=True)
    except ValueError: return None
json.dump([words(line) for line in json.load(sys.stdin)], sys.stdout)`;
  const { stdout } = spawnSync(python, ['-c', script], { input: JSON.stringify(lines), encoding: 'utf8' });
  const expected = JSON.parse(stdout) as readonly (readonly string[] | null)[];
  for (const [index, line] of lines.entries()) {
    const split = shellWords(line);
    expect([line, split.isValid ? split.words : null]).toEqual([line, expected[index]]);
  }
});

describe('with the request', () => {
  it('packages join, language wins, addresses are filled in', () => {
    const own = content(
      'lang fr_FR.UTF-8\nrepo --name=mine --baseurl=https://copr.example/f$releasever/$basearch/\n%packages --nocore\nhtop\nhello\n-nano\n%end',
    );
    expect(
      withKickstart(request({ excludePackages: ['emacs'], locale: 'de_DE.UTF-8', keyboard: 'de' }), own, { ...simulatedRelease, releasever: '44' }),
    ).toMatchObject({
      packages: ['hello', 'htop'],
      excludePackages: ['emacs', 'nano'],
      locale: 'fr_FR.UTF-8',
      keyboard: 'de',
      sources: { repositories: [{ name: 'mine', baseurl: 'https://copr.example/f44/x86_64/' }] },
    });
  });

  it('a repository that the request names with its key keeps it; another address under its name is refused, and so is a name of the release', () => {
    const mine = { name: 'mine', baseurl: 'https://copr.example/', gpgkey: 'https://copr.example/key' };
    const with_ =
      (baseurl: string, name = 'mine') =>
      () =>
        withKickstart(request({ sources: { repositories: [mine] } }), content(`repo --name=${name} --baseurl=${baseurl}`), simulatedRelease).sources
          .repositories;
    expect(with_('https://copr.example/')()).toEqual([mine]);
    expect(with_('https://other.example/')).toThrow(/two repositories mine/);
    expect(with_('https://other.example/', simulatedRelease.repositories[0]?.id)).toThrow(/is one of .* itself/);
    const many = Array.from({ length: 21 }, (_, index) => `repo --name=r${index} --baseurl=https://a.example/${index}/`).join('\n');
    expect(() => withKickstart(request(), content(many), simulatedRelease)).toThrow(/names 21 repositories; at most 20/);
  });
});

describe('what a recipe cannot say', () => {
  const unsayable = (text: string, engine: Engine, imageType: ImageType) => recipeProblems(content(text), engine, imageType).map(problemSentence);

  it.each<readonly [string, Engine, ImageType, string | undefined]>([
    ['lang de_DE.UTF-8\nkeyboard de\ntimezone UTC --utc\nrootpw --lock\ntext\npoweroff\n%packages\nhello\n%end', 'kiwi', 'live', undefined],
    ['firewall --enabled', 'kiwi', 'live', 'line 1 has firewall in a way that the recipe of kiwi has no words for; livemedia-creator can'],
    ['lang de_DE.UTF-8 --addsupport=fr_FR', 'kiwi', 'live', 'line 1 has lang in a way that the recipe of kiwi has no words for; livemedia-creator can'],
    ['%post\ntrue\n%end', 'kiwi', 'live', 'line 1 has %post, which the recipe of kiwi has no place for; livemedia-creator can'],
    [
      '%packages --excludedocs\na\n%end',
      'native',
      'live',
      'line 1 has options of %packages, which the recipe of native has no place for; livemedia-creator can',
    ],
    ['%post\ntrue\n%end\nfirewall --enabled\npart / --size=9000', 'livemedia-creator', 'live', undefined],
    [
      'autopart',
      'livemedia-creator',
      'live',
      'line 1 has autopart in a way that the recipe of livemedia-creator has no words for; no engine for live images can',
    ],
    ['text', 'livemedia-creator', 'live', 'line 1 has text in a way that the recipe of livemedia-creator has no words for; kiwi and native can'],
    ['autopart\n%pre\ntrue\n%end\nreboot', 'mkksiso', 'dvd', undefined],
    ['lang de_DE.UTF-8', 'lorax', 'boot', 'line 1 has lang in a way that the recipe of lorax has no words for; mkksiso can'],
    ['services --enabled=sshd', 'image-builder', 'dvd', undefined],
    ['selinux --permissive', 'image-builder', 'dvd', 'line 1 has selinux in a way that the recipe of image-builder has no words for; mkksiso and native can'],
    ['timezone UTC --nontp', 'image-builder', 'dvd', 'line 1 has timezone in a way that the recipe of image-builder has no words for; mkksiso and native can'],
  ])('%j with %s for %s', (text, engine, imageType, sentence) => {
    expect(unsayable(text, engine, imageType)).toEqual(sentence === undefined ? [] : [sentence]);
  });
});
