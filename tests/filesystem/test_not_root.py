# SPDX-License-Identifier: Apache-2.0
"""Not root where root is needed: a typed refusal that says so, whatever it is that cannot be read or written."""

import os

import pytest

from module_utils.cm_persist.fs.rmtree import remove_tree
from tests.site import as_nobody, write
from tests.tree import assert_same

pytestmark = pytest.mark.root  # to have something that belongs to root, and to become nobody


def refused(site, act):
    """str: the refusal of an act as nobody: typed, names a path, says to run as root; nothing has changed."""
    before = site.untouched()
    message = as_nobody(act)
    assert message.split(":")[0] in ("PathError", "StoreError", "LinkError", "CopyError", "SecretError"), message
    assert "become: true" in message and site.top in message
    assert site.untouched() == before
    return message


@pytest.fixture(autouse=True)
def open_store(site):
    os.chmod(site.store, 0o777)


@pytest.mark.parametrize("closed", ["data/one", "data/sub", "data", "."])
def test_an_original_that_cannot_be_read(site, closed):
    os.chmod(site.path(closed), 0o600)
    refused(site, site.seed)


def test_a_single_file_that_cannot_be_read(site):
    os.chmod(site.path("data/one"), 0o600)
    refused(site, lambda: site.seed("data/one"))


def test_an_original_of_another_user(site):
    message = refused(site, site.seed)
    assert site.path() in message and "another user" in message


@pytest.mark.parametrize("verb", ["seed", "link"])
@pytest.mark.parametrize("mode", [0o700, 0o711])
def test_a_store_that_cannot_be_read(site, verb, mode):
    os.chmod(site.store, mode)
    refused(site, getattr(site, verb))


def test_a_store_that_cannot_be_written(site):
    for name in ("data/one", "data/sub/two", "data/sub", "data/link", "data"):
        os.lchown(site.path(name), 65534, 65534)
    os.chmod(site.store, 0o755)
    refused(site, site.seed)


@pytest.mark.parametrize("verb", ["seed", "link"])
def test_a_store_that_root_has_seeded(site, verb):
    site.seed()
    refused(site, getattr(site, verb))


def test_a_state_path_whose_directory_cannot_be_written(site):
    os.makedirs(site.stored())
    write(site.stored("data/file"), "of an earlier tool")
    refused(site, site.link)


def test_what_belongs_to_the_user_needs_no_root(site):
    for name in ("data/one", "data/sub/two", "data/sub", "data/link", "data", "."):
        os.lchown(site.path(name), 65534, 65534)
    assert as_nobody(site.start) == ""
    assert_same(site.path("data-initial"), site.stored())


def test_leftovers_without_write_permission_are_removed(site):
    left = os.path.join(site.books, "staging", "killed", "tree", "read-only")
    os.makedirs(left)
    write(os.path.join(left, "file"), "a part")
    for directory, _names, _files in os.walk(site.books, topdown=False):
        os.chown(directory, 65534, 65534)
        os.chmod(directory, 0o700)
    os.chmod(left, 0o500)
    for name in ("data/one", "data/sub/two", "data/sub", "data/link", "data"):
        os.lchown(site.path(name), 65534, 65534)
    assert as_nobody(site.seed) == ""
    assert not os.path.exists(os.path.join(site.books, "staging"))


def test_a_leftover_that_may_not_be_read_is_removed(top):
    os.makedirs(os.path.join(top, "open", "left", "closed"))
    for name, mode in (("open", 0o777), ("open/left", 0o755), ("open/left/closed", 0o000)):
        os.chmod(os.path.join(top, name), mode)
        os.chown(os.path.join(top, name), 65534, 65534)

    def remove():
        fd = os.open(os.path.join(top, "open"), os.O_RDONLY)
        remove_tree(fd, b"left")

    assert as_nobody(remove) == "" and os.listdir(os.path.join(top, "open")) == []
