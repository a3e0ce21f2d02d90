# SPDX-License-Identifier: Apache-2.0
"""Metadata that a file system does not take is an error that names the file; a label of its own is none."""

import errno
import os

import pytest

from module_utils.cm_persist.errors import CopyError
from module_utils.cm_persist.tree import metadata


@pytest.fixture
def files(tmp_path, monkeypatch):
    """tuple: descriptors of a source, of its copy, and the source's status."""
    opened = [os.open(str(tmp_path / name), os.O_RDWR | os.O_CREAT) for name in ("source", "copy")]
    yield (*opened, os.fstat(opened[0]))
    for fd in opened:
        os.close(fd)


def attributes(monkeypatch, name, error):
    def refuse(*_arguments, **_options):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "listxattr", lambda *_arguments, **_options: [name])
    monkeypatch.setattr(os, "getxattr", lambda fd, *_arguments, **_options: b"of %d" % fd)
    monkeypatch.setattr(os, "setxattr", refuse)


@pytest.mark.parametrize("name", ["user.note", "security.capability", "system.posix_acl_access", "trusted.note"])
@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC])
def test_an_attribute_that_is_not_taken_is_an_error(files, monkeypatch, name, error):
    attributes(monkeypatch, name, error)
    with pytest.raises(CopyError) as failure:
        metadata.copy_metadata(*files, "/the/source")
    assert failure.value.path == "/the/source" and name in str(failure.value) and failure.value.hint


@pytest.mark.parametrize("name", metadata.LABELS)
@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EPERM, errno.EACCES])
def test_a_label_that_the_store_gives_out_itself_is_told_of(files, monkeypatch, name, error):
    attributes(monkeypatch, name, error)
    assert metadata.copy_metadata(*files, "/the/source") == {name}


def test_a_label_that_there_is_no_room_for_is_an_error(files, monkeypatch):
    attributes(monkeypatch, metadata.LABELS[0], errno.ENOSPC)
    with pytest.raises(CopyError):
        metadata.copy_metadata(*files, "/the/source")


def test_an_attribute_that_is_right_already_is_as_good_as_set(files, monkeypatch):
    attributes(monkeypatch, "user.note", errno.EPERM)
    monkeypatch.setattr(os, "getxattr", lambda *_arguments, **_options: b"the same")
    assert metadata.copy_metadata(*files, "/the/source") == set()


@pytest.mark.parametrize("call", ["chown", "chmod", "utime"])
def test_what_cannot_be_set_is_an_error_that_names_the_file(files, monkeypatch, call):
    def refuse(*_arguments, **_options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(CopyError) as failure:
        metadata.copy_metadata(*files, "/the/source")
    assert failure.value.path == "/the/source" and "root" in failure.value.hint
