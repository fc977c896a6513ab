/** Passwords in kickstarts: in clear they are refused, since a kickstart ends up on the image and among the artifacts; as hashes they are used, but not shown. Pure. */
import { type KickstartCommand, type KickstartProblem, optionNames, optionValue } from './kickstart.ts';

const flags: Readonly<Record<string, ReadonlySet<string>>> = {
  rootpw: new Set(['allow-ssh', 'iscrypted', 'lock', 'plaintext']),
  sshpw: new Set(['iscrypted', 'lock', 'plaintext', 'sshkey']),
};

/** Options whose value is a secret that has no hashed form. */
const clearOptions = ['passphrase', 'backuppassphrase', 'hw-passphrase', 'wepkey', 'wpakey', 'reverse-password', 'one-time-password'] as const;
const askInstead = 'whoever installs is asked for it';

/** Of passwords, as crypt(3) and GRUB write them. */
const hash = /\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|md5)\$[./A-Za-z0-9$=,]{8,}|grub\.pbkdf2\.[.A-Za-z0-9]+/g;

const isHash = (value: string) => value.replace(hash, '') === '' || /^[*!]/.test(value) || value === 'locked';

/** What must not be in a kickstart that anybody can read. Never quotes a value. */
export function secretProblem(command: KickstartCommand): KickstartProblem | undefined {
  const { name, words, place } = command;
  const clear = clearOptions.find((option) => optionNames(words).includes(option));
  if (clear) return { place, what: `has a secret in clear in --${clear}, which would stand on the image for all to read; leave it out: ${askInstead}` };
  if (name === 'realm' && words.some((word) => /password/i.test(word)))
    return { place, what: `has a secret in clear in realm, which would stand on the image for all to read; leave it out` };
  const inClear = { place, what: `has the password of ${name} in clear, which would stand on the image for all to read; write it hashed, with --iscrypted` };
  const options = optionNames(words);
  if (name === 'rootpw' || name === 'sshpw') {
    const isFlag = (word: string) => flags[name]?.has(word.replace(/^--/, ''));
    const values = words.filter((word, index) => !isFlag(word) && !/^--username(=|$)/.test(word) && words[index - 1] !== '--username');
    const isKey = options.includes('sshkey');
    return values.length === 0 || isKey || (options.includes('iscrypted') && values.every(isHash)) ? undefined : inClear;
  }
  const password = optionValue(words, 'password');
  if (password === undefined || name === 'authselect') return undefined;
  if (name === 'user' || name === 'bootloader') return options.includes('iscrypted') && password !== true && isHash(password) ? undefined : inClear;
  return { place, what: `has a secret in clear in --password, which would stand on the image for all to read; leave it out: ${askInstead}` };
}

/** The text without the hashes of its passwords: what is shown to others. An account whose hash is left out is locked. */
export function withoutHashes(text: string): string {
  return text.replace(/^[ \t]*(?:rootpw|user|sshpw|bootloader|["'\\]).*$/gm, (line) => hideHashes(line));
}

/** Any text of a tool that was given hashes. */
export function hideHashes(text: string): string {
  return text.includes('$') || text.includes('grub.pbkdf2.') ? text.replace(hash, '*') : text;
}
