# SPDX-License-Identifier: Apache-2.0
"""One writer at a time: a lock on <store>/.cm_persist/lock that the kernel frees when its holder dies."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time

from .errors import StoreError, because, printable

NAME = b"lock"
POLL = 0.2  # seconds


@contextlib.contextmanager
def locked(state_fd, state_path, timeout, sign=True, clock=time):
    """Hold the store's lock. It is never stolen: while its holder lives, it is waited for.

    Args:
        state_fd (int): the open state directory.
        state_path (str): the same for errors.
        timeout (float): how long to wait, in seconds.
        sign (bool): write into the lock who holds it; not for those who must leave the store's times as they are.
        clock (module): offers monotonic(), sleep() and strftime(), as time does.

    Raises:
        StoreError: another process held it all the time, or the file system cannot lock.
    """
    path = os.path.join(state_path, os.fsdecode(NAME))
    fd = _open(state_fd, path)
    try:
        sign = sign and os.fstat(fd).st_nlink == 1  # what has another name may be somebody else's file, or in a backup
        until = clock.monotonic() + max(timeout, POLL)  # a look by held() takes it for a moment
        while not _try_lock(fd, path):
            if clock.monotonic() >= until:
                raise StoreError(
                    path,
                    "the store is locked by {} for more than {:g} seconds".format(_holder(fd), timeout),
                    "Wait until that run has ended, or end it; the lock goes with its process.",
                )
            clock.sleep(POLL)
        if sign:
            _write(fd, path, "process {} on {} since {}".format(os.getpid(), socket.gethostname(), _utc(clock)))
        yield
        if sign:
            _write(fd, path, "")
    finally:
        os.close(fd)


def held(state_fd):
    """bool: whether another process holds the store's lock now. Changes nothing."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=state_fd)
    except OSError:
        return False  # whatever is wrong with it, taking the lock will tell
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(fd)


def _open(state_fd, path):
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        try:
            # NFS turns flock into a range lock, which wants a file that is open for writing.
            fd = os.open(NAME, flags | os.O_RDWR | os.O_CREAT, 0o600, dir_fd=state_fd)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            fd = os.open(NAME, flags | os.O_RDONLY, dir_fd=state_fd)
    except OSError as error:
        raise StoreError(path, "the lock cannot be opened: {}".format(because(error)), "Remove what stands there.") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(path, "the lock is no regular file", "Remove it, after a look at where it came from.")
    return fd


def _try_lock(fd, path):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            path, "the file system cannot lock: {}".format(because(error)), "Mount it with locks (NFS: without nolock)."
        ) from error


def _write(fd, path, text):
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode("utf-8"), 0)
    except OSError as error:
        # The name only helps whoever waits; a full store must still be told about as such by what follows.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                path, "the lock cannot be written: {}".format(because(error)), "Mend the volume, then start again."
            ) from error


def _utc(clock):
    return clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime())


def _holder(fd):
    return printable(os.pread(fd, 200, 0)) or "another process"
