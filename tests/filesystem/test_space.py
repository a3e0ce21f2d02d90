# SPDX-License-Identifier: Apache-2.0
"""Too little room on the store: refused before anything is written, or, if it runs out all the same, cleaned up."""

import errno
import os

import pytest

from module_utils.cm_persist.errors import PersistError, StoreError
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
    refused(site, site.seed, site.store, "bytes short", kind=StoreError)


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
    refused(site, site.seed, site.store, "bytes short", "inodes short", kind=StoreError)


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
    monkeypatch.setattr("module_utils.cm_persist.filedata.FileData.copy", full)
    with pytest.raises(PersistError) as failure:
        site.seed()
    assert site.path("data/one") == failure.value.path and os.strerror(error) in str(failure.value)
    assert not os.path.lexists(site.store + site.top) and os.listdir(os.path.join(site.books, "staging")) == []
    monkeypatch.undo()
    assert site.seed().paths[0]["state"] == "seeded" and footprint(site.image) == before
