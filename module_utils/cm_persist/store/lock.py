# SPDX-License-Identifier: Apache-2.0
"""One writer at a time: a lock on <store>/.cm_persist/lock that the kernel frees when its holder dies."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time

from ..errors import StoreError, because, printable

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
    try:
        fd = open_lock(state_fd, NAME, path)
    except OSError as error:
        raise StoreError(path, "the lock cannot be opened: {}".format(because(error)), "Remove what stands there.") from error
    try:
        until = clock.monotonic() + max(timeout, POLL)  # a look by held() takes it for a moment
        while not _try(fd, path):
            if clock.monotonic() >= until:
                raise StoreError(
                    path,
                    "the store is locked by {} for more than {:g} seconds".format(signature(fd), timeout),
                    "Wait until that run has ended, or end it; the lock goes with its process.",
                )
            clock.sleep(POLL)
        if sign:
            write_signature(fd, path, "process {} on {} since {}".format(os.getpid(), socket.gethostname(), utc(clock)))
        yield
        if sign:
            write_signature(fd, path, "")
    finally:
        os.close(fd)


def held(state_fd):
    """bool: whether another process holds the store's lock now. Changes nothing."""
    try:
        fd = open_lock(state_fd, NAME, "", make=False)
    except (OSError, StoreError):
        return False  # whatever is wrong with it, taking the lock will tell
    try:
        return not try_lock(fd, shared=True)
    except OSError:
        return False
    finally:
        os.close(fd)


def open_lock(state_fd, name, path, make=True):
    """Open a file that is locked as a whole.

    Args:
        state_fd (int): the open state directory.
        name (bytes): its name there.
        path (str): its path for errors.
        make (bool): make it if it is not there, and open it for writing where that is possible.

    Returns:
        int: the descriptor, the caller's to close.

    Raises:
        OSError: it cannot be opened.
        StoreError: it is no regular file.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    something_else = StoreError(path, "the lock is no regular file", "Remove it, after a look at where it came from.")
    try:
        if make:
            try:
                # NFS turns flock into a range lock, which wants a file that is open for writing.
                fd = os.open(name, flags | os.O_RDWR | os.O_CREAT, 0o600, dir_fd=state_fd)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                make = False
        if not make:
            fd = os.open(name, flags | os.O_RDONLY, dir_fd=state_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise something_else from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise something_else
    return fd


def try_lock(fd, shared=False):
    """bool: whether the lock was to be had.

    Args:
        fd (int): the open file.
        shared (bool): only look whether nobody has it; closing the file ends that.

    Raises:
        OSError: the file system cannot lock.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def write_signature(fd, path, text):
    """Write into a lock who holds it. What has another name as well is left alone: it may be somebody's file, or in a backup.

    Args:
        fd (int): the open file.
        path (str): its path for errors.
        text (str): its whole new content.

    Raises:
        StoreError: the volume fails.
    """
    if os.fstat(fd).st_nlink != 1:
        return
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode("utf-8"), 0)
    except OSError as error:
        # The name only helps whoever waits; a full store must still be told about as such by what follows. A file that is
        # open for reading alone (EBADF, EINVAL) is on a read-only volume.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EBADF, errno.EINVAL):
            raise StoreError(
                path, "the lock cannot be written: {}".format(because(error)), "Mend the volume, then start again."
            ) from error


def signature(fd):
    """str: who holds a lock, as they wrote it, fit for a log."""
    return printable(os.pread(fd, 200, 0)) or "another process"


def utc(clock):
    """str: the time in ISO 8601, UTC."""
    return clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime())


def _try(fd, path):
    try:
        return try_lock(fd)
    except OSError as error:
        raise StoreError(
            path, "the file system cannot lock: {}".format(because(error)), "Mount it with locks (NFS: without nolock)."
        ) from error
