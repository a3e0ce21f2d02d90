# SPDX-License-Identifier: Apache-2.0
"""Each way to get cm_persist, from an empty directory, as release/try walks it; for `make release-check` in a clean container."""

import os
import subprocess

import pytest

from tests.plays import OWN, ROOT
from tests.site import run


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """str: a git repository of what lies here, with what is not committed yet."""
    path = str(tmp_path_factory.mktemp("sources") / "cm_persist")
    listed = subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]).split(
        b"\0"
    )
    there = b"\0".join(name for name in listed if name and os.path.lexists(os.path.join(os.fsencode(ROOT), name)))
    os.mkdir(path)
    copied = subprocess.Popen(["tar", "-C", ROOT, "--null", "-T", "-", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    extracted = subprocess.Popen(["tar", "-C", path, "-x"], stdin=copied.stdout)
    copied.stdin.write(there)
    copied.stdin.close()
    assert extracted.wait() == 0 and copied.wait() == 0
    git = ["git", "-C", path, "-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        run(*git, *command)
    return path


def walk(way, source, directory):
    """str: what release/try says of a way, in an empty directory."""
    path = OWN + os.pathsep + os.environ["PATH"]
    return run(os.path.join(ROOT, "release", "try"), way, source, cwd=directory, env=dict(os.environ, PATH=path))


def test_a_clone(sources, top):
    assert "clone: works" in walk("clone", "file://" + sources, top)


def test_a_role_of_a_requirements_file_under_its_name_and_another(sources, top):
    assert "role: works" in walk("role", "git+file://" + sources, top)


def test_a_collection_which_ansible_test_has_nothing_against(tmp_path, top):
    path = OWN + os.pathsep + os.environ["PATH"]
    said = run(os.path.join(ROOT, "release", "collection"), str(tmp_path), env=dict(os.environ, PATH=path))
    assert "collection: works" in walk("collection", said.split()[-1], top)
    # By the newest ansible-core; it ends with a failure where it finds anything.
    run(os.path.join(ROOT, "release", "sanity"), said.split()[-1], env=dict(os.environ, PATH=path))


@pytest.mark.parametrize("way", ["clone", "role"])
def test_what_does_not_work_is_not_said_to(sources, top, way):
    run("git", "clone", "-q", sources, top + "/clone")
    os.unlink(top + "/clone/library/persist_link.py")
    run("tar", "-C", top + "/clone", "-czf", top + "/broken.tar.gz", "--exclude=.git", "--transform=s,^./,x/,", ".")
    empty = os.path.join(top, "empty")
    os.mkdir(empty)
    done = subprocess.run(
        [os.path.join(ROOT, "release", "try"), way, top + "/broken.tar.gz"], cwd=empty, text=True,
        env=dict(os.environ, PATH=OWN + os.pathsep + os.environ["PATH"]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode and "did not end well" in done.stdout and "persist_link" in done.stdout
