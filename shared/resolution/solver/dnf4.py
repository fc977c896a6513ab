#!/usr/bin/python3
"""Solves one request with dnf 4: reads JSON from standard input, writes JSON to standard output. solver.ts has both shapes.

Exit status 0: answered, be the answer good or bad. 3: dnf's Python API is not installed. Anything else: broken, the reason is on standard error.
"""
import json
import os
import sys

# Whatever a library prints must not end up in the answer.
answer_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
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

# The repository that the resolver made of the requested Koji builds.
CANDIDATES = "spindle:koji"


def make_base(request):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = request["directory"] + "/root"
    conf.cachedir = request["directory"] + "/cache"
    conf.persistdir = request["directory"] + "/persist"
    conf.logdir = request["directory"] + "/log"
    conf.reposdir = []
    conf.varsdir = []
    conf.substitutions["arch"] = request["arch"]
    conf.substitutions["basearch"] = request["arch"]
    conf.substitutions["releasever"] = request["releasever"]
    # Either the newest of everything, or a clear no: never quietly an older one.
    conf.best = True
    # What is merely recommended does not make the image grow; who wants it names it.
    conf.install_weak_deps = False
    conf.gpgcheck = False
    conf.user_agent = request["userAgent"]
    conf.timeout = 30
    conf.retries = 3
    for repository in request["repositories"]:
        repo = base.repos.add_new_repo(repository["id"], conf, baseurl=[repository["baseurl"]] if repository.get("baseurl") else ())
        repo.metalink = repository.get("metalink")
        repo.mirrorlist = repository.get("mirrorlist")
        repo.skip_if_unavailable = False
        repo.load_metadata_other = False
    return base


def by_release_first(base, builds):
    """What a repository of the release has, exactly, is taken from there; other versions of a requested build's packages are out of the question."""
    out_of_question = set()
    for build in builds:
        for package in build["packages"]:
            named = base.sack.query().filter(name=package["name"])
            exact = named.filter(evr=package["evr"], arch=package["arch"])
            published = [each for each in exact if each.reponame != CANDIDATES]
            others = [each for each in named if each not in set(exact.run()) and each.reponame != CANDIDATES and each.evr != package["evr"]]
            out_of_question.update(others)
            if published:
                base.sack.add_excludes(base.sack.query().filter(pkg=[each for each in exact if each.reponame == CANDIDATES]))
    base.sack.add_excludes(base.sack.query().filter(pkg=list(out_of_question)))
    return out_of_question


class Groups:
    """Groups and environments of all repositories, as the package names that they stand for."""

    def __init__(self, comps):
        self.comps = comps

    def packages(self, spec):
        """None where there is no such group. Mandatory and default packages; of an environment those of its mandatory groups."""
        if spec.startswith("@^"):
            environment = self.comps.environment_by_pattern(spec[2:])
            groups = None if environment is None else environment.mandatory_groups
        else:
            group = self.comps.group_by_pattern(spec[1:])
            groups = None if group is None else [group]
        if groups is None:
            return None
        names = {package.name for group in groups for package in group.mandatory_packages + group.default_packages}
        return sorted(names)

    def ids(self):
        return sorted(["@" + group.id for group in self.comps.groups] + ["@^" + environment.id for environment in self.comps.environments])


def query_of(base, spec):
    return dnf.subject.Subject(spec).get_best_query(base.sack, with_src=False)


def exclude(base, groups, specs):
    """Returns the names that the excluded groups stand for: they are only left out of other groups, as in a kickstart."""
    names = set()
    excluded = set()
    for spec in specs:
        if spec.startswith("@"):
            names.update(groups.packages(spec) or [])
        else:
            excluded.update(query_of(base, spec))
    base.sack.add_excludes(base.sack.query().filter(pkg=list(excluded)))
    return names, excluded


class Solver:
    def __init__(self, base, request):
        self.base = base
        self.request = request
        self.groups = Groups(base.comps)
        self.replaced = by_release_first(base, request["builds"])
        self.left_out, self.excluded = exclude(base, self.groups, request["exclude"])
        self.missing = []
        self.skipped = set()
        self.specs = []
        for spec in request["install"]:
            self.expand(spec, "request")
        for spec in request["engine"]["needed"]:
            self.expand(spec, "engine")
        for spec in request["engine"]["ifKnown"]:
            if query_of(base, spec):
                self.specs.append(spec)

    def expand(self, spec, asked_by):
        if spec.startswith("@"):
            names = self.groups.packages(spec)
            if names is None:
                self.missing.append({"spec": spec, "reason": "no-group", "askedBy": asked_by})
                return
            for name in names:
                if name in self.left_out:
                    continue
                # Groups name packages that some architectures do not have; that is no reason to fail.
                (self.specs.append if query_of(self.base, name) else self.skipped.add)(name)
        elif query_of(self.base, spec):
            self.specs.append(spec)
        else:
            self.missing.append({"spec": spec, "reason": self.why_missing(spec), "askedBy": asked_by})

    def why_missing(self, spec):
        with_excluded = self.base.sack.query(flags=hawkey.IGNORE_EXCLUDES)
        found = set(dnf.subject.Subject(spec).get_best_query(self.base.sack, with_src=False, query=with_excluded))
        if found & self.excluded:
            return "excluded"
        if found & self.replaced:
            return "replaced"
        return "unknown"

    def names(self):
        return sorted({package.name for package in self.base.sack.query(flags=hawkey.IGNORE_EXCLUDES)})

    def solve(self, builds=()):
        """The chosen packages. Raises DepsolveError."""
        self.base.reset(goal=True)
        for spec in self.specs:
            self.base.install(spec)
        for build in builds:
            for package in build["main"]:
                selector = dnf.selector.Selector(self.base.sack)
                selector.set(pkg=self.base.sack.query().filter(name=package["name"], evr=package["evr"], arch=package["arch"]))
                self.base._goal.install(select=selector, optional=False)
        self.base.resolve()
        return list(self.base.transaction.install_set)

    def absent(self, chosen):
        """Requested builds of which nothing was chosen: the point of naming a build is to have it in the image."""
        present = {(package.name, package.evr, package.arch) for package in chosen}
        return [build for build in self.request["builds"] if not any((p["name"], p["evr"], p["arch"]) in present for p in build["packages"])]

    def roots(self, chosen, builds):
        names = {package.name for package in chosen}
        roots = {package["name"] for build in builds for package in build["main"]}
        for spec in self.specs:
            roots.update({package.name for package in query_of(self.base, spec)} & names)
        return sorted(roots & names)


def describe(package):
    kind, digest = package.returnIdSum()
    return {
        "name": package.name,
        "epoch": int(package.epoch),
        "version": package.version,
        "release": package.release,
        "arch": package.arch,
        "repository": package.reponame,
        "digestKind": kind,
        "digest": digest,
        "size": package.downloadsize,
        "installedSize": package.installsize,
        "location": package.location,
        "base": package.baseurl or None,
    }


def describe_repository(repo):
    mirrors = list(repo._repo.getMirrors() or repo.baseurl)
    return {"id": repo.id, "revision": repo._repo.getRevision() or "", "mirrors": [url for url in mirrors if url.startswith("http")][:5]}


def answer(request):
    base = make_base(request)
    try:
        base.fill_sack(load_system_repo=False)
        base.read_comps(arch_filter=True)
    except dnf.exceptions.RepoError as error:
        return {"outcome": "repository-failed", "problems": [str(error)]}
    solver = Solver(base, request)
    if solver.missing:
        return {"outcome": "missing", "missing": solver.missing, "known": solver.names() + solver.groups.ids()}
    try:
        builds = []
        chosen = solver.solve()
        absent = solver.absent(chosen)
        if absent:
            builds = absent
            chosen = solver.solve(builds)
    except dnf.exceptions.DepsolveError as error:
        problems = [rule for problem in base._goal.problem_rules() for rule in problem]
        return {"outcome": "unsolvable", "problems": problems or [str(error)]}
    return {
        "outcome": "solved",
        "packages": [describe(package) for package in chosen],
        "roots": solver.roots(chosen, builds),
        "skipped": sorted(solver.skipped),
        "repositories": [describe_repository(repo) for repo in base.repos.iter_enabled()],
    }


json.dump(answer(json.load(sys.stdin)), answer_stream)
answer_stream.flush()
