#!/usr/bin/python3
"""Holds the metadata of one collection of repositories in dnf 4, and forks a child for each question: what the child changes is gone with it.

The first line of standard input is the collection as JSON; dnf.ts writes it, and all that follows. Then one line a question, `solve ID` or `index ID`: it stands in ID.json of
the working directory, its answer goes to ID.answer (or why there is none to ID.error), and standard output says `done ID STATUS MILLISECONDS`; `drop ID` ends a question's child. Where `input` ends, all ends.

Exit status 3: dnf's Python API is not installed. 4: the metadata cannot be loaded, the reason is on standard error. 0: the input has ended. solver.ts has the shapes of questions and answers.
"""
import ctypes
import gc
import json
import os
import re
import resource
import select
import signal
import sys
import time

# Whatever a library prints must not end up among our own lines.
lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
os.dup2(2, 1)

try:
    import dnf
    import dnf.exceptions
    import dnf.selector
    import dnf.subject
    import hawkey
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)

# The name that libdnf gives to packages outside of any repository, and ours for them (looseId of solver.ts).
COMMAND_LINE = "@commandline"
LOOSE = "@loose"

# Beyond this a question is not solved but ended: a resolution of a whole distribution takes a few seconds and some 100 MB.
CPU_SECONDS_MAX = 120
MEMORY_BYTES_MAX = 4 * 1024**3

PR_SET_PDEATHSIG = 1


class BadHeader(Exception):
    """A loose package is not what it is said to be."""


class Unsolvable(Exception):
    """What is asked for cannot be installed together; the goal has the reasons."""


class CannotLoad(Exception):
    """A further repository's metadata is not what dnf can use."""


def make_base(collection):
    base = dnf.Base()
    conf = base.conf
    directory = collection["directory"]
    conf.installroot = directory + "/root"
    conf.cachedir = directory + "/cache"
    conf.persistdir = directory + "/persist"
    conf.logdir = directory + "/log"
    conf.reposdir = []
    conf.varsdir = []
    conf.substitutions["arch"] = collection["arch"]
    conf.substitutions["basearch"] = collection["arch"]
    conf.substitutions["releasever"] = collection["releasever"]
    # Either the newest of everything, or a clear no: never quietly an older one.
    conf.best = True
    # What is merely recommended does not make the image grow; who wants it names it.
    conf.install_weak_deps = False
    conf.gpgcheck = False
    for repository in collection["repositories"]:
        add_repository(base, repository)
    return base


def add_repository(base, repository):
    """`directory` has checked metadata: dnf has no network here, and needs none. What it makes of it is kept in `cache`, for the next start."""
    repo = base.repos.add_new_repo(repository["id"], base.conf, baseurl=["file://" + repository["directory"]])
    repo.basecachedir = repository["cache"]
    repo.skip_if_unavailable = False
    repo.load_metadata_other = False
    return repo


def load(collection):
    base = make_base(collection)
    base.fill_sack(load_system_repo=False)
    base.read_comps(arch_filter=True)
    # libsolv's index of what provides what is made at the first question; made here, every child has it already.
    base.sack.query().filter(provides="spindle-asks-first").run()
    return base


class Groups:
    """Groups and environments of all repositories, as the package names that they stand for."""

    def __init__(self, comps):
        self.comps = comps

    def find(self, spec):
        """The environment, if the name is of one, and the groups that it stands for; None where there is no such group."""
        if spec.startswith("@^"):
            environment = self.comps.environment_by_pattern(spec[2:])
            return None if environment is None else (environment, environment.mandatory_groups)
        group = self.comps.group_by_pattern(spec[1:])
        return None if group is None else (None, [group])

    def packages(self, spec):
        """None where there is no such group. Mandatory and default packages; of an environment those of its mandatory groups."""
        found = self.find(spec)
        return None if found is None else sorted({name for group in found[1] for name in self.members(group)})

    def members(self, group):
        return [package.name for package in group.mandatory_packages + group.default_packages]

    def described(self, specs, chosen):
        """The groups and environments that are named, with those of their members that were chosen: a medium that carries the packages says so of them."""
        groups, environments = {}, {}
        for spec in specs:
            environment, members = self.find(spec)
            if environment is not None:
                environments[environment.id] = {
                    "id": environment.id,
                    "name": environment.ui_name or environment.id,
                    "groups": [group.id for group in members],
                }
            for group in members:
                groups[group.id] = {"id": group.id, "name": group.ui_name or group.id, "packages": sorted(chosen & set(self.members(group)))}
        return {"groups": list(groups.values()), "environments": list(environments.values())}

    def named(self):
        for group in self.comps.groups:
            yield "@" + group.id, group.ui_name or ""
        for environment in self.comps.environments:
            yield "@^" + environment.id, environment.ui_name or ""


def nevra(package):
    """As formatNevra of shared/fedora/nvr.ts writes it."""
    return f"{package.name}-{package.evr}.{package.arch}"


def nevra_of(key):
    name, evr, arch = key
    return f"{name}-{evr}.{arch}"


def evr_of(package):
    return (f"{package['epoch']}:" if package["epoch"] else "") + f"{package['version']}-{package['release']}"


class Question:
    def __init__(self, base, request):
        self.base = base
        self.sack = base.sack
        self.request = request
        self.disabled = [repo.id for repo in base.repos.iter_enabled() if repo.id not in request["enabled"]]
        for repository in request["further"]:
            add_repository(base, repository)
            base._add_repo_to_sack(base.repos[repository["id"]])
        if request["further"]:
            base.read_comps(arch_filter=True)
        self.groups = Groups(base.comps)
        self.sets = {}
        self.loose = self.add_loose()
        if self.disabled:
            self.sack.add_excludes(self.sack.query().filter(reponame=self.disabled))
        self.replaced = self.prefer_sets()
        self.left_out, self.excluded = self.exclude(request["exclude"])
        self.missing = []
        self.skipped = set()
        self.specs = []

    def query(self, spec):
        return dnf.subject.Subject(spec).get_best_query(self.sack, with_src=False)

    def without(self, packages):
        if packages:
            self.sack.add_excludes(self.sack.query().filter(pkg=list(packages)))

    def add_loose(self):
        """Loose packages by (name, evr, arch), each with the label of its set."""
        found = {}
        for each in self.request["sets"]:
            for package in each["packages"]:
                key = (package["name"], evr_of(package), package["arch"])
                if key in found:
                    continue
                try:
                    loaded = self.sack.add_cmdline_package(package["header"])
                except (hawkey.Exception, OSError) as error:
                    raise BadHeader(f"the header of {nevra_of(key)} cannot be read: {error}") from error
                if (loaded.name, loaded.evr, loaded.arch) != key:
                    raise BadHeader(f"the header of {nevra_of(key)} names {nevra(loaded)}")
                found[key] = loaded
                self.sets[key] = each["label"]
        return found

    def prefer_sets(self):
        """
        What an enabled repository has, exactly, is taken from there, but for sets whose files are others. Other versions of what a set brings are out of the question; returns them with the set's label. Sets that only
        fill gaps bring nothing that has a name already.
        """
        replaced = {}
        brought = set()
        for each in self.request["sets"]:
            if each["rule"] == "if-missing":
                continue
            for package in each["packages"]:
                evr = evr_of(package)
                brought.add(package["name"])
                named = self.sack.query().filter(name=package["name"])
                exact = named.filter(evr=evr, arch=package["arch"])
                published = [found for found in exact if found.reponame != COMMAND_LINE]
                for other in named:
                    if other.reponame != COMMAND_LINE and other.evr != evr:
                        replaced[other] = each["label"]
                if published and each.get("evenIfPublished"):
                    replaced.update((found, each["label"]) for found in published)
                elif published:
                    self.without([found for found in exact if found.reponame == COMMAND_LINE])
        self.without(replaced.keys())
        gaps = []
        for each in self.request["sets"]:
            if each["rule"] != "if-missing":
                continue
            for package in each["packages"]:
                key = (package["name"], evr_of(package), package["arch"])
                has_name = any(found.reponame != COMMAND_LINE for found in self.sack.query().filter(name=package["name"]))
                if self.sets[key] == each["label"] and (has_name or package["name"] in brought):
                    gaps.append(self.loose[key])
        self.without(gaps)
        return replaced

    def exclude(self, specs):
        """Returns the names that excluded groups stand for: they are only left out of other groups, as in a kickstart; and the excluded packages."""
        names = set()
        excluded = set()
        for spec in specs:
            if spec.startswith("@"):
                names.update(self.groups.packages(spec) or [])
            else:
                excluded.update(self.query(spec))
        self.without(excluded)
        return names, excluded

    def mark(self, spec):
        """Asks dnf for it, for the next solve; False where nothing matches. Looking first and asking then would look twice, which is most of the time that a large request takes."""
        try:
            self.base.install(spec)
        except dnf.exceptions.MarkingError:
            return False
        self.specs.append(spec)
        return True

    def mark_all(self):
        self.base.reset(goal=True)
        for spec in self.request["install"]:
            self.expand(spec, "request")
        for spec in self.request["engine"]["needed"]:
            self.expand(spec, "engine")
        for spec in self.request["engine"]["ifKnown"]:
            self.mark(spec)

    def expand(self, spec, asked_by):
        if spec.startswith("@"):
            names = self.groups.packages(spec)
            if names is None:
                self.missing.append({"spec": spec, "reason": "no-group", "askedBy": asked_by, "set": None, "elsewhere": []})
                return
            for name in names:
                # Groups name packages that some architectures do not have; that is no reason to fail.
                if name not in self.left_out and not self.mark(name):
                    self.skipped.add(name)
        elif not self.mark(spec):
            self.missing.append({"spec": spec, "askedBy": asked_by, **self.why_missing(spec)})

    def why_missing(self, spec):
        everything = self.sack.query(flags=hawkey.IGNORE_EXCLUDES)
        found = set(dnf.subject.Subject(spec).get_best_query(self.sack, with_src=False, query=everything))
        if found & self.excluded:
            return {"reason": "excluded", "set": None, "elsewhere": []}
        replaced = [self.replaced[package] for package in sorted(found & self.replaced.keys())]
        if replaced:
            return {"reason": "replaced", "set": replaced[0], "elsewhere": []}
        elsewhere = self.elsewhere(found)
        return {"reason": "disabled" if elsewhere else "unknown", "set": None, "elsewhere": elsewhere}

    def elsewhere(self, packages):
        """What repositories that the request leaves off have of these, newest first."""
        found = sorted((package for package in packages if package.reponame in self.disabled), reverse=True)[:10]
        return [
            {
                "nevra": nevra(package),
                "repository": package.reponame,
                "advisories": sorted({advisory.id for advisory in package.get_advisories(hawkey.EQ)})[:20],
            }
            for package in found
        ]

    def solve(self):
        """The chosen packages of all that is marked. Raises Unsolvable.

        As `Base.resolve` does it, without what follows there: nothing is installed here, and the record of a transaction in dnf's history takes twenty times as long as solving.
        """
        goal, conf = self.base._goal, self.base.conf
        if not goal.run(allow_uninstall=False, force_best=conf.best, ignore_weak_deps=not conf.install_weak_deps):
            raise Unsolvable
        return list(goal.list_installs())

    def mark_sets(self, sets):
        """All that was marked before, and the main packages of these sets."""
        self.base.reset(goal=True)
        for spec in self.specs:
            self.base.install(spec)
        for each in sets:
            for package in each["packages"]:
                if package["name"] in each["main"]:
                    wanted = self.sack.query().filter(name=package["name"], evr=evr_of(package), arch=package["arch"])
                    self.base._goal.install(select=dnf.selector.Selector(self.sack).set(pkg=wanted), optional=False)

    def absent(self, chosen):
        """Sets that must be in the image and are not: the point of naming a build is to have it there."""
        present = {(package.name, package.evr, package.arch) for package in chosen}
        return [
            each
            for each in self.request["sets"]
            if each["rule"] == "in-image" and not any((p["name"], evr_of(p), p["arch"]) in present for p in each["packages"])
        ]

    def roots(self, chosen, sets):
        names = {package.name for package in chosen}
        roots = {name for each in sets for name in each["main"]}
        for spec in self.specs:
            if spec in names:
                roots.add(spec)
            else:
                roots.update({package.name for package in self.query(spec)})
        return sorted(roots & names)

    def describe(self, package):
        is_loose = package.reponame == COMMAND_LINE
        kind, digest = (None, "") if is_loose else package.returnIdSum()
        return {
            "name": package.name,
            "epoch": int(package.epoch),
            "version": package.version,
            "release": package.release,
            "arch": package.arch,
            "repository": LOOSE if is_loose else package.reponame,
            "set": self.sets[(package.name, package.evr, package.arch)] if is_loose else None,
            "digestKind": "" if is_loose else kind,
            "digest": digest,
            "size": 0 if is_loose else package.downloadsize,
            "installedSize": package.installsize,
            "location": "" if is_loose else package.location,
            "base": None if is_loose else (package.baseurl or None),
        }

    def hints(self, problems):
        """What a repository that is left off would provide, for each thing that nothing provides."""
        patterns = (r"^nothing provides (.+?) needed by ", r" requires (.+), but none of the providers can be installed$")
        requirements = {match for rules in problems for rule in rules for pattern in patterns for match in re.findall(pattern, rule)}
        found = []
        for requirement in sorted(requirements)[:20]:
            try:
                providers = self.sack.query(flags=hawkey.IGNORE_EXCLUDES).filter(provides=requirement)
                elsewhere = self.elsewhere(providers)
            except (hawkey.Exception, ValueError):
                # A rich dependency or a path that is no capability.
                continue
            if elsewhere:
                found.append({"requirement": requirement, "elsewhere": elsewhere})
        return found

    def filtered(self, problems):
        """By whom the packages are out of the question that libsolv calls filtered out."""
        names = {match for rules in problems for rule in rules for match in re.findall(r"^package (\S+) is filtered out by exclude filtering$", rule)}
        found = []
        for name in sorted(names)[:20]:
            for package in hawkey.Subject(name).get_best_query(
                self.sack, with_nevra=True, with_provides=False, with_filenames=False, query=self.sack.query(flags=hawkey.IGNORE_EXCLUDES)
            ):
                if package in self.excluded:
                    found.append({"nevra": nevra(package), "reason": "excluded", "set": None})
                elif package in self.replaced:
                    found.append({"nevra": nevra(package), "reason": "replaced", "set": self.replaced[package]})
                elif package.reponame in self.disabled:
                    found.append({"nevra": nevra(package), "reason": "disabled", "set": None})
        return found[:20]

    def answer(self):
        self.mark_all()
        if self.missing:
            return {"outcome": "missing", "missing": self.missing}
        try:
            added = []
            chosen = self.solve()
            absent = self.absent(chosen)
            if absent:
                added = absent
                self.mark_sets(absent)
                chosen = self.solve()
        except Unsolvable:
            problems = [list(rules) for rules in self.base._goal.problem_rules()]
            return {"outcome": "unsolvable", "problems": problems, "hints": self.hints(problems), "filtered": self.filtered(problems)}
        return {
            "outcome": "solved",
            "packages": [self.describe(package) for package in chosen],
            "roots": self.roots(chosen, added),
            "skipped": sorted(self.skipped),
            **self.groups.described([spec for spec in self.request["install"] if spec.startswith("@")], {package.name for package in chosen}),
        }


def write_index(base, path):
    """One line a name: the newest package, in any of the repositories. Blanks stand for what would break a line."""
    clean = str.maketrans("\t\n\r", "   ")
    newest = {}
    for package in base.sack.query().filter(latest=True):
        known = newest.get(package.name)
        # Of several architectures the collection's own comes before those that it can run too.
        if known is None or (package.arch not in ("noarch", base.conf.substitutions["arch"])) < (known.arch not in ("noarch", base.conf.substitutions["arch"])):
            newest[package.name] = package
    with open(path, "w", encoding="utf-8", errors="replace") as index:
        for name in sorted(newest):
            package = newest[name]
            index.write("\t".join(str(part).translate(clean) for part in (name, package.evr, package.arch, package.reponame, package.summary or "")) + "\n")
        for name, title in sorted(set(Groups(base.comps).named())):
            index.write("\t".join([name.translate(clean), "", "", "", title.translate(clean)]) + "\n")


def child(base, kind, name):
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    partial = name + ".partial"
    if kind == "index":
        write_index(base, partial)
    else:
        with open(name + ".json", encoding="utf-8") as question:
            request = json.load(question)
        try:
            result = Question(base, request).answer()
        except dnf.exceptions.RepoError as error:
            raise CannotLoad(f"a further repository cannot be loaded: {error}") from error
        with open(partial, "w", encoding="utf-8") as answer:
            json.dump(result, answer)
    os.rename(partial, name + ".answer")


def explain(name, reason):
    with open(name + ".error", "w", encoding="utf-8", errors="replace") as file:
        file.write(reason[:4000])


def fork_child(base, kind, name, parent):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            child(base, kind, name)
            status = 0
    except CannotLoad as error:
        status = 5
        explain(name, str(error))
    except BadHeader as error:
        status = 6
        explain(name, str(error))
    except BaseException as error:  # pylint: disable=broad-except
        explain(name, f"{type(error).__name__}: {error}")
    finally:
        # Not the interpreter's own end: its clean-up of all that the parent loaded takes longer than most answers.
        sys.stderr.flush()
        os._exit(status)


def serve(base):
    parent = os.getpid()
    running = {}
    ready_read, ready_write = os.pipe()
    os.set_blocking(ready_write, False)
    os.set_blocking(ready_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ready_write, warn_on_full_buffer=False)
    buffered = b""
    while True:
        ready, _, _ = select.select([0, ready_read], [], [])
        if ready_read in ready:
            try:
                os.read(ready_read, 4096)
            except BlockingIOError:
                pass
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            name, started = running.pop(pid)
            lines.write(f"done {name} {os.waitstatus_to_exitcode(status)} {round((time.monotonic() - started) * 1000)}\n")
        if 0 not in ready:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        buffered += chunk
        *whole, buffered = buffered.split(b"\n")
        for line in whole:
            verb, name = line.decode("ascii").split(" ")
            if not re.fullmatch(r"[0-9]{1,12}", name):
                raise SystemExit(f"{name!r} is not a question's number")
            if verb == "drop":
                for pid, (known, _) in running.items():
                    if known == name:
                        os.kill(pid, signal.SIGKILL)
            elif verb in ("solve", "index"):
                running[fork_child(base, verb, name, parent)] = (name, time.monotonic())
            else:
                raise SystemExit(f"{verb!r} is not a question")


def read_line():
    """The first line, byte by byte: what follows is for `select`."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return json.loads(line)


def main():
    # Nobody but the answer's reader needs to see what a build asks for.
    os.umask(0o077)
    try:
        base = load(read_line())
    except (dnf.exceptions.Error, hawkey.Exception, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(4)
    # Children share the parent's memory as long as nobody writes to it; the collector would.
    gc.collect()
    gc.freeze()
    gc.disable()
    lines.write("ready\n")
    serve(base)


if __name__ == "__main__":
    main()
