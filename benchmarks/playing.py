# SPDX-License-Identifier: Apache-2.0
"""Whole plays against plays of modules that do nothing: a restart, a second secret.yml, and whether a full store is slower."""

import json
import os
import sys

from tests.site import Site, write

from . import fixture
from .measure import ROOT, Row, alternate, seconds

ANSIBLE = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
PLAYS = os.path.join(ROOT, "benchmarks", "plays")


def play(book, **variables):
    """tuple: (command, options of subprocess.run) for a playbook of ours, as a container's start runs it, or of plays/."""
    ours = os.path.join(ROOT, "playbooks", book)
    path = ours if os.path.exists(ours) else os.path.join(PLAYS, book)
    environment = dict(os.environ, ANSIBLE_CONFIG=os.path.join(ROOT, "ansible.cfg"), LC_ALL="C.UTF-8")
    environment["ANSIBLE_STDOUT_CALLBACK"] = "cm_persist"
    return [ANSIBLE, path, "-e", json.dumps(variables)], {"env": environment}


def _timed(book, **variables):
    command, options = play(book, **variables)
    return lambda: seconds(command, **options)


def rows(top, full):
    """Yield the rows, measured in a scratch directory (str); full for more rounds."""
    rounds = 11 if full else 5
    few, many = (_started(top, "restart-{}".format(count), count) for count in (1000, 100_000))
    ours, theirs = alternate(rounds, _timed("start.yml", **few), _timed("noop_two.yml"))
    yield Row("restart, the whole of start.yml", "a play of two modules that do nothing", ours, theirs, 1.2)
    ours, theirs = alternate(rounds, _timed("start.yml", **many), _timed("start.yml", **few))
    yield Row("restart with 100,000 files in the store", "restart with 1,000", ours, theirs, 1.05)
    secret = _with_credentials(top)
    _timed("secret.yml", **secret)()
    ours, theirs = alternate(rounds, _timed("secret.yml", **secret), _timed("noop_one.yml"))
    yield Row("secret.yml, a second run", "a play of one module that does nothing", ours, theirs, 1.2)


def _started(top, name, count):
    site = Site(os.path.join(top, name))
    fixture.make_small(site.path(), count)
    variables = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}
    variables["cm_persist_lease"] = False
    _timed("start.yml", **variables)()
    return variables


def _with_credentials(top):
    source = os.path.join(top, "secret")
    os.mkdir(source)
    for name in ("token", "ca.crt", "namespace"):
        write(os.path.join(source, name), name)
    return {"cm_persist_secret_source": source, "cm_persist_secret_target": os.path.join(top, "run", "secrets", "account")}
