/** The kickstart commands of Fedora 43 and newer, with their options, as pykickstart 3.78 has them; and those that a build has no use for, each with why. Pure. */

const options = (names: string): ReadonlySet<string> => new Set(names.split(' ').filter((name) => name !== ''));

/** Command → the names of its options, without the dashes; undefined where it takes anything. */
const taken: Readonly<Record<string, ReadonlySet<string> | undefined>> = {
  authselect: undefined,
  autopart: options(
    'backuppassphrase cipher encrypted escrowcert fstype hibernation hw-passphrase luks-version noboot nohome nolvm noswap passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time type',
  ),
  bootloader: options('append boot-drive default disabled driveorder extlinux iscrypted leavebootorder location md5pass nombr password sdboot timeout'),
  btrfs: options('data label metadata mkfsoptions name noformat parent subvol useexisting'),
  clearpart: options('all cdl disklabel drives initlabel linux list none'),
  cmdline: options('non-interactive'),
  eula: options('accept accepted agree agreed'),
  fcoe: options('autovlan dcb nic'),
  firewall: options('disable disabled enable enabled ftp http port remove-service service smtp ssh trust use-system-defaults'),
  firstboot: options('disable disabled enable enabled reconfig'),
  graphical: options('non-interactive'),
  group: options('gid name'),
  halt: options('eject kexec'),
  ignoredisk: options('drives only-use'),
  iscsi: options('iface ipaddr password port reverse-password reverse-user target user'),
  iscsiname: options(''),
  keyboard: options('switch vckeymap xlayouts'),
  lang: options('addsupport'),
  logging: options('host port'),
  logvol: options(
    'backuppassphrase cachemode cachepvs cachesize chunksize cipher encrypted escrowcert fsoptions fsprofile fstype grow hibernation label luks-version maxsize metadatasize mkfsoptions name noformat passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time percent poolname profile recommended resize size thin thinpool useexisting vgname',
  ),
  mediacheck: options(''),
  mount: options('mkfsoptions mountoptions reformat'),
  network: options(
    'activate bindto bondopts bondslaves bootproto bridgeopts bridgeslaves device dhcpclass essid ethtool gateway hostname interfacename ip ipv4-dns-search ipv4-ignore-auto-dns ipv6 ipv6-dns-search ipv6-ignore-auto-dns ipv6gateway mtu nameserver netmask no-activate nodefroute nodns noipv4 noipv6 notksdevice onboot teamconfig teamslaves vlanid wepkey wpakey',
  ),
  part: options(
    'asprimary backuppassphrase cipher encrypted escrowcert fsoptions fsprofile fstype grow hibernation hw-passphrase label luks-version maxsize mkfsoptions noformat onbiosdisk ondisk ondrive onpart passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time recommended resize size type usepart',
  ),
  partition: options(
    'asprimary backuppassphrase cipher encrypted escrowcert fsoptions fsprofile fstype grow hibernation hw-passphrase label luks-version maxsize mkfsoptions noformat onbiosdisk ondisk ondrive onpart passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time recommended resize size type usepart',
  ),
  poweroff: options('eject kexec'),
  raid: options(
    'backuppassphrase chunksize cipher device encrypted escrowcert fsoptions fsprofile fstype label level luks-version mkfsoptions noformat passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time spares useexisting',
  ),
  rdp: options('password username'),
  realm: undefined,
  reboot: options('eject kexec'),
  repo: options('baseurl cost excludepkgs includepkgs install metalink mirrorlist name noverifyssl proxy sslcacert sslclientcert sslclientkey'),
  reqpart: options('add-boot'),
  rootpw: options('allow-ssh iscrypted lock plaintext'),
  selinux: options('disabled enforcing permissive'),
  services: options('disabled enabled'),
  shutdown: options('eject kexec'),
  skipx: options(''),
  snapshot: options('name when'),
  sshkey: options('username'),
  sshpw: options('iscrypted lock plaintext sshkey username'),
  stratisfs: options('grow maxsize name poolname size useexisting'),
  stratispool: options('encrypted overprovisioning passphrase useexisting'),
  text: options('non-interactive'),
  timesource: options('ntp-disable ntp-pool ntp-server nts'),
  timezone: options('isUtc nontp ntpservers utc'),
  user: options('gecos gid groups homedir iscrypted lock name password plaintext shell uid'),
  volgroup: options('noformat pesize reserved-percent reserved-space useexisting'),
  xconfig: options('defaultdesktop startxonboot'),
  zerombr: options(''),
  zfcp: options('devnum fcplun wwpn'),
  zipl: options('force-secure-boot no-secure-boot secure-boot'),
};

const otherSource =
  'is not taken: an image is made of the resolved packages only, so leave the line out; name a repository of your own in a line `repo --name=… --baseurl=https://…`, or under sources.repositories';
const unresolved = 'is not taken: it loads what nobody resolved or checked; leave the line out';
const gone = 'is no command of Fedora any more';

/** Command → what to tell whoever wrote it. */
const refusals: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['url', 'cdrom', 'harddrive', 'nfs', 'hmc', 'liveimg', 'ostreesetup', 'ostreecontainer', 'bootc'].map((name) => [name, otherSource])),
  driverdisk: unresolved,
  updates: unresolved,
  rescue: 'is not taken: it installs nothing; leave the line out',
  auth: `${gone}; write authselect`,
  authconfig: `${gone}; write authselect`,
  vnc: `${gone}; write rdp`,
  module: `${gone}: modules are gone; name the packages`,
  ...Object.fromEntries(
    [
      'autostep',
      'device',
      'deviceprobe',
      'dmraid',
      'install',
      'interactive',
      'langsupport',
      'method',
      'monitor',
      'mouse',
      'multipath',
      'nvdimm',
      'upgrade',
    ].map((name) => [name, `${gone}; leave the line out`]),
  ),
};

export type CommandKind =
  | { readonly is: 'taken'; readonly options: ReadonlySet<string> | undefined }
  | { readonly is: 'refused'; readonly why: string }
  | { readonly is: 'unknown' };

export function commandKind(name: string): CommandKind {
  const why = Object.hasOwn(refusals, name) ? refusals[name] : undefined;
  if (why !== undefined) return { is: 'refused', why };
  return Object.hasOwn(taken, name) ? { is: 'taken', options: taken[name] } : { is: 'unknown' };
}

export const commandNames: readonly string[] = Object.keys(taken);
