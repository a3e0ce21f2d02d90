# SPDX-License-Identifier: Apache-2.0
"""Too little room on the store: refused before anything is written, or, if it runs out all the same, cleaned up."""

import errno
import os

import pytest

from module_utils.cm_persist.errors import PersistError, StoreError
from module_utils.cm_persist.tree import workers as pool
from tests.site import write
from tests.tree import footprint

from .test_bad_input import refused

pytestmark = pytest.mark.root  # mounts


def large(site, size):
    with open(site.path("data/large"), "wb") as file:
        file.write(os.urandom(size))


def test_too_little_space(site, volume):
    site.store = volume("8M")
    large(site, 12 << 20)
    refused(site, site.seed, site.store, "B short: ", kind=StoreError)


def test_too_few_inodes(site, volume):
    site.store = volume("8M", "-N", "64")
    for number in range(100):
        write(site.path("data/{}".format(number)), "")
    refused(site, site.seed, site.store, "inodes short", kind=StoreError)


def test_both_at_once_on_a_tmpfs(site, mounts):
    mounts("-t", "tmpfs", "-o", "size=1M,nr_inodes=20", "none", site.store)
    large(site, 4 << 20)
    for number in range(30):
        write(site.path("data/{}".format(number)), "")
    refused(site, site.seed, site.store, "B short: ", "inodes short", kind=StoreError)


def test_all_paths_are_counted_together(site, volume):
    site.store = volume("8M")
    site.fill("other")
    for name in ("data", "other"):
        with open(site.path(name + "/large"), "wb") as file:
            file.write(os.urandom(4 << 20))
    refused(site, lambda: site.seed("data", "other"), site.store, kind=StoreError)


def test_a_sparse_file_needs_what_it_holds(site, volume):
    site.store = volume("8M")
    with open(site.path("data/sparse"), "wb") as file:
        file.truncate(1 << 30)
    assert site.seed().paths[0]["state"] == "seeded"


def test_hard_links_need_their_space_once(site, volume):
    site.store = volume("8M")
    large(site, 3 << 20)
    for number in range(5):
        os.link(site.path("data/large"), site.path("data/{}".format(number)))
    assert site.seed().paths[0]["state"] == "seeded"


def test_room_that_leftovers_take_counts_as_free(site, volume):
    site.store = volume("8M")
    left = os.path.join(site.books, "staging", "killed")
    os.makedirs(left)
    os.chmod(site.books, 0o700)
    with open(os.path.join(left, "part"), "wb") as file:
        file.write(os.urandom(5 << 20))
    large(site, 4 << 20)
    assert site.seed().paths[0]["state"] == "seeded"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_running_out_of_it_on_the_way_publishes_nothing_and_frees_all(site, monkeypatch, error):
    def full(*_arguments):
        raise OSError(error, os.strerror(error))

    before = footprint(site.image)
    monkeypatch.setattr("module_utils.cm_persist.tree.copy_data.FileData.copy", full)
    with pytest.raises(PersistError) as failure:
        site.seed()
    assert site.path("data/one") == failure.value.path and os.strerror(error) in str(failure.value)
    assert not os.path.lexists(site.store + site.top) and os.listdir(os.path.join(site.books, "staging")) == []
    monkeypatch.undo()
    assert site.seed().paths[0]["state"] == "seeded" and footprint(site.image) == before


def test_a_large_file_with_several_names_is_never_there_twice(site, volume, monkeypatch):
    """Several processes come to its names at the same time."""
    monkeypatch.setattr(pool, "wanted", lambda *_load: 4)
    site.store = volume("32M")
    large(site, 16 << 20)
    for number in range(8):
        os.mkdir(site.path("data/{}".format(number)))
        os.link(site.path("data/large"), site.path("data/{}/large".format(number)))
    assert site.seed().paths[0]["bytes"] == 16 << 20 | 11
    assert os.stat(site.stored("data/7/large")).st_nlink == 9


def test_a_volume_that_keeps_whole_seconds_is_told_of(site, volume):
    site.store = volume("16M", "-I", "128")
    os.utime(site.path("data/one"), ns=(1, 1_234_567_890_123_456_789))
    assert [warning for warning in site.seed().warnings if "nanosecond" in warning]
    assert os.stat(site.stored("data/one")).st_mtime_ns == 1_234_567_890_000_000_000
    assert not [warning for warning in site.seed().warnings if "nanosecond" in warning]


def test_a_time_that_it_has_no_room_for_is_refused(site, volume):
    site.store = volume("16M", "-I", "128")
    os.utime(site.path("data/one"), (1, 2**31))
    with pytest.raises(PersistError) as failure:
        site.seed()
    assert failure.value.path == site.path("data/one") and "2147483648 seconds" in str(failure.value)


def test_symbolic_links_need_blocks_of_their_own(site, volume):
    site.store = volume("4M", "-b", "4096", "-N", "4096")
    for number in range(1500):
        os.symlink("t" * 100, site.path("data/{}".format(number)))
    refused(site, site.seed, site.store, "B short: ", kind=StoreError)


def test_a_file_system_that_does_not_tell_how_many_inodes_are_free(site, monkeypatch):
    """As CephFS: it counts those that there are, and says -1 of the others."""
    ask = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result([*ask(fd)[:5], 12345, -1, -1, *ask(fd)[8:]]))
    assert site.seed().paths[0]["state"] == "seeded"


@pytest.mark.parametrize(("call", "what"), [("chown", "owner, 0:0"), ("chmod", "mode, 0600")])
def test_what_the_store_only_seems_to_take_is_refused(site, monkeypatch, call, what):
    """As CIFS does with owners, and FUSE file systems of object stores: success, and nothing is kept."""
    os.chown(site.path("data/one"), 26, 26)
    monkeypatch.setattr(os, call, lambda *_arguments, **_options: None)
    with pytest.raises(PersistError) as failure:
        site.seed()
    assert failure.value.path == site.path("data/one") and "another " + what in str(failure.value)
    assert not os.path.lexists(site.store + site.top)
