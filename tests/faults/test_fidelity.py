# SPDX-License-Identifier: Apache-2.0
"""A copy is the same as its source, whatever the two file systems; what the store cannot hold is refused, by name."""

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings

from module_utils.cm_persist.errors import PersistError
from module_utils.cm_persist.fs import syscalls
from tests.tree import differences

from .generated import make, trees
from .pairs import Places, as_text, build_for, force_workers, link_and_compare, seed_and_compare, site_at, site_of, whole
from .scene import TORN
from .specimen import BEFORE, CROWD, ENTRIES, LEVELS, build
from .things import SOCKETS

KINDS = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
SHARED, IN_KERNEL, THROUGH = "shares its blocks", "copied in the kernel", "read and written"
# Things that the first of two file systems can hold and the second cannot.
TOO_MUCH = {
    ("ext4", "tmpfs"): ["a file with flag sync", "a directory with flag sync", "a directory with flag dirsync"],
    ("ext4", "xfs"): ["a link of 4095 bytes", "a directory with flag dirsync", "a device with the largest numbers"],
    ("ext4", "overlay"): ["a device 0, 0"],
    ("xfs", "ext4"): ["more attributes than a block"],
    ("btrfs", "overlay"): ["more attributes than a block"],
    ("btrfs", "ext4"): ["a file of 2500", "a directory of 1850", "a link of 1850", "a FIFO of 2500"],
    ("tmpfs", "xfs"): ["a file of 1850", "a directory of 2500", "a link of 2500", "a FIFO of 1850"],
}


@pytest.fixture
def places(file_system, mounts, top):
    return Places(file_system, mounts, top)


@pytest.fixture
def ways(monkeypatch, top):
    """callable: gives the set of ways that data took so far, in this process and in those of the workers."""
    log = os.path.join(top, "ways")
    fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def noted(call, way):
        def and_note(*arguments):
            done = call(*arguments)
            if not os.readlink("/proc/self/fd/%d" % arguments[0]).endswith("/.cm_persist/lock"):
                os.write(fd, way.encode() + b"\n")
            return done

        return and_note

    monkeypatch.setattr(syscalls, "clone", noted(syscalls.clone, SHARED))
    monkeypatch.setattr(syscalls, "copy_file_range", noted(syscalls.copy_file_range, IN_KERNEL))
    monkeypatch.setattr(os, "pwrite", noted(os.pwrite, THROUGH))
    yield lambda: set(open(log).read().splitlines())
    os.close(fd)


@pytest.mark.parametrize("source", ["same", "ext4", "overlay"])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_in_the_copy(places, ways, monkeypatch, tally, kind, source):
    site = site_of(places, kind, source)
    build_for(site, source)
    if source == "overlay":
        site.image = places.overlay(site.image, places.make("ext4"))
    before, store, problems = whole(site.path()), site.store, []
    for workers in (0, 3):
        force_workers(monkeypatch, workers)
        site.store = os.path.join(store, str(workers))
        os.mkdir(site.store)
        outcome, found = seed_and_compare(site, before)
        problems += found
        assert [name for name in SOCKETS if not any(name in text for text in outcome.warnings)] == []
    problems += link_and_compare(site, before)
    tally.count("fixture tree of {} entries, {}".format(ENTRIES, kind), 2, problems)
    assert not problems, as_text(problems)
    assert len(before) + len(SOCKETS) > ENTRIES + CROWD + LEVELS
    assert ways() == expected_ways(kind, source)


def expected_ways(kind, source):
    """set of str: between two file systems no kernel copies for us; within one each does what it is best at.

    Small files are read anyway, for their digests, and what was read is written where blocks cannot be shared.
    """
    if source != "same":
        return {THROUGH}
    return {SHARED} if kind in ("xfs", "btrfs") else {IN_KERNEL, THROUGH}


@pytest.mark.parametrize(("lacking", "way"), [(["clone"], {IN_KERNEL, THROUGH}), (["clone", "copy_file_range"], {THROUGH})])
def test_without_a_shortcut_it_is_the_same(places, ways, monkeypatch, tally, lacking, way):
    def missing(*_arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for call in lacking:
        monkeypatch.setattr(syscalls, call, missing)
    site = site_of(places, "xfs", "same")
    build_for(site, "same")
    _outcome, problems = seed_and_compare(site, whole(site.path()))
    tally.count("fixture tree of {} entries, xfs, a call missing".format(ENTRIES), 1, problems)
    assert not problems, as_text(problems)
    assert ways() == way


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize(("source", "kind"), sorted(TOO_MUCH))
def test_what_the_store_cannot_hold_is_refused_by_name(places, monkeypatch, tally, source, kind, workers):
    force_workers(monkeypatch, workers)
    image, store = places.make(source), places.make(kind)
    row = "one thing too much for the store, {} to {}".format(source, kind)
    problems = []
    for number, what in enumerate(TOO_MUCH[source, kind]):
        site = site_at(os.path.join(image, str(number)), os.path.join(store, str(number)))
        assert build(site.path(), only=what).left_out == {}, "the source must hold it"
        found = refuse(site, what)
        tally.count(row, 1, found)
        problems += found
    assert not problems, as_text(problems)


def refuse(site, what):
    """list of (kind, str): what is wrong with how a seed refused an original that the store cannot hold."""
    before = whole(site.path())
    try:
        site.seed()
    except PersistError as error:
        assert error.path == site.path("data/things/" + what), error
        assert whole(site.path()) == before and not os.path.lexists(site.stored())
        staging = os.path.join(site.books, "staging")
        assert not os.path.exists(staging) or os.listdir(staging) == []
        return []
    return [(TORN, "{}: not refused: {}".format(what, differences(before, whole(site.stored()))))]


def test_access_lists_do_not_get_a_second_name(places):
    site = site_of(places, "ext4", "xfs")
    build(site.path(), only="both access lists")
    site.seed()
    names = os.listxattr(site.stored("data/things/both access lists"))
    assert sorted(names) == ["system.posix_acl_access", "system.posix_acl_default"], "xfs tells root its own names for them too"


@pytest.mark.parametrize("workers", [0, 3])
def test_the_access_time_of_a_link_is_the_one_before_anybody_read_it(places, monkeypatch, workers):
    force_workers(monkeypatch, workers)
    site = site_of(places, "ext4", "same")
    os.mkdir(site.path())
    os.symlink("x", site.path("data/link"))
    os.utime(site.path("data/link"), ns=(BEFORE, BEFORE), follow_symlinks=False)
    site.seed()
    assert os.lstat(site.stored("data/link")).st_atime_ns == BEFORE


@pytest.mark.parametrize("kind", KINDS)
def test_trees_that_nobody_thought_of(places, monkeypatch, tally, full, kind):
    top, other = places.make(kind), places.make("ext4")
    tried = []

    @settings(
        max_examples=40 if full else 8, derandomize=not full, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(trees())
    def one(tree):
        number = len(tried)
        tried.append(tree)
        force_workers(monkeypatch, 3 * (number // 2 % 2))
        above = other if number % 2 else top
        site = site_at(os.path.join(above, "image%d" % number), os.path.join(top, "store%d" % number))
        make(site.path(), tree)
        before = whole(site.path())
        _outcome, problems = seed_and_compare(site, before)
        problems += link_and_compare(site, before)
        tally.count("generated trees, {}".format(kind), 1, problems)
        assert not problems, as_text(problems)

    one()
    assert len(tried) >= (40 if full else 8)
