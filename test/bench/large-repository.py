#!/usr/bin/python3
"""Writes the metadata of a repository of 60,000 packages and more with a real dependency graph: that of the host's own package index, in RPM's terms.

Standard input: what `apt-cache dumpavail` prints. Argument: the directory. Standard output: the number of packages. The same index makes the same bytes.
Debian's alternatives become rich dependencies, its versions RPM's; files are made up, since the index has none, in the number and depth that Fedora's packages have.
"""
import hashlib
import os
import re
import subprocess
import sys
from xml.sax.saxutils import escape, quoteattr

RELATIONS = {"<<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">>": "GT"}
CORE = ["bash", "coreutils", "grep", "sed", "tar", "gzip", "systemd", "dpkg", "apt", "util-linux", "passwd", "login", "findutils", "hostname", "procps", "less", "nano", "vim-tiny", "curl", "openssh-client"]
# What KIWI needs inside a live image, by Fedora's names: so a service that makes those takes requests for this repository.
ENGINE = ["kernel-core", "dracut", "dracut-kiwi-live", "grub2-tools", "grub2-pc-modules", "grub2-efi-x64-modules"]
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+.-]*$")


def paragraphs(stream):
    fields, last = {}, None
    for line in stream:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, last = {}, None
        elif line[0] in " \t":
            if last == "Description":
                continue
            fields[last] += " " + line.strip()
        else:
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    if fields:
        yield fields


def evr(version):
    """Epoch, version and release in RPM's alphabet."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = rest, "1"
    clean = lambda text: re.sub(r"[^A-Za-z0-9._+~^]", "_", text) or "0"
    return epoch, clean(upstream), clean(revision)


def relation(text):
    """`name (>= 1.2)` → name, comparison, version; None where it is not one."""
    match = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9+.-]*)(?::\w+)?\s*(?:\((<<|<=|=|>=|>>)\s*([^)]+)\))?\s*(?:\[[^]]*\])?\s*", text)
    return match.groups() if match else None


def entry(parsed):
    name, comparison, version = parsed
    if not comparison:
        return f"<rpm:entry name={quoteattr(name)}/>"
    epoch, ver, rel = evr(version.strip())
    rel_part = f" rel={quoteattr(rel)}" if "-" in version else ""
    return f'<rpm:entry name={quoteattr(name)} flags="{RELATIONS[comparison]}" epoch="{epoch}" ver={quoteattr(ver)}{rel_part}/>'


def rich(alternatives):
    """Versions are left out of rich dependencies: what matters here is the choice."""
    names = [parsed[0] for parsed in alternatives]
    return f"<rpm:entry name={quoteattr('(' + ' or '.join(names) + ')')}/>"


def requirements(field):
    for clause in filter(None, (part.strip() for part in field.split(","))):
        alternatives = [parsed for parsed in map(relation, clause.split("|")) if parsed]
        if len(alternatives) == 1:
            yield entry(alternatives[0])
        elif alternatives:
            yield rich(alternatives)


def files_of(name, seed):
    # Some two dozen on average, a handful to a directory.
    for index in range(4 + seed[0] % 44):
        yield f"/usr/share/{name}/{'abcdefgh'[index // 6]}/{seed[index % 32]:02x}{index}.dat"


class Output:
    """One metadata document: written through zstd, hashed on both sides."""

    def __init__(self, directory, kind, head):
        self.kind = kind
        self.path = f"{directory}/repodata/{kind}.xml.zst"
        self.open_hash = hashlib.sha256()
        self.open_size = 0
        self.process = subprocess.Popen(["zstd", "-q", "-f", "-10", "-o", self.path], stdin=subprocess.PIPE)
        self.write(head)

    def write(self, text):
        data = text.encode()
        self.open_hash.update(data)
        self.open_size += len(data)
        self.process.stdin.write(data)

    def close(self, directory):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit("zstd broke")
        with open(self.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"repodata/{digest}-{self.kind}.xml.zst"
        os.rename(self.path, f"{directory}/{name}")
        size = os.stat(f"{directory}/{name}").st_size
        return (
            f'<data type="{self.kind}"><checksum type="sha256">{digest}</checksum><open-checksum type="sha256">{self.open_hash.hexdigest()}</open-checksum>'
            f'<location href="{name}"/><timestamp>1700000000</timestamp><size>{size}</size><open-size>{self.open_size}</open-size></data>\n'
        )


def main(directory):
    os.makedirs(f"{directory}/repodata", exist_ok=True)
    packages = {}
    for fields in paragraphs(sys.stdin):
        name = fields.get("Package", "")
        if NAME.match(name) and fields.get("Architecture") in ("amd64", "all") and "Version" in fields:
            packages.setdefault(name, fields)
    for name in ENGINE:
        packages.setdefault(name, {"Package": name, "Version": "1-1", "Description": "What an image tool needs"})
    count = len(packages)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    common = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'
    primary = Output(directory, "primary", f'{head}<metadata {common} packages="{count}">\n')
    filelists = Output(directory, "filelists", f'{head}<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{count}">\n')
    for name, fields in sorted(packages.items()):
        epoch, version, release = evr(fields["Version"])
        arch = "x86_64" if fields.get("Architecture") == "amd64" else "noarch"
        seed = hashlib.sha256(f"{name} {fields['Version']}".encode()).digest()
        pkgid = seed.hex()
        source = fields.get("Source", name).split(" ")[0]
        provides = [f'<rpm:entry name={quoteattr(name)} flags="EQ" epoch="{epoch}" ver={quoteattr(version)} rel={quoteattr(release)}/>']
        provides += [entry(parsed) for parsed in map(relation, fields.get("Provides", "").split(",")) if parsed]
        requires = list(requirements(", ".join(filter(None, [fields.get("Pre-Depends"), fields.get("Depends")]))))
        conflicts = [entry(parsed) for parsed in map(relation, fields.get("Breaks", "").split(",")) if parsed and parsed[1] in ("<<", "<=")]
        listed = list(files_of(name, seed))
        binary = f"<file>/usr/bin/{escape(name)}</file>" if seed[1] % 3 == 0 else ""
        primary.write(
            f'<package type="rpm"><name>{escape(name)}</name><arch>{arch}</arch><version epoch="{epoch}" ver={quoteattr(version)} rel={quoteattr(release)}/>'
            f'<checksum type="sha256" pkgid="YES">{pkgid}</checksum><summary>{escape(fields.get("Description", name))}</summary>'
            f'<description>{escape(fields.get("Description", name))}</description><packager>{escape(fields.get("Maintainer", ""))}</packager><url>{escape(fields.get("Homepage", ""))}</url>'
            f'<time file="1700000000" build="1700000000"/><size package="{fields.get("Size", 1000)}" installed="{int(fields.get("Installed-Size", 1)) * 1024}" archive="0"/>'
            f'<location href={quoteattr(f"Packages/{name[0]}/{name}-{version}-{release}.{arch}.rpm")}/>'
            f'<format><rpm:license>MIT</rpm:license><rpm:vendor>bench</rpm:vendor><rpm:group>Unspecified</rpm:group><rpm:buildhost>bench</rpm:buildhost>'
            f'<rpm:sourcerpm>{escape(source)}-{version}-{release}.src.rpm</rpm:sourcerpm><rpm:header-range start="280" end="4000"/>'
            f'<rpm:provides>{"".join(provides)}</rpm:provides>'
            + (f'<rpm:requires>{"".join(requires)}</rpm:requires>' if requires else "")
            + (f'<rpm:conflicts>{"".join(conflicts)}</rpm:conflicts>' if conflicts else "")
            + f"{binary}</format></package>\n"
        )
        filelists.write(
            f'<package pkgid="{pkgid}" name={quoteattr(name)} arch="{arch}"><version epoch="{epoch}" ver={quoteattr(version)} rel={quoteattr(release)}/>'
            + "".join(f"<file>{escape(path)}</file>" for path in listed)
            + f"{binary}</package>\n"
        )
    primary.write("</metadata>\n")
    filelists.write("</filelists>\n")
    group = Output(directory, "group", f"{head}<comps>\n")
    members = "".join(f'<packagereq type="mandatory">{name}</packagereq>' for name in CORE if name in packages)
    group.write(f"<group><id>core</id><name>Core</name><description/><packagelist>{members}</packagelist></group>\n</comps>\n")
    data = "".join(output.close(directory) for output in (primary, filelists, group))
    # Last, so that a directory that has it is whole.
    with open(f"{directory}/repodata/repomd.xml", "w", encoding="utf-8") as repomd:
        repomd.write(f'{head}<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1700000000</revision>\n{data}</repomd>\n')
    print(count)


main(sys.argv[1])
