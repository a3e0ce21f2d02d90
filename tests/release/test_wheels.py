# SPDX-License-Identifier: Apache-2.0
"""What container/fetch-wheels accepts. Which Python the base has, a stand-in for the container engine says."""

import os
import re
import shutil
import subprocess
import warnings

import pytest

from tests.plays import ROOT
from tests.pythons import find_python
from tests.site import read, run, write

MACHINE = os.uname().machine
NOT_HERE = ("3.14.0",)  # no machine of these tests has it: its list is fetched, and that is all


@pytest.fixture
def fetch(top):
    """callable: container/fetch-wheels of a copy of container/, for a base with this Python; gives what it did."""
    container = os.path.join(top, "container")
    shutil.copytree(os.path.join(ROOT, "container"), container, ignore=shutil.ignore_patterns("wheels"))
    engine = os.path.join(top, "engine")

    def fetched(version):
        tags = " ".join("manylinux{}_{}".format(tag, MACHINE) for tag in ("2014", "_2_17", "_2_28", "_2_34"))
        write(engine, "#!/bin/sh\necho {} {}\n".format(version, tags))
        os.chmod(engine, 0o755)
        return subprocess.run(
            [os.path.join(container, "fetch-wheels"), "base"], env=dict(os.environ, CONTAINER_ENGINE=engine),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    fetched.container = container
    return fetched


@pytest.mark.parametrize("version", ["3.6.8", "3.7.3", "3.9.2", "3.13.5", "3.14.0"])
def test_what_the_list_names_is_fetched_and_nothing_else_and_can_be_installed(fetch, top, version):
    done = fetch(version)
    assert done.returncode == 0, done.stdout
    lock = read(os.path.join(fetch.container, "locks", version.rpartition(".")[0] + ".txt"))
    wanted = {name.replace("-", "_"): number for name, number in re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE)}
    wheels = [name for name in os.listdir(fetch.container + "/wheels") if name.endswith(".whl")]
    assert {name.split("-")[0].lower(): name.split("-")[1] for name in wheels} == wanted
    assert read(fetch.container + "/wheels/requirements.txt") == lock
    python = find_python(version.rpartition(".")[0])
    if python is None:
        warnings.warn("NOT TESTED: whether ansible-core can be installed for Python {}".format(version), stacklevel=1)
        if version not in NOT_HERE:
            pytest.skip("no Python {} on this machine".format(version))
        return
    venv = os.path.join(top, "venv")
    run(os.path.join(fetch.container, "install-wheels"), python, fetch.container + "/wheels", venv)
    assert "[core {}]".format(wanted["ansible_core"]) in run(venv + "/bin/ansible-playbook", "--version")


def test_a_file_with_another_hash_is_refused(fetch):
    path = os.path.join(fetch.container, "locks", "3.11.txt")
    lock = read(path)
    other = "sha256:" + 64 * "0"
    block = r"(?m)^resolvelib==(?:.*\\\n)*.*"
    write(path, re.sub(block, lambda found: re.sub("sha256:[0-9a-f]+", other, found[0]), lock))
    done = fetch("3.11.2")
    assert done.returncode and "resolvelib" in done.stdout and "HASH" in done.stdout.upper(), done.stdout
    assert not os.path.exists(fetch.container + "/wheels")


def test_a_python_without_a_list_is_refused(fetch):
    done = fetch("3.5.3")
    assert done.returncode and "Python 3.5.3" in done.stdout and "PYTHON=" in done.stdout
