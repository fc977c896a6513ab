#!/usr/bin/python3
"""dnf 4 by the plainest means, as the resolver's benches compare with it.

Arguments: `warm URL DIRECTORY`: loads the repository, then solves the packages of each line of standard input and prints seconds and the number of packages, or `no` and the reason.
`cold URL DIRECTORY NAMES…`: one solve with whatever is cached in the directory.
"""
import os
import sys
import time

import dnf
import dnf.exceptions


def load(url, directory):
    os.makedirs(directory + "/log", exist_ok=True)
    base = dnf.Base()
    conf = base.conf
    conf.installroot, conf.cachedir, conf.persistdir, conf.logdir = (directory + each for each in ("/root", "/cache", "/persist", "/log"))
    conf.reposdir, conf.varsdir = [], []
    conf.substitutions.update({"releasever": "1", "arch": "x86_64", "basearch": "x86_64"})
    conf.best, conf.install_weak_deps = True, False
    base.repos.add_new_repo("large", conf, baseurl=[url])
    base.fill_sack(load_system_repo=False)
    base.read_comps()
    return base


def solve(base, names):
    base.reset(goal=True)
    for name in names:
        base.install(name)
    base.resolve()
    return len(base.transaction.install_set)


def main(kind, url, directory, *names):
    base = load(url, directory)
    if kind == "cold":
        print(solve(base, names))
        return
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        try:
            count = solve(base, line.split())
            print(time.perf_counter() - started, count, flush=True)
        except dnf.exceptions.Error as error:
            print("no", str(error).replace("\n", " ")[:200], flush=True)


main(*sys.argv[1:])
