# SPDX-License-Identifier: Apache-2.0
"""The releases of Ansible and Python that are tried together, and their virtual environments."""

import os
import re
import shutil
import subprocess
from typing import NamedTuple, Tuple

from tests.plays import ROOT
from tests.pythons import find_python

MADE = os.path.join(ROOT, ".cache", "matrix")


class Row(NamedTuple):
    """A release of ansible-core (str), the Python that it runs on, and those on which the modules then run: of the ones that this

    release supports the oldest and the newest, from 3.6, which is the modules' oldest, up to 3.13.
    """

    core: str
    python: str
    targets: Tuple[str, ...]

    @property
    def name(self):
        """str: as tests are called."""
        return "{}-on-{}".format(self.core, self.python)

    @property
    def lock(self):
        """str: the path of the list of its packages: the image's for that Python, or where that has a newer one its own."""
        own = os.path.join(ROOT, "tests", "matrix", "locks", self.core + ".txt")
        return own if os.path.exists(own) else os.path.join(ROOT, "container", "locks", self.python + ".txt")

    @property
    def version(self):
        """str: the exact version of ansible-core."""
        with open(self.lock) as file:
            return re.search(r"^ansible-core==(\S+)", file.read(), re.MULTILINE).group(1)


ROWS = (
    Row("2.11", "3.6", ("3.6", "3.9")),
    Row("2.13", "3.8", ("3.6", "3.10")),
    Row("2.16", "3.10", ("3.6", "3.12")),
    Row("2.17", "3.10", ("3.7", "3.12")),
    Row("2.18", "3.11", ("3.8", "3.13")),
    Row("2.19", "3.11", ("3.8", "3.13")),
    Row("2.20", "3.12", ("3.9", "3.13")),
    Row("2.21", "3.13", ("3.9", "3.13")),
)


def programs(row):
    """str: the directory of a row's programs, whose virtual environment is made where it is not there, or its list has changed.

    None where this machine has no such Python.
    """
    python = find_python(row.python)
    if python is None:
        return None
    with open(row.lock) as file:
        lock = file.read()
    home = os.path.join(MADE, row.name)
    ready = os.path.join(home, "lock.txt")
    if not os.path.exists(ready) or open(ready).read() != lock:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python, "-m", "venv", home], check=True, stdout=subprocess.DEVNULL)
        # The pip that Python 3.6 has knows no wheels of today, so it renews itself first.
        for found in re.finditer(r"(?m)^pip==(?:.*\\\n)*.*\n", lock):
            _install(home, "pip", found.group(0))
        _install(home, "all", lock)
        with open(ready, "w") as file:
            file.write(lock)
    return os.path.join(home, "bin")


def _install(home, name, text):
    path = os.path.join(home, name + ".txt")
    with open(path, "w") as file:
        file.write(text)
    command = [os.path.join(home, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--no-deps", "--require-hashes", "--requirement", path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
