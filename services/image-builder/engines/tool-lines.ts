/**
 * Reads the output of the tools that several engines run (dnf, rpm, dracut, mksquashfs, xorriso, GRUB's, mtools): how far one has come, and of a failed run the one reason with
 * the lines that matter. Pure.
 */
import type { EngineProgress, RelevantLines } from './engine.ts';

/** Each with the two numbers it finds. xorriso and rpm give percent only. */
const counters: readonly (readonly [pattern: RegExp, what: string])[] = [
  // dnf 4 without a terminal: `  Installing       : bash-5.2-1.x86_64      3/17`, `(3/17): bash-5.2-1.x86_64.rpm   1.2 MB/s | 1.8 MB  00:01`.
  [/^\s*(?:Installing|Upgrading|Reinstalling|Downgrading|Running scriptlet)\s*:\s.*\s(\d+)\/(\d+)\s*$/, 'installing packages'],
  [/^\s*Verifying\s*:\s.*\s(\d+)\/(\d+)\s*$/, 'verifying packages'],
  [/^\((\d+)\/(\d+)\): \S+\s.*\|/, 'downloading packages'],
  // dnf 5: `[ 3/19] Installing bash-0:5.2.15-1.fc44.x86_64  100% | …`, and of a download only the package's name.
  [/^\[\s*(\d+)\/(\d+)\] (?:Installing|Upgrading|Reinstalling|Downgrading|Running scriptlet|Running post-transaction)/, 'installing packages'],
  [/^\[\s*(\d+)\/(\d+)\] [A-Za-z0-9][\w.+~^-]*-\d\S*\s.*\|/, 'downloading packages'],
  // mksquashfs counts blocks. Without a terminal version 4.5 shows the last state only.
  [/^\[[=\s]*[-|/\\]?\]\s+(\d+)\/(\d+)\s+\d+%/, 'compressing the root file system'],
];
const percentages: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^xorriso : UPDATE :\s+(\d+(?:\.\d+)?)% done/, 'writing the ISO'],
  // rpm --percent, and rpm's hash marks on a terminal.
  [/^%% (\d+(?:\.\d+)?)$/, 'installing packages'],
  [/\s#+\s+\[\s*(\d+)%\]$/, 'installing packages'],
];

/** How far a line says that its tool is; undefined where it says nothing. */
export function toolProgress(line: string): EngineProgress | undefined {
  for (const [pattern, what] of counters) {
    const match = pattern.exec(line);
    if (!match) continue;
    const [done, total] = [Number(match[1]), Number(match[2])];
    return total > 0 && done <= total ? { done, total, what } : undefined;
  }
  for (const [pattern, what] of percentages) {
    const match = pattern.exec(line);
    if (match) return { done: Math.min(100, Math.round(Number(match[1]))), total: 100, what };
  }
  return undefined;
}

const fullDisk =
  /No space left on device|Disk quota exceeded|\bDisk full\b|needs \d+\S* more space on the|At least \S+ more space needed|exceeds free space on media/;

/** Whether a line says that there was no room to write. */
export function tellsFullDisk(line: string): boolean {
  return fullDisk.test(line);
}

/** Whether a line says that writing failed, without saying why. */
export function tellsFailedWrite(line: string): boolean {
  return /cpio: (?:write|open|mkdir|link|symlink|close) failed|[Ww]rite (?:error|failed)|[Ff]ailed to write|short write|[Cc]ould not write/.test(line);
}

/** How dnf 5 marks messages between its progress, those of rpm among them. */
const mark = /^>>> (?:\[RPM\] )?|^\[RPM\] /;

/** Scriptlets whose failure rpm only warns of: the package is installed, and dnf ends well. From rpm 6 on dnf 5 fails afterwards, and says that rpm did. */
const lateScriptlet = /%(?:post|posttrans|trigger\w*|filetrigger\w*|transfiletrigger\w*)\(|^Error in (?:POST\w*|\w*TRIGGER\w*) scriptlet/;

/**
 * What the tools say when they refuse: the nearer to the cause, the earlier. Of a scriptlet that failed, rpm and dnf tell three times, each time less; of a missing package dnf
 * tells once for each and then of all.
 */
const causesOfPackagesAndImages: readonly RegExp[] = [
  fullDisk,
  // rpm's scriptlets; those that rpm passes over come last but one.
  /^error: lua script failed: |%\w+\(\S+\) scriptlet failed/,
  /^Error in (?:\w+ scriptlet in rpm package|%\w+ scriptlet: )/,
  // Solving
  /Unable to find a match: /,
  /No match for (?:argument|group)/,
  /nothing provides .+ needed by|requires .+, but none of the providers can be installed/,
  /package .+ conflicts with .+ provided by|is filtered out by|cannot install both/,
  /^\s+\S+ is needed by \S+$/,
  // Files and content of packages
  /^\s*(?:- )?file .+ conflicts (?:between attempted installs of|with file from package)/,
  /unpacking of archive failed|Error unpacking rpm package|cpio: \w+ failed/,
  /: (?:hdr|sigh?) (?:blob|load)\S*: BAD|does not verify|digests? (?:SIGNATURES )?(?:NOT OK|BAD)|Public key for .+ is not installed|GPG check FAILED/,
  // Fetching
  /^\s*(?:- |Librepo error: )?(?:Curl error \(\d+\): |Status code: \d+ for )|Downloading successful, but checksum doesn't match|^\[FAILED\] /,
  /Failed to download metadata for repo|Cannot download, all mirrors/,
  // The initramfs
  // That there is no logger it says at the same level in every chroot.
  /^dracut-install: (?:ERROR: |Failed to find module )|^dracut: FAILED: |^dracut\[[EF]\]: (?!No '\/dev\/log')/,
  /^dracut: (?:dracut module '.+' cannot be found or installed|Cannot |Can't |Creation of .+ failed|Will not override|No '.+' found|.+ cannot be (?:found|called))/,
  // Images
  /^Cannot stat source (?:directory|file) |^mksquashfs: .+ (?:is not supported|not found|failed)|^Could not (?:create|open) .+ because/,
  /^FATAL ERROR: /,
  /^(?:xorriso|libisofs|libburn) : ?(?:FATAL|ABORT|FAILURE|SORRY) : |^(?:libisofs|libburn): (?:FATAL|FAILURE|MISHAP|SORRY) : /,
  /^grub2?-\w+: error: |^unknown target format/,
  /^(?:mkfs\.\w+|mke2fs|mcopy|mmd|mformat|mount|umount|losetup|chroot|cp|mv|install|createrepo_c|useradd|passwd|systemd-firstboot|setfiles|fallocate|truncate): /,
  /^Can't open .+: |^C_CREATEREPOLIB: Critical: /,
];
/** Words that any program may have. */
const causesOfAnyProgram: readonly RegExp[] = [
  /failed to run command|: (?:command )?not found$/,
  /Cannot allocate memory|Out of memory|^Killed$/,
  /Permission denied|Operation not permitted|Read-only file system|Input\/output error/,
  /^[A-Za-z_][\w.]*(?:Error|Exception|Failed)(?:: |$)/,
  /^\s*Problem(?: \d+)?: /,
  /^(?:Error|error|ERROR|FATAL|CRITICAL): ./,
];
const causes = [...causesOfPackagesAndImages, ...causesOfAnyProgram];
/** Said of what was passed over; the cause only where nothing else is told. */
const passedOver = causes.length;
const nothing = passedOver + 1;

const transactionFailed = /^Transaction failed: Rpm transaction failed\./;

function rankOf(marked: string, isLateFatal = false): number {
  const line = marked.replace(mark, '');
  if (lateScriptlet.test(line) && /scriptlet|lua script failed/.test(line)) return isLateFatal ? causesOfPackagesAndImages.length - 0.5 : passedOver;
  // What follows from a failure, in words that look like one.
  if (transactionFailed.test(line) || /^(?:Error|error): (?:Transaction failed|.+: install failed)$/.test(line)) return passedOver;
  const rank = causes.findIndex((pattern) => pattern.test(line));
  return rank === -1 ? nothing : rank;
}

/** Whether a line says why a tool gave up, or may have. */
export function tellsWhy(line: string): boolean {
  return rankOf(line) < nothing;
}

const linesMax = 20;
const lengthMax = 1000;

/** `lines`: of the step that failed, without what its engine puts before them. Of several causes of the same kind the first is the reason. */
export function relevantToolLines(lines: readonly string[]): RelevantLines {
  const spoken = lines.map((line) => line.trimEnd()).filter((line) => line.trim() !== '');
  const isLateFatal = spoken.some((line) => transactionFailed.test(line));
  const told = spoken.map((line) => ({ line, rank: rankOf(line, isLateFatal) })).filter(({ rank }) => rank < nothing);
  const cause = told.reduce<(typeof told)[number] | undefined>((best, each) => (best === undefined || each.rank < best.rank ? each : best), undefined);
  const kept = told.length > 0 ? told.map(({ line }) => line) : spoken;
  const shown = kept.slice(-linesMax);
  if (cause && !shown.includes(cause.line)) shown.splice(0, 1, cause.line);
  return {
    reason: withoutLevel(cause?.line ?? spoken.at(-1) ?? 'it printed nothing').slice(0, lengthMax),
    lines: shown.map((line) => line.trim().slice(0, lengthMax)),
  };
}

/** `Error: `, `xorriso : FAILURE : ` and the like say only that it is one. */
function withoutLevel(line: string): string {
  return line
    .trim()
    .replace(mark, '')
    .replace(/^(?:Error|error|ERROR|FATAL ERROR|FATAL|CRITICAL): /, '')
    .replace(/^(?:xorriso|libisofs|libburn) ?: [A-Z]+ : /, '')
    .replace(/^- /, '');
}

const lateName = String.raw`%(post|posttrans|\w*triggerin|\w*triggerun|\w*triggerpostun)\((\S+?)\)`;
const warned = new RegExp(String.raw`(?:^|\s)${lateName} scriptlet failed, (?:exit status|signal) \d+`);
/** Of a script in Lua rpm says that it failed, and no word of going on. */
const failedInLua = new RegExp(String.raw`error: lua script failed: \[string "${lateName}"\]`);

/** The scriptlet that a line says has failed although its package is installed and rpm goes on. `nevra`: as rpm names a package, without an epoch. */
export function passedOverScriptlet(line: string): { readonly scriptlet: string; readonly nevra: string } | undefined {
  const [, scriptlet, nevra] = warned.exec(line) ?? failedInLua.exec(line) ?? [];
  return scriptlet !== undefined && nevra !== undefined ? { scriptlet, nevra } : undefined;
}
