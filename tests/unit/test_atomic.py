# SPDX-License-Identifier: Apache-2.0
"""A file has its new content on disk before it has its name, and a failure to write it leaves the old content."""

import errno
import os

import pytest

from module_utils.cm_persist.fs.atomic import write_file


def test_a_written_file_is_on_disk_before_it_has_its_name_and_its_name_after(disk):
    write_file(disk.fd, b"record", b"text")
    assert disk.log == [("fsync", ".record.new"), ("rename", ".record.new"), ("fsync", ".")]
    with open(disk.top + "/record", "rb") as file:
        assert file.read() == b"text"


def test_a_file_that_cannot_be_written_leaves_the_old_one(disk, monkeypatch):
    write_file(disk.fd, b"record", b"old")

    def failing(_fd):
        raise OSError(errno.EIO, "failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError):
            write_file(disk.fd, b"record", b"new")
    with open(disk.top + "/record", "rb") as file:
        assert file.read() == b"old"
    write_file(disk.fd, b"record", b"newer")
    assert sorted(os.listdir(disk.fd)) == ["record", "tree"]


def test_a_link_at_the_temporary_name_is_not_followed(disk):
    os.symlink("tree/a", disk.top + "/.record.new")
    write_file(disk.fd, b"record", b"text")
    assert os.stat(disk.top + "/tree/a").st_size == 0 and not os.path.islink(disk.top + "/record")
