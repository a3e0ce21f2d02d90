# SPDX-License-Identifier: Apache-2.0
"""One writer at a time: a lock on <store>/.cm_persist/lock. The kernel frees it when its holder dies."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time

from ..errors import StoreError, because, printable
from ..fs.dirfd import Opened

NAME = b"lock"
POLL = 0.2  # seconds


@contextlib.contextmanager
def locked(state_fd: int, state_path: str, timeout: float, sign: bool = True, clock=time):
    """Hold the store's lock for the length of a with block. Nobody steals it: a run waits, at most timeout seconds, while its
    holder lives.

    sign: write into the lock who holds it; not for a run that must leave the store's times as they are. clock is used as the
    module time. Raises StoreError if another process held the lock all the time, or if the file system cannot lock.
    """
    path = os.path.join(state_path, os.fsdecode(NAME))
    try:
        lock = Opened(open_lock(state_fd, NAME, path))
    except OSError as error:
        raise StoreError(path, "the lock cannot be opened: {}".format(because(error)), "Remove what is there.") from error
    with lock as fd:
        _wait_for(fd, path, timeout, clock)
        if sign:
            write_signature(fd, path, "process {} on {} since {}".format(os.getpid(), socket.gethostname(), utc(clock)))
        yield
        if sign:
            write_signature(fd, path, "")


def held(state_fd: int) -> bool:
    """True if another process holds the store's lock now. Changes nothing."""
    try:
        with Opened(open_lock(state_fd, NAME, "", make=False)) as fd:
            return not try_lock(fd, shared=True)
    except (OSError, StoreError):
        return False  # taking the lock will report whatever is wrong with it


def open_lock(state_fd: int, name: bytes, path: str, make: bool = True) -> int:
    """The descriptor of a file that is locked as a whole; the caller closes it.

    make: make the file if it is missing, and open it for writing where that is possible. path is for errors. Raises OSError if it
    cannot be opened, and StoreError if it is no regular file.
    """
    no_file = StoreError(path, "the lock is no regular file", "Remove it, after a look at where it came from.")
    try:
        fd = _open(state_fd, name, make)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise no_file from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise no_file
    return fd


def try_lock(fd: int, shared: bool = False) -> bool:
    """True if the open file is locked now; shared: only find out whether nobody has it locked, until the file is closed. Raises
    OSError if the file system cannot lock."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def write_signature(fd: int, path: str, text: str):
    """Replace the text of an open lock, which says who holds it; path is for errors. Raises StoreError if the volume fails.

    A file that has another name as well is left alone: it may be somebody's file, or part of a backup.
    """
    if os.fstat(fd).st_nlink != 1:
        return
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode("utf-8"), 0)
    except OSError as error:
        # The text only helps whoever waits; what follows has to report a full volume as such. A file that is open for reading
        # only (EBADF, EINVAL) is on a read-only volume.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EINVAL):
            found = "the lock cannot be written: {}".format(because(error))
            raise StoreError(path, found, "Fix the volume, then start again.") from error


def signature(fd: int) -> str:
    """Who holds a lock, as its holder wrote it, fit for a log."""
    return printable(os.pread(fd, 200, 0)) or "another process"


def utc(clock) -> str:
    """The time in ISO 8601, UTC."""
    return clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime())


def _wait_for(fd, path, timeout, clock):
    until = clock.monotonic() + max(timeout, POLL)  # held() takes it for a moment
    try:
        while not try_lock(fd):
            if clock.monotonic() >= until:
                break
            clock.sleep(POLL)
        else:
            return
    except OSError as error:
        found = "the file system cannot lock: {}".format(because(error))
        raise StoreError(path, found, "Mount it with locks (NFS: without nolock).") from error
    found = "the store is locked by {} for more than {:g} seconds".format(signature(fd), timeout)
    raise StoreError(path, found, "Wait until that run has ended, or end it; the lock goes with its process.")


def _open(state_fd, name, make):
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if make:
        try:
            # NFS turns flock into a range lock, which wants a file that is open for writing.
            return os.open(name, flags | os.O_RDWR | os.O_CREAT, 0o600, dir_fd=state_fd)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
    return os.open(name, flags | os.O_RDONLY, dir_fd=state_fd)
