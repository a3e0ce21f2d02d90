# SPDX-License-Identifier: Apache-2.0
"""A tree is on disk, whatever the kernel and the file system can do, and a failure to write it is an error."""

import errno
import os

import pytest

from module_utils.cm_persist.fs import syscalls
from module_utils.cm_persist.fs.dirfd import list_kinds
from module_utils.cm_persist.tree import sync
from module_utils.cm_persist.tree.sync import sync_tree

NEW, OLD = "6.1.0", "3.10.0-1160.el7.x86_64"
EVERYTHING = {("fsync", name) for name in ("tree", "tree/a", "tree/sub", "tree/sub/b", "tree/sub/deep", ".")}


def test_one_syncfs_where_it_reports_failures(disk):
    sync_tree(disk.fd, b"tree", NEW, "ext4")
    assert disk.log == [("syncfs", ".")]


def test_every_file_and_directory_on_an_older_kernel(disk):
    sync_tree(disk.fd, b"tree", OLD, "ext4")
    assert set(disk.log) == EVERYTHING and disk.log[-1] == ("fsync", ".")


@pytest.mark.parametrize("fs_type", ["fuse.glusterfs", "virtiofs", "cifs", "9p", "overlay", "autofs", ""])
def test_every_file_and_directory_where_a_syncfs_may_stop_on_the_way(disk, fs_type):
    sync_tree(disk.fd, b"tree", NEW, fs_type)
    assert set(disk.log) == EVERYTHING


@pytest.mark.parametrize("number", syscalls.UNAVAILABLE)
def test_every_file_and_directory_where_there_is_no_syncfs(disk, monkeypatch, number):
    def unavailable(_fd):
        raise OSError(number, "no")

    monkeypatch.setattr(syscalls, "syncfs", unavailable)
    sync_tree(disk.fd, b"tree", NEW, "ext4")
    assert set(disk.log) == EVERYTHING


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("release", [NEW, OLD])
def test_a_failure_is_one(disk, monkeypatch, release, number):
    def failing(_fd):
        raise OSError(number, "failed")

    monkeypatch.setattr(syscalls, "syncfs", failing)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError) as error:
        sync_tree(disk.fd, b"tree", release, "ext4")
    assert error.value.errno == number


def test_times_of_access_stay_as_they_were_copied(disk):
    directories = [disk.top + "/" + name for name in ("tree", "tree/sub", "tree/sub/deep")]
    for directory in directories:
        os.utime(directory, (1, 2_000_000_000))  # read before it was changed: the next look would be noted
    sync_tree(disk.fd, b"tree", OLD, "ext4")
    assert [os.stat(directory).st_atime for directory in directories] == [1, 1, 1]


@pytest.mark.parametrize("python", ["3.6", "3.7"])
def test_directories_and_files_are_told_apart(disk, monkeypatch, python):
    os.symlink("sub", disk.top + "/tree/link to a directory")
    if python == "3.6":  # which reads no directory by its descriptor
        monkeypatch.setattr(os, "supports_fd", os.supports_fd - {os.scandir})
    tree = os.open(disk.top + "/tree", os.O_RDONLY)
    assert list_kinds(tree) == ([b"sub"], [b"a"])
    os.close(tree)


def test_what_is_no_file_is_not_taken_for_one(disk, monkeypatch):
    monkeypatch.setattr(sync, "list_kinds", lambda _fd: ([], [b"sub"]))  # a directory that calls it so
    with pytest.raises(OSError, match="calls it a file"):
        sync_tree(disk.fd, b"tree", OLD, "ext4")


def test_a_single_file(disk):
    sync_tree(disk.fd, b"tree/a", OLD, "ext4")
    assert disk.log == [("fsync", "tree/a"), ("fsync", ".")]
