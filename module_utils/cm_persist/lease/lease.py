# SPDX-License-Identifier: Apache-2.0
"""One manager per store: a lock on <store>/.cm_persist/lease, for as long as the manager's container or machine runs.

What keeps it is a process that does nothing else: left behind by a container's start, before there is an init, or run by a unit
(lease_unit.py) where systemd is up. The kernel frees the lock when that process dies, and nothing else ever does.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
import time
from typing import NamedTuple

from ..errors import StoreError, because, printable
from ..store.lock import POLL, open_lock, signature, try_lock, utc, write_signature

NAME = b"lease"
MARK = "cm_persist-lease"  # in the command line or the control group of each process that keeps one, or waits for it
FREE, OURS, HELD, UNLOCKABLE = "free", "ours", "held", "unlockable"
BY_UNIT, BY_PROCESS, BY_NOBODY = "unit", "process", "nobody"
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
SETTLED = 5  # seconds, more than a process takes to begin or to end
# Says by its standard output that it runs, and closes that. All of it is built into the interpreter.
PROGRAM = "import posix, _signal; posix.write(1, b'.'); posix.close(1); _signal.pause()"
# How the command line of a keeper begins to differ from that of one that only waits for the lease, or looks at it.
KEEPERS = (PROGRAM.encode(), b"sleep\0infinity\0")
# Where there is no file, and none can be made; and where there is one, but flock(2) does not work there. All else is a failure.
NO_FILE = (errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)


class LeaseRequest(NamedTuple):
    """How long to wait for the lease, in seconds, and what to call its holder ('' for the host's name)."""

    timeout: float = 60
    holder: str = ""

    @property
    def name(self):
        """str: what those who wait are told."""
        return printable(self.holder or socket.gethostname())


class LeaseSeen(NamedTuple):
    """state (FREE, OURS, HELD by another or UNLOCKABLE), who holds it, or why it cannot be locked."""

    state: str
    detail: str = ""


def keeper(systemd, proc="/proc"):
    """str: what can keep a lease here, BY_UNIT, BY_PROCESS, or, on a machine without systemd or without being root, BY_NOBODY."""
    if systemd.runs():
        return BY_UNIT if os.geteuid() == 0 else BY_NOBODY
    # A process that is left on a machine would be forgotten there, and gone after a reboot; a container ends with its own.
    try:
        initial = os.stat(os.path.join(proc, "self/ns/pid")).st_ino == INITIAL_PID_NAMESPACE
    except FileNotFoundError:  # a kernel without them, or a sandbox's own
        initial = False
    return BY_NOBODY if initial else BY_PROCESS


class _UnlockableError(Exception):
    """Why a lease cannot be held on this store."""


class Lease:
    """The lease of a store that has a state directory.

    Args:
        store (Store): open.
        clock (module): as time.
        proc (str): where processes are looked for.
    """

    def __init__(self, store, clock=time, proc="/proc"):
        self.path = os.path.join(store.state_path, os.fsdecode(NAME))
        self._state_fd, self._clock, self._proc, self._fd = store.state_fd, clock, proc, None

    def look(self):
        """LeaseSeen: how it is now. Changes nothing."""
        try:
            fd = open_lock(self._state_fd, NAME, self.path, make=False)
        except FileNotFoundError:
            return LeaseSeen(FREE)
        try:
            if self._lock(fd, shared=True):
                return LeaseSeen(FREE)
            return LeaseSeen(OURS if self._keepers(fd) else HELD, signature(fd))
        except _UnlockableError as reason:
            return LeaseSeen(UNLOCKABLE, str(reason))
        finally:
            os.close(fd)

    def take(self, wanted, kept):
        """Hold it until close().

        Args:
            wanted (LeaseRequest): how long to wait, and the holder's name.
            kept (bool): whether it will outlast this process: then who holds it is written down.

        Returns:
            LeaseSeen: FREE where it was to be had, and detail then says who held it until then, if somebody did; OURS where
            this container or machine keeps it already; UNLOCKABLE.

        Raises:
            StoreError: another held it all the time, or something else stands in its place.
        """
        until, waited_for = self._clock.monotonic() + max(wanted.timeout, POLL), ""
        try:
            self._fd = self._open()
            while not self._lock(self._fd):
                waited_for = signature(self._fd)
                if self._keepers(self._fd):
                    return LeaseSeen(OURS)
                if self._clock.monotonic() >= until:
                    raise self.refusal(waited_for, wanted.timeout)
                self._clock.sleep(POLL)
        except _UnlockableError as reason:
            return LeaseSeen(UNLOCKABLE, str(reason))
        if kept:
            write_signature(self._fd, self.path, "{} since {}".format(wanted.name, utc(self._clock)))
        elif os.fstat(self._fd).st_size:
            write_signature(self._fd, self.path, "")  # of one that is gone: who waits now must not be told of it
        return LeaseSeen(FREE, waited_for)

    def make(self):
        """LeaseSeen: as look(), after the file has been made where there was none."""
        try:
            os.close(self._open())
        except _UnlockableError as reason:
            return LeaseSeen(UNLOCKABLE, str(reason))
        return self.look()

    def _open(self):
        try:
            return open_lock(self._state_fd, NAME, self.path)
        except OSError as error:
            if error.errno in NO_FILE:
                raise _UnlockableError(because(error)) from error
            raise

    @staticmethod
    def _lock(fd, shared=False):
        try:
            return try_lock(fd, shared)
        except OSError as error:
            if error.errno in NO_LOCKS:
                raise _UnlockableError(because(error)) from error
            raise

    def refusal(self, holder, timeout):
        """StoreError: that another manager holds it."""
        return StoreError(
            self.path,
            "another manager uses this store, {}; waited {:g} seconds for it".format(holder, timeout),
            "End that one, then start again; its lease goes with its container, at once.",
        )

    def leave_behind(self):
        """Leave a process behind that keeps what was taken, until this container ends.

        Raises:
            StoreError: it could not be started; then nothing is kept.
        """
        reader, writer = os.pipe()
        os.set_inheritable(self._fd, True)
        child = os.fork()
        if not child:
            try:
                os.close(reader)
                os.setsid()
                if os.fork() == 0:
                    self._become_keeper(writer)
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        os.set_inheritable(self._fd, False)
        with open(reader, "rb") as answer:
            said = answer.read().decode()
        if said != ".":
            found = "no process could be left to keep the lease: {}".format(said or "{} ended".format(sys.executable))
            raise StoreError(self.path, found, "Start again, or set cm_persist_lease: false.")

    def _become_keeper(self, writer):
        answer = writer
        try:
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for standard, descriptor in enumerate((null, writer, null)):
                os.dup2(descriptor, standard)
            answer = 1
            for number in map(int, os.listdir("/proc/self/fd")):
                if number > 2 and number != self._fd:
                    with contextlib.suppress(OSError):  # that of the list itself is closed already
                        os.close(number)
            # It lives long, and may be looked at: so no environment, but for what an interpreter of its own directory needs. -I
            # and -S: nothing of this machine's Python is loaded that is not needed.
            environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
            os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", PROGRAM, MARK, self.path], environment)
        except Exception as error:  # whatever it is, the caller tells of it
            os.write(answer, str(error).encode())

    def close(self):
        """Let go of what was taken, unless a process was left behind."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def is_held_here(self):
        """bool: whether it is a process of this container or machine that has it, a start at work included, which keeps nothing
        yet. Where the kernel does not tell (before Linux 4.1, and of FUSE), only what keeps it counts."""
        try:
            fd = open_lock(self._state_fd, NAME, self.path, make=False)
        except OSError:
            return False
        try:
            return bool(self._having_open(fd, locked=True) or self._keepers(fd))
        finally:
            os.close(fd)

    def is_ours(self):
        """bool: whether this container or machine keeps it, also if it began to just now: what is being started, /proc may not
        show whole."""
        until = self._clock.monotonic() + SETTLED
        while self.look().state != OURS:
            if self._clock.monotonic() >= until:
                return False
            self._clock.sleep(POLL)
        return True

    def end_keepers(self):
        """End the processes of this container or machine that keep it."""
        try:
            fd = open_lock(self._state_fd, NAME, self.path, make=False)
        except OSError:
            return  # nothing there, or nothing that could be kept
        try:
            keepers = self._keepers(fd)
            for process in keepers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            until = self._clock.monotonic() + SETTLED
            while any(map(self._lives, keepers)) and self._clock.monotonic() < until:
                self._clock.sleep(POLL / 10)
        finally:
            os.close(fd)

    def _lives(self, process):
        # Until it is a zombie or gone: before that it loses its command line first, and its locks last.
        with contextlib.suppress(OSError):
            return _read(os.path.join(self._proc, str(process), "stat")).rpartition(b") ")[2][:1] not in (b"Z", b"X", b"")
        return False

    def _keepers(self, fd):
        # list of int: processes that were started to keep a lease and have the file open: that they were given locked
        return [process for process in self._having_open(fd) if _keeps(os.path.join(self._proc, str(process)))]

    def _having_open(self, fd, locked=False):
        # list of int: processes that have the same root directory as this one (those of other containers have not, though they
        # may be visible), and the file open, or even locked
        file, root, found = os.fstat(fd), os.stat("/"), []
        for process in filter(str.isdigit, os.listdir(self._proc)):
            with contextlib.suppress(OSError):  # it ended meanwhile, or is none of ours
                directory = os.path.join(self._proc, process)
                if os.path.samestat(os.stat(os.path.join(directory, "root")), root) and _has_open(directory, file, locked):
                    found.append(int(process))
        return found


def _keeps(directory):
    with contextlib.suppress(OSError):  # it ended meanwhile
        command = _read(os.path.join(directory, "cmdline"))
        if any(keeper_of in command for keeper_of in KEEPERS):
            return MARK.encode() in command or MARK.encode() in _read(os.path.join(directory, "cgroup"))
    return False


def _has_open(directory, file, locked):
    for number in os.listdir(os.path.join(directory, "fd")):
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.path.samestat(os.stat(os.path.join(directory, "fd", number)), file):
                return not locked or b"\nlock:" in _read(os.path.join(directory, "fdinfo", number))
    return False


def _read(path):
    with open(path, "rb") as file:
        return file.read()
