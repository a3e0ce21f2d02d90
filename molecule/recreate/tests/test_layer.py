# SPDX-License-Identifier: Apache-2.0
"""After each new container: its own layer holds next to nothing, and the manager has all that was ever written."""

import os
import pathlib

import pytest
from conftest import podman

MOST = 1 << 20  # bytes
LARGE = "/opt/manager/resources/snapshots/large"


@pytest.fixture
def layer(container):
    """The directory of this machine that holds what the container has and its image has not."""
    return pathlib.Path(podman("inspect", "--format={{.GraphDriver.Data.UpperDir}}", container).stdout.strip())


def held(directory):
    """Bytes on disk of all regular files below a directory."""
    return sum(
        os.lstat(os.path.join(above, name)).st_blocks * 512 for above, _directories, names in os.walk(directory) for name in names
    )


def test_the_original_is_too_large_to_be_overlooked(host, scratch):
    assert len(host.file(LARGE).listdir()) == 300
    assert held(scratch / "volume") > 300 * MOST


def test_the_layer_holds_less_than_a_mebibyte(layer):
    assert layer.is_dir() and held(layer) < MOST


def test_nothing_of_any_original_is_in_the_layer(layer, declaration):
    for path in declaration.paths:
        assert os.readlink(layer / path[1:]) == declaration.stored(path)
        beside = os.listdir((layer / path[1:]).parent)
        assert not [name for name in beside if name.startswith((os.path.basename(path) + "-initial", "."))]


def test_the_log_says_what_became_of_each(log, declaration):
    for path in declaration.paths:
        (line,) = [line for line in log.splitlines() if line.startswith("cm_persist: %s: " % path)]
        assert line.endswith("linked (symlink), original left to the image"), line


def test_all_that_was_uploaded_is_there(manager, scratch):
    ledger = scratch / "ledger/blueprints"
    uploads = [path.name for path in ledger.iterdir()] if ledger.exists() else []
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])
