# SPDX-License-Identifier: Apache-2.0
"""Seed, link and secret where a call is missing, and on another processor; and what goes otherwise with the C library musl.

The processor is emulated by qemu, with a real Debian for it: its C library, its Python, its numbers of system calls.
"""

import contextlib
import os
import shutil
import sys

import pytest

from module_utils.cm_persist.fs import syscalls
from tests.site import is_mounted, read, run, write

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SMOKE = os.path.join(HERE, "smoke.py")
BINFMT = "/proc/sys/fs/binfmt_misc"
CALLS = ["renameat2", "copy_file_range", "syncfs", "prctl", "statx"]
# FICLONE and the inode flags; Python itself needs ioctl to begin, so here it is taken away inside.
WITHOUT_IOCTL = """
import errno, fcntl, runpy, sys
def missing(fd, request, *_more):
    print("no ioctl", hex(request), flush=True)  # a worker ends without
    raise OSError(errno.ENOTTY, "no such ioctl")
fcntl.ioctl = missing
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def missing(what):
    """Skip a test, which in CI is a failure."""
    pytest.skip("needs {}, which tests/setup-host installs".format(what))


@pytest.mark.root
@pytest.mark.parametrize("calls", [*([call] for call in CALLS), CALLS], ids="+".join)
def test_without_these_calls(top, calls):
    if not shutil.which("strace"):
        missing("strace")
    log = os.path.join(top, "log")
    command = ["strace", "-f", "-qq", "-o", log, "-e", "trace=" + ",".join(calls)]
    for call in calls:
        command += ["-e", "inject={}:error=ENOSYS".format(call)]
    assert "all is well" in run(*command, sys.executable, "-I", SMOKE, ROOT, top)
    # Else it was not tried at all, and this test would say nothing of it.
    assert all("{}(".format(call) in read(log) for call in calls) and "INJECTED" in read(log)


def test_without_clones_and_flags(top):
    output = run(sys.executable, "-I", "-c", WITHOUT_IOCTL, SMOKE, ROOT, top)
    assert "all is well" in output
    assert all("no ioctl " + hex(request) in output for request in (syscalls.FICLONE, syscalls.FS_IOC_GETFLAGS))


@pytest.fixture
def emulated(mounts):
    """Have this kernel start programs for aarch64, by qemu."""
    with contextlib.ExitStack() as stack:
        if os.uname().machine != "aarch64":
            qemu = shutil.which("qemu-aarch64-static")
            if not (qemu and shutil.which("mmdebstrap")):
                missing("qemu-user-static and mmdebstrap")
            if not is_mounted(BINFMT):
                mounts("-t", "binfmt_misc", "none", BINFMT)
            # The beginning of an ELF file for that processor, and of what matters in it; F: in any root directory.
            head = r"\x7fELF\x02\x01\x01" + 9 * r"\x00" + r"\x02\x00\xb7\x00"
            mask = 7 * r"\xff" + r"\x00" + 8 * r"\xff" + r"\xfe\xff\xff\xff"
            name = "cm_persist-{}".format(os.getpid())
            try:
                write(BINFMT + "/register", ":{}:M::{}:{}:{}:F".format(name, head, mask, qemu))
            except PermissionError:
                missing("the right to register a format of programs")
            stack.callback(write, BINFMT + "/" + name, "-1")
        yield


@pytest.mark.root
def test_on_aarch64(top, mounts, emulated):
    root = os.path.join(top, "root")
    os.mkdir(root)
    archive = os.path.join(top, "root.tar")
    run("mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", "--include=python3", "bookworm", archive)
    run("tar", "-C", root, "-xf", archive)
    for name in ("proc", "scratch"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    mounts("-t", "proc", "none", root + "/proc")
    for name in ("library", "module_utils", "tests"):
        # Others may be writing bytecode just now.
        shutil.copytree(
            os.path.join(ROOT, name), os.path.join(root, "repository", name), ignore=shutil.ignore_patterns("__pycache__")
        )
    python = ["chroot", root, "/usr/bin/python3", "-I"]
    assert run(*python, "-c", "import platform; print(platform.machine())").strip() == "aarch64"
    smoke = "/repository/tests/filesystem/smoke.py"
    assert "all is well" in run(*python, smoke, "/repository", "/scratch")


MUSL = "/lib/ld-musl-{}.so.1".format(os.uname().machine)


def test_what_musl_lacks_goes_by_its_number(tmp_path, monkeypatch):
    if not os.path.exists(MUSL):
        missing("musl")
    # Its names alone are asked for, by a process of its own: two C libraries in one do not go together.
    names = [*CALLS, "mount", "umount2", "syscall"]
    ask = "import ctypes, sys; there = ctypes.CDLL(sys.argv[1]); print(*[hasattr(there, name) for name in sys.argv[2:]])"
    there = dict(zip(names, run(sys.executable, "-c", ask, MUSL, *names).split()))
    lacking = [name for name in names if there[name] == "False"]
    assert set(lacking) <= {"renameat2", "statx"} <= set(syscalls.NUMBERS)  # newer ones have them

    class Musl:
        """This machine's library, with those names alone that musl has."""

        def __getattr__(self, name):
            if name in lacking:
                raise AttributeError(name)
            return getattr(real, name)

    real = syscalls.library()
    monkeypatch.setattr(syscalls, "library", Musl)
    (tmp_path / "one").write_text("one")
    (tmp_path / "other").write_text("other")
    fd = os.open(str(tmp_path), os.O_RDONLY)
    try:
        syscalls.rename_exchange(b"one", b"other", fd, fd)
        with pytest.raises(FileExistsError):
            syscalls._call("renameat2", fd, b"one", fd, b"other", syscalls.RENAME_NOREPLACE)
    finally:
        os.close(fd)
    assert (tmp_path / "one").read_text() == "other"


def test_no_call_is_looked_up_that_these_tests_do_not_take_away():
    with open(os.path.join(ROOT, "module_utils", "cm_persist", "fs", "syscalls.py")) as file:
        looked_up = {line.split('_call("')[1].split('"')[0] for line in file if '_call("' in line}
    # Bind mounts and dying with a parent have no other way: without them there is an error, or an end that comes later.
    assert looked_up - {"mount", "umount2"} <= set(CALLS)
