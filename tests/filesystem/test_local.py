# SPDX-License-Identifier: Apache-2.0
"""On the machine that Ansible runs on, the modules run from where they lie; with the same results as anywhere else."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.plays import ROOT, play, results
from tests.site import write

from .test_playbooks import secret, wanted  # noqa: F401  fixtures

OTHER = "/usr/bin/python3"  # another interpreter than Ansible's own: the modules are packed and sent to it
AWAY = json.dumps({"ansible_python_interpreter": OTHER})


def without_times(told):
    """dict: what modules returned, without what differs from run to run."""
    text = re.sub(r'"(at|seconds|mtime_ns)": [0-9.]+|cm_persist_local|/usr/bin/python3', "", json.dumps(told, sort_keys=True))
    return re.sub(r"cm_persist-[a-z0-9_]+", "", text)


@pytest.mark.parametrize("more", [[], ["--check", "--diff"]], ids=["done", "planned"])
def test_both_ways_give_the_same(site, wanted, more):  # noqa: F811
    here = results("start.yml", wanted, *more), results("start.yml", wanted, *more)
    if not more:  # as it was
        shutil.rmtree(site.store)
        os.mkdir(site.store)
        os.unlink(site.path())
        os.rename(site.path("data-initial"), site.path())
    away = results("start.yml", wanted, *more, "-e", AWAY), results("start.yml", wanted, *more, "-e", AWAY)
    assert without_times(here) == without_times(away) and here[0][1]["persist_seed"]["changed"]


def test_bad_input_is_refused_in_the_same_words(wanted, secret):  # noqa: F811
    for book, bad in (
        ("start.yml", dict(wanted, cm_persist_store="relative")),
        ("start.yml", dict(wanted, cm_persist_paths=["/data", 1])),
        ("secret.yml", dict(secret, cm_persist_secret_target="/")),
    ):
        here, away = results(book, bad), results(book, bad, "-e", AWAY)
        assert here[0] == away[0] == 2 and without_times(here) == without_times(away)


@pytest.mark.parametrize(
    "book, module", [("start.yml", "persist_seed"), ("secret.yml", "secret_link"), ("status.yml", "persist_info")]
)
def test_which_way_is_taken(wanted, secret, book, module):  # noqa: F811
    def files(*arguments):
        said = play(book, dict(wanted, **secret), "-vvv", *arguments, ANSIBLE_STDOUT_CALLBACK="default").stdout
        return set(re.findall(r"Using module file \S+/library/(\w+)\.py", said))

    assert files() == {"cm_persist_local"}
    for away in (["-e", AWAY], ["--become", "--become-user", "root"]):
        assert module in files(*away) and "cm_persist_local" not in files(*away)


def test_values_are_those_that_ansible_works_out(site, wanted):  # noqa: F811
    variables = dict(
        wanted, top=site.image, kept="data", cm_persist_paths=["{{ top }}/{{ kept }}"], cm_persist_missing="{{ 'skip' }}"
    )
    code, told = results("start.yml", variables)
    assert code == 0 and told["persist_seed"]["paths"][0]["path"] == site.path()


def test_an_unforeseen_error_tells_its_reason(top):
    arguments = os.path.join(top, "arguments")
    write(arguments, json.dumps({"_cm_persist": [ROOT, "persist_nothing"]}))
    runner = os.path.join(ROOT, "library", "cm_persist_local.py")
    done = subprocess.run([sys.executable, runner, arguments], stdout=subprocess.PIPE, text=True, check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and said["failed"] and "persist_nothing" in said["msg"] and "Traceback" in said["exception"]


BOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - persist_seed:
        store: {store}
        paths: [{path}]
        require_mount: false
        lease: false
      {keyword}
"""


def task(site, keyword):
    """CompletedProcess: of a play of one task of ours with one more keyword."""
    book = os.path.join(site.top, "book.yml")
    write(book, BOOK.format(store=site.store, path=site.path(), keyword=keyword))
    return play(book, {}, ANSIBLE_STDOUT_CALLBACK="cm_persist")


def test_in_the_background_as_any_module(site):
    done = task(site, "async: 30\n      poll: 1")
    assert done.returncode == 0 and os.path.isdir(site.stored()), done.stdout + done.stderr


def test_what_was_only_rehearsed_is_told(site):
    done = task(site, "check_mode: true")
    assert done.returncode == 0 and "cm_persist: first run (" in done.stdout and not os.path.exists(site.stored())
