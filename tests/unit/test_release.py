# SPDX-License-Identifier: Apache-2.0
"""What a release promises: one version, a licence in each file, complete lists of packages, tests that are there."""

import os
import re
import subprocess

import pytest
import yaml

from module_utils import cm_persist
from tests.matrix.rows import ROWS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOCKS = os.path.join(ROOT, "container", "locks")
LICENCE = "SPDX-License-Identifier: Apache-2.0"
# They have no comments, or are what a program has drawn or said.
WITHOUT = re.compile(r"LICENSE|.*\.(json|svg|log)")


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def test_the_version_is_one_and_the_changelog_has_it_first():
    assert re.fullmatch(r"\d+\.\d+\.\d+", cm_persist.VERSION)
    first = re.search(r"^## (\S+) - (unreleased|\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert first and first.group(1) == cm_persist.VERSION
    places = [
        "README.md",
        "CONTRIBUTING.md",
        "docs",
        "library",
        "module_utils",
        "release",
        "meta",
        "roles",
        "container",
        "*.toml",
    ]
    command = ["git", "-C", ROOT, "grep", "-lwF", cm_persist.VERSION, "--", *places, ":!container/locks"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    assert set(found) <= {"module_utils/cm_persist/__init__.py"}


def files():
    command = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:  # an archive of the sources
        pytest.skip("no git repository: which files are of it cannot be told")
    return [name for name in done.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, name))]


def test_each_file_names_its_licence():
    lacking = []
    for name in files():
        path = os.path.join(ROOT, name)
        if os.path.getsize(path) and not os.path.islink(path) and not WITHOUT.fullmatch(os.path.basename(name)):
            with open(path, encoding="utf-8") as file:
                if LICENCE not in "".join(file.readline() for _line in range(3)):
                    lacking.append(name)
    assert lacking == []


@pytest.mark.parametrize("name", sorted(os.listdir(LOCKS)))
def test_a_list_of_packages_is_complete(name):
    lines = [line for line in text_of("container", "locks", name).splitlines() if not line.startswith("#")]
    packages, package = {}, None
    for line in lines:
        if line.startswith(" "):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            packages[package] += 1
        else:
            package = re.fullmatch(r"([a-z0-9-]+)==[\w.]+ \\", line).group(1)
            packages[package] = 0
    assert ("pip" in packages) is not ("installer" in packages)
    assert packages.keys() >= {"ansible-core", "jinja2", "pyyaml", "cryptography"} and all(packages.values())


def test_the_supported_range_is_what_the_matrix_tries():
    oldest, newest = ROWS[0], ROWS[-1]
    for path in (("meta", "main.yml"), ("roles", "cm_persist", "meta", "main.yml")):
        assert yaml.safe_load(text_of(*path))["galaxy_info"]["min_ansible_version"] == oldest.core
    readme = text_of("README.md")
    assert "ansible-core {} to {}".format(oldest.core, newest.core) in readme
    # Each Python that the image may have has a list, from the oldest target on.
    minors = sorted(int(name.split(".")[1]) for name in os.listdir(LOCKS))
    assert minors == list(range(6, 15))


def test_each_test_that_the_pages_name_is_there():
    named = re.findall(r"`((?:tests|molecule)/[\w/.]+\.py)::(\w+)`", text_of("docs", "security.md"))
    assert len(named) > 15
    for path, name in named:
        assert re.search(r"^ *def {}\(".format(name), text_of(path), re.MULTILINE), (path, name)
