# SPDX-License-Identifier: Apache-2.0
"""What is done where the kernel, a seccomp filter or the file system lacks a call."""

import errno
import os

import pytest

from module_utils.cm_persist.fs import syscalls


def failing(number):
    def call(*_arguments):
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fd = os.open(str(tmp_path), os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("number", [None, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
class TestRename:
    @pytest.fixture(autouse=True)
    def unavailable(self, monkeypatch, number):
        if number is not None:
            monkeypatch.setattr(syscalls, "_call", failing(number))

    def test_to_a_free_name(self, directory):
        syscalls.rename_noreplace(b"a", b"c", directory, directory)
        assert sorted(os.listdir(directory)) == ["b", "c"]

    @pytest.mark.parametrize("there", ["file", "directory", "dangling link"])
    def test_never_over_anything(self, directory, there):
        os.unlink("b", dir_fd=directory)
        if there == "file":
            os.close(os.open("b", os.O_CREAT, dir_fd=directory))
        elif there == "directory":
            os.unlink("a", dir_fd=directory)
            os.mkdir("a", dir_fd=directory)
            os.mkdir("b", dir_fd=directory)
        else:
            os.symlink("nowhere", "b", dir_fd=directory)
        before = os.stat("b", dir_fd=directory, follow_symlinks=False).st_ino
        with pytest.raises(FileExistsError):
            syscalls.rename_noreplace(b"a", b"b", directory, directory)
        assert os.stat("b", dir_fd=directory, follow_symlinks=False).st_ino == before
        assert sorted(os.listdir(directory)) == ["a", "b"]

    def test_of_nothing(self, directory):
        with pytest.raises(FileNotFoundError):
            syscalls.rename_noreplace(b"x", b"c", directory, directory)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EIO, errno.EACCES, errno.ENOSPC])
def test_a_rename_that_failed_otherwise_is_not_tried_again(directory, monkeypatch, number):
    monkeypatch.setattr(syscalls, "_call", failing(number))
    with pytest.raises(OSError) as error:
        syscalls.rename_noreplace(b"a", b"c", directory, directory)
    assert error.value.errno == number and sorted(os.listdir(directory)) == ["a", "b"]


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("5.8", True), ("5.8.0-1-amd64", True), ("5.10.0", True), ("6.1.0-18-amd64", True), ("10.0", True),
        ("5.7.19", False), ("4.18.0-553.el8_10.x86_64", False), ("3.10.0-1160.el7.x86_64", False), ("", False),
        ("unknown", False), ("5", False), ("5.8+", False),
    ],
)  # fmt: skip
def test_since_when_syncfs_reports_errors(release, expected):
    assert syscalls.syncfs_reports_errors(release) is expected


def test_a_call_that_the_c_library_lacks_goes_by_its_number(directory, monkeypatch):
    class Old:
        """A C library of before: it knows syscall() alone."""

        def __init__(self, library):
            self.syscall = library.syscall

    old = Old(syscalls.library())
    monkeypatch.setattr(syscalls, "library", lambda: old)
    if os.uname().machine not in syscalls.NUMBERS["renameat2"]:
        pytest.skip("no number is known for {}".format(os.uname().machine))
    with pytest.raises(FileExistsError):
        syscalls._call("renameat2", directory, b"a", directory, b"b", syscalls.RENAME_NOREPLACE)
    syscalls.rename_noreplace(b"a", b"c", directory, directory)
    assert sorted(os.listdir(directory)) == ["b", "c"]
    with pytest.raises(OSError) as error:
        syscalls.syncfs(directory)
    assert error.value.errno == errno.ENOSYS


def test_an_unknown_machine_has_no_numbers(directory, monkeypatch):
    monkeypatch.setattr(syscalls, "library", object)
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "sparc")
    syscalls.rename_noreplace(b"a", b"c", directory, directory)
    assert sorted(os.listdir(directory)) == ["b", "c"]


def test_copy_file_range_of_a_python_without_it(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    (tmp_path / "source").write_bytes(b"0123456789")
    source = os.open(str(tmp_path / "source"), os.O_RDONLY)
    target = os.open(str(tmp_path / "target"), os.O_RDWR | os.O_CREAT)
    try:
        assert syscalls.copy_file_range(source, target, 3, 2) == 3
        assert os.pread(target, 10, 0) == b"\0\0" + b"234"
        assert syscalls.copy_file_range(source, target, 3, 10) == 0
    finally:
        os.close(source)
        os.close(target)


@pytest.mark.parametrize("number", syscalls.UNAVAILABLE)
def test_a_file_system_without_flags_has_none_set(directory, monkeypatch, number):
    monkeypatch.setattr("fcntl.ioctl", failing(number))
    assert syscalls.get_flags(directory) == 0
    with pytest.raises(OSError):
        syscalls.set_flags(directory, syscalls.FLAG_NODUMP)


EFFECTIVE = [("000001ffffffffff", True), ("0000000000200000", True), ("00000000a80425fb", False)]


@pytest.mark.parametrize(("effective", "expected"), EFFECTIVE)
def test_whether_this_process_may_mount(tmp_path, effective, expected):
    (tmp_path / "status").write_text("Name:\tx\nCapPrm:\t{0}\nCapEff:\t{1}\n".format("0" * 16, effective))
    assert syscalls.may_mount(str(tmp_path / "status")) is expected


def test_a_directory_says_when_it_was_made(tmp_path):
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        fd = os.open(str(tmp_path / name), os.O_RDONLY)
        made.append((syscalls.birth_time(fd), os.fstat(fd).st_ctime_ns))
        os.close(fd)
    assert made in ([(0, made[0][1]), (0, made[1][1])], sorted(made)) and made[0][0] in (0, made[0][1])


@pytest.mark.parametrize("number", [*syscalls.UNAVAILABLE, errno.EPERM])
def test_where_nobody_knows_when_it_was_made_that_is_0(directory, monkeypatch, number):
    def call(*_arguments):
        raise OSError(number, "")

    monkeypatch.setattr(syscalls, "_call", call)
    assert syscalls.birth_time(directory) == 0
