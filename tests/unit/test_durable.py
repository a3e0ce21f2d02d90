# SPDX-License-Identifier: Apache-2.0
"""What must be on disk is asked to be, in the right order, and a failure to be is never swallowed."""

import errno
import os

import pytest

from module_utils.cm_persist.fs import atomic as durable
from module_utils.cm_persist.fs import syscalls as syscalls
from module_utils.cm_persist.fs.dirfd import list_kinds
from module_utils.cm_persist.tree import sync as durable_sync

NEW, OLD = "6.1.0", "3.10.0-1160.el7.x86_64"


class Disk:
    """Notes fsync, syncfs and rename, each as (name, path)."""

    def __init__(self, top, monkeypatch):
        self.top, self.log = str(top), []
        os.makedirs(self.top + "/tree/sub/deep")
        for name in ("tree/a", "tree/sub/b"):
            open(os.path.join(self.top, name), "w").close()
        os.symlink("a", self.top + "/tree/link")
        os.mkfifo(self.top + "/tree/pipe")
        self.fd = os.open(self.top, os.O_RDONLY)
        self._note(monkeypatch, os, "fsync")
        self._note(monkeypatch, syscalls, "syncfs")
        self._note(monkeypatch, os, "rename")

    def _note(self, monkeypatch, module, name):
        real = getattr(module, name)

        def call(first, *arguments, **options):
            where = os.readlink("/proc/self/fd/{}".format(first)) if isinstance(first, int) else first.decode()
            self.log.append((name, os.path.relpath(where, self.top) if isinstance(first, int) else where))
            return real(first, *arguments, **options)

        monkeypatch.setattr(module, name, call)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    made = Disk(tmp_path, monkeypatch)
    yield made
    os.close(made.fd)


EVERYTHING = {("fsync", name) for name in ("tree", "tree/a", "tree/sub", "tree/sub/b", "tree/sub/deep", ".")}


def test_one_syncfs_where_it_tells_of_failures(disk):
    durable_sync.sync_tree(disk.fd, b"tree", NEW, "ext4")
    assert disk.log == [("syncfs", ".")]


def test_every_file_and_directory_on_an_older_kernel(disk):
    durable_sync.sync_tree(disk.fd, b"tree", OLD, "ext4")
    assert set(disk.log) == EVERYTHING and disk.log[-1] == ("fsync", ".")


@pytest.mark.parametrize("fs_type", ["fuse.glusterfs", "virtiofs", "cifs", "9p", "overlay", "autofs", ""])
def test_every_file_and_directory_where_a_syncfs_may_stop_on_the_way(disk, fs_type):
    durable_sync.sync_tree(disk.fd, b"tree", NEW, fs_type)
    assert set(disk.log) == EVERYTHING


@pytest.mark.parametrize("number", syscalls.UNAVAILABLE)
def test_every_file_and_directory_where_there_is_no_syncfs(disk, monkeypatch, number):
    def unavailable(_fd):
        raise OSError(number, "no")

    monkeypatch.setattr(syscalls, "syncfs", unavailable)
    durable_sync.sync_tree(disk.fd, b"tree", NEW, "ext4")
    assert set(disk.log) == EVERYTHING


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("release", [NEW, OLD])
def test_a_failure_is_one(disk, monkeypatch, release, number):
    def failing(_fd):
        raise OSError(number, "failed")

    monkeypatch.setattr(syscalls, "syncfs", failing)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError) as error:
        durable_sync.sync_tree(disk.fd, b"tree", release, "ext4")
    assert error.value.errno == number


def test_times_of_access_stay_as_they_were_copied(disk):
    directories = [disk.top + "/" + name for name in ("tree", "tree/sub", "tree/sub/deep")]
    for directory in directories:
        os.utime(directory, (1, 2_000_000_000))  # read before it was changed: the next look would be noted
    durable_sync.sync_tree(disk.fd, b"tree", OLD, "ext4")
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
    monkeypatch.setattr(durable_sync, "list_kinds", lambda _fd: ([], [b"sub"]))  # a directory that calls it so
    with pytest.raises(OSError, match="calls it a file"):
        durable_sync.sync_tree(disk.fd, b"tree", OLD, "ext4")


def test_a_single_file(disk):
    durable_sync.sync_tree(disk.fd, b"tree/a", OLD, "ext4")
    assert disk.log == [("fsync", "tree/a"), ("fsync", ".")]


def test_a_written_file_is_on_disk_before_it_has_its_name_and_its_name_after(disk):
    durable.write_file(disk.fd, b"record", b"text")
    assert disk.log == [("fsync", ".record.new"), ("rename", ".record.new"), ("fsync", ".")]
    with open(disk.top + "/record", "rb") as file:
        assert file.read() == b"text"


def test_a_file_that_cannot_be_written_leaves_the_old_one(disk, monkeypatch):
    durable.write_file(disk.fd, b"record", b"old")

    def failing(_fd):
        raise OSError(errno.EIO, "failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError):
            durable.write_file(disk.fd, b"record", b"new")
    with open(disk.top + "/record", "rb") as file:
        assert file.read() == b"old"
    durable.write_file(disk.fd, b"record", b"newer")
    assert sorted(os.listdir(disk.fd)) == ["record", "tree"]


def test_what_was_planted_beside_is_not_written_through(disk):
    os.symlink("tree/a", disk.top + "/.record.new")
    durable.write_file(disk.fd, b"record", b"text")
    assert os.stat(disk.top + "/tree/a").st_size == 0 and not os.path.islink(disk.top + "/record")
