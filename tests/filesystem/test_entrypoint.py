# SPDX-License-Identifier: Apache-2.0
"""The entry point of a container whose working directory is a state path, or lies in one: the command must work in the volume."""

import os
import shlex
import shutil
import subprocess

import pytest

from tests.site import read

CONTAINER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "container")
TO_THE_STORE = 'ln -s "$0" "$1"'


class Container:
    """A root of a container as far as entrypoint needs one: its neighbours, a state path with content, and the volume's copy."""

    def __init__(self, top):
        self.scripts, self.path, self.stored = (os.path.join(top, name) for name in ("scripts", "data", "store"))
        os.mkdir(self.scripts)
        for name in ("entrypoint", "say"):
            shutil.copy(os.path.join(CONTAINER, name), self.scripts)
        self.script("probe", "exit 0")
        for place in (self.path, self.stored):
            os.makedirs(place + "/sub")

    def script(self, name, text):
        path = os.path.join(self.scripts, name)
        with open(path, "w") as file:
            file.write("#!/bin/sh\n{}\n".format(text))
        os.chmod(path, 0o755)

    def start(self, doing, *command, directory="", **environment):
        """CompletedProcess: of the entry point with this command, started in the state path or a directory in it, where the
        start does to the original and to the path what these words of a shell say ($0: the volume's copy, $1: the path)."""
        self.script("play", "cd / && sh -ec {} {} {}".format(*map(shlex.quote, (doing, self.stored, self.path))))
        return subprocess.run(
            [os.path.join(self.scripts, "entrypoint"), *command],
            cwd=self.path + directory,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def container(top):
    return Container(top)


@pytest.mark.parametrize("out_of_the_way", ['rm -r "$1"', 'mv "$1" "$1-initial"'], ids=["removed", "renamed"])
@pytest.mark.parametrize("directory", ["", "/sub"])
def test_the_command_works_in_the_volume_through_the_link(container, out_of_the_way, directory):
    doing = out_of_the_way + "; " + TO_THE_STORE
    done = container.start(doing, "sh", "-c", "pwd -P; echo row >file", directory=directory)
    assert (done.returncode, done.stdout) == (0, container.stored + directory + "\n")
    assert read(container.stored + directory + "/file") == "row\n"


@pytest.mark.root
def test_the_command_works_in_the_volume_under_a_mount(container):
    try:
        done = container.start('mount --bind "$0" "$1"', "sh", "-c", "echo row >file")
    finally:
        subprocess.run(["umount", "--quiet", container.path], check=False)
    assert done.returncode == 0, done.stdout
    assert read(container.stored + "/file") == "row\n" and os.listdir(container.path) == ["sub"]


def test_a_working_directory_that_is_not_there_any_more_is_an_error(container):
    doing = 'rmdir "$0/sub"; rm -r "$1"; ' + TO_THE_STORE
    done = container.start(doing, "echo", "started", directory="/sub")
    found, remedy = done.stdout.splitlines()[-2:]
    assert done.returncode == 4 and "started" not in done.stdout.splitlines()
    assert found.startswith("cm_persist: FAILED: {}/sub: ".format(container.path)) and "working directory" in found
    assert remedy.startswith("cm_persist: what to do: ") and "--workdir" in remedy


def test_the_command_s_environment_has_nothing_more(container):
    lines = container.start("true", "env", OWN="x").stdout.splitlines()
    assert sorted(lines) == sorted(["OWN=x", "PATH=" + os.environ["PATH"], "PWD=" + container.path])
