# SPDX-License-Identifier: Apache-2.0
"""The data of a file arrives whole or is an error, by whichever of the three ways this machine has."""

import errno
import os

import pytest

from module_utils.cm_persist.errors import CopyError
from module_utils.cm_persist.fs import syscalls
from module_utils.cm_persist.tree.copy_data import NO_CLONE_AT_ALL, NO_SHORTCUT, FileData, data_ranges


class Pair:
    """A source of 3 MB and something, with a hole, and an empty target; calls made are noted by name."""

    def __init__(self, top, monkeypatch):
        self.calls, self.patch = [], monkeypatch
        self.data = os.urandom(1 << 20) + bytes(1 << 20) + os.urandom((1 << 20) + 7)
        self.source = os.open(str(top / "source"), os.O_RDWR | os.O_CREAT)
        self.target = os.open(str(top / "target"), os.O_RDWR | os.O_CREAT)
        os.pwrite(self.source, self.data[: 1 << 20], 0)
        os.pwrite(self.source, self.data[2 << 20 :], 2 << 20)
        self.answer("clone", OSError(errno.EOPNOTSUPP, "no"))

    def answer(self, name, what):
        real = getattr(syscalls, name)

        def call(*arguments):
            self.calls.append(name)
            if isinstance(what, Exception):
                raise what
            return real(*arguments) if what is None else what

        self.patch.setattr(syscalls, name, call)

    def copy(self, copier=None):
        (copier or FileData()).copy(self.source, self.target, os.fstat(self.source), "/the/source")

    @property
    def same(self):
        return os.pread(self.target, len(self.data) + 1, 0) == self.data


@pytest.fixture
def pair(tmp_path, monkeypatch):
    made = Pair(tmp_path, monkeypatch)
    yield made
    os.close(made.source)
    os.close(made.target)


def test_in_the_kernel_where_it_can(pair):
    pair.answer("copy_file_range", None)
    pair.copy()
    assert pair.same and "copy_file_range" in pair.calls


@pytest.mark.parametrize("number", NO_SHORTCUT)
def test_by_reading_and_writing_where_the_kernel_cannot(pair, number):
    pair.answer("copy_file_range", OSError(number, "no"))
    copier = FileData()
    pair.copy(copier)
    assert pair.same
    os.ftruncate(pair.target, 0)
    pair.copy(copier)
    assert pair.same and pair.calls.count("copy_file_range") == 1, "what was refused is not asked for again"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_any_other_failure_of_the_kernel_s_copy_is_one(pair, number):
    pair.answer("copy_file_range", OSError(number, "failed"))
    with pytest.raises(OSError) as error:
        pair.copy()
    assert error.value.errno == number


def test_nothing_copied_before_the_end_is_an_error(pair):
    pair.answer("copy_file_range", 0)
    with pytest.raises(CopyError) as error:
        pair.copy()
    assert error.value.path == "/the/source" and "changed" in str(error.value)


def test_a_read_that_ends_early_is_an_error(pair):
    pair.answer("copy_file_range", OSError(errno.EXDEV, "no"))
    pair.patch.setattr(os, "pread", lambda *_arguments: b"")
    with pytest.raises(CopyError):
        pair.copy()


def test_a_short_write_is_gone_on_with(pair):
    pair.answer("copy_file_range", OSError(errno.EXDEV, "no"))
    write = os.pwrite
    pair.patch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:4097], at))
    pair.copy()
    assert pair.same


def test_shared_blocks_need_no_copy(pair):
    def clone(source, target):
        os.pwrite(target, pair.data, 0)

    pair.patch.setattr(syscalls, "clone", clone)
    pair.answer("copy_file_range", OSError(errno.EIO, "must not be called"))
    pair.copy()
    assert pair.same


@pytest.mark.parametrize("number", NO_CLONE_AT_ALL)
def test_file_systems_that_cannot_share_are_asked_once(pair, number):
    pair.answer("clone", OSError(number, "no"))
    copier = FileData()
    pair.copy(copier)
    pair.copy(copier)
    assert pair.same and pair.calls.count("clone") == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ETXTBSY, errno.EPERM])
def test_a_file_that_cannot_be_shared_is_copied(pair, number):
    pair.answer("clone", OSError(number, "no"))
    copier = FileData()
    pair.copy(copier)
    pair.copy(copier)
    assert pair.same and pair.calls.count("clone") == 2


def test_a_failed_sharing_is_a_failure(pair):
    pair.answer("clone", OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError):
        pair.copy()


@pytest.mark.parametrize(
    "change", [lambda fd: os.ftruncate(fd, 5), lambda fd: os.pwrite(fd, b"more", 9 << 20), lambda fd: os.utime(fd, (1, 1))]
)
def test_a_source_that_changes_is_an_error(pair, change):
    status = os.fstat(pair.source)
    change(pair.source)
    with pytest.raises(CopyError) as error:
        FileData().copy(pair.source, pair.target, status, "/the/source")
    assert "changed" in str(error.value) and error.value.hint


def test_the_parts_that_hold_data(pair):
    ranges = list(data_ranges(pair.source, len(pair.data)))
    assert sum(end - start for start, end in ranges) >= 2 << 20 and ranges[-1][1] == len(pair.data)
    os.ftruncate(pair.target, 1 << 20)
    assert list(data_ranges(pair.target, 1 << 20)) == []
