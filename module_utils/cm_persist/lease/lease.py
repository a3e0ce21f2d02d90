# SPDX-License-Identifier: Apache-2.0
"""The lease of a store: who holds it, how it is taken, and the process that keeps it in a container. Where systemd runs, the
keeper is in unit.py."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from typing import List, NamedTuple

from ..errors import StoreError, because, printable
from ..fs.dirfd import Opened
from ..store.lock import POLL, open_lock, signature, try_lock, utc, write_signature

NAME = b"lease"
MARK = "cm_persist-lease"  # in the command line or the control group of each keeper, and of each process that waits for a lease
FREE, OURS, HELD, UNLOCKABLE = "free", "ours", "held", "unlockable"
BY_UNIT, BY_PROCESS, BY_NOBODY = "unit", "process", "nobody"
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h
SETTLED = 5  # seconds, more than a process takes to start or to end
# Says on its standard output that it runs, and closes that. All of it is built into the interpreter.
PROGRAM = "import posix, _signal; posix.write(1, b'.'); posix.close(1); _signal.pause()"
# In the command line of a keeper, but not of a process that only waits for the lease or reads it.
KEEPERS = (PROGRAM.encode(), b"sleep\0infinity\0")
# No file exists, and none can be made.
NO_FILE = (errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM)
# There is a file, but flock(2) does not work on it. Every other error is a failure.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)


class LeaseRequest(NamedTuple):
    """How long to wait for the lease, in seconds, and what to call its holder ('' for the host's name)."""

    timeout: float = 60
    holder: str = ""

    @property
    def name(self) -> str:
        """The holder as those who wait see it."""
        return printable(self.holder or socket.gethostname())


class LeaseSeen(NamedTuple):
    """How a lease is: FREE, OURS, HELD by another or UNLOCKABLE; and who holds it, or why it cannot be locked."""

    state: str
    detail: str = ""


def keeper(systemd, proc: str = "/proc") -> str:
    """What can keep a lease here: BY_UNIT, BY_PROCESS; BY_NOBODY on a machine without systemd, or without being root."""
    if systemd.runs():
        return BY_UNIT if os.geteuid() == 0 else BY_NOBODY
    # A process left behind on a machine would be forgotten there, and gone after a reboot. A container ends with its own.
    try:
        initial = os.stat(os.path.join(proc, "self/ns/pid")).st_ino == INITIAL_PID_NAMESPACE
    except FileNotFoundError:  # a kernel without namespaces, or a sandbox's own
        initial = False
    return BY_NOBODY if initial else BY_PROCESS


def refuse_held(store, hint: str):
    """Refuse to work on an open store whose lease another manager holds; hint says what to do."""
    lease = Lease(store)
    seen = lease.look()
    if seen.state == HELD:
        raise StoreError(lease.path, "another manager uses this store, {}".format(seen.detail), hint)


class _UnlockableError(Exception):
    """Why a lease cannot be held on this store."""


class Lease:
    """The lease of an open store that has a state directory. proc is where processes are looked for."""

    def __init__(self, store, clock=time, proc: str = "/proc"):
        self.path = os.path.join(store.state_path, os.fsdecode(NAME))
        self._state_fd, self._clock, self._proc, self._fd = store.state_fd, clock, proc, None

    def look(self) -> LeaseSeen:
        """How it is now. Changes nothing."""
        try:
            lease = Opened(open_lock(self._state_fd, NAME, self.path, make=False))
        except FileNotFoundError:
            return LeaseSeen(FREE)
        with lease as fd:
            try:
                if self._lock(fd, shared=True):
                    return LeaseSeen(FREE)
                return LeaseSeen(OURS if self._keepers(fd) else HELD, signature(fd))
            except _UnlockableError as reason:
                return LeaseSeen(UNLOCKABLE, str(reason))

    def take(self, request: LeaseRequest, kept: bool) -> LeaseSeen:
        """Hold it until close(). kept: it will outlast this process, so write down who holds it.

        FREE: it is held now, and detail says who held it until then, if somebody did. OURS: this container or machine keeps it
        already. UNLOCKABLE: it cannot be held. Raises StoreError if another held it all the time, or something else is in its
        place.
        """
        until, waited_for = self._clock.monotonic() + max(request.timeout, POLL), ""
        try:
            self._fd = self._open()
            while not self._lock(self._fd):
                waited_for = signature(self._fd)
                if self._keepers(self._fd):
                    return LeaseSeen(OURS)
                if self._clock.monotonic() >= until:
                    raise self.refusal(waited_for, request.timeout)
                self._clock.sleep(POLL)
        except _UnlockableError as reason:
            return LeaseSeen(UNLOCKABLE, str(reason))
        if kept:
            write_signature(self._fd, self.path, "{} since {}".format(request.name, utc(self._clock)))
        elif os.fstat(self._fd).st_size:
            write_signature(self._fd, self.path, "")  # a former holder's: who waits now must not read it
        return LeaseSeen(FREE, waited_for)

    def make(self) -> LeaseSeen:
        """As look(), after making the file if it is missing."""
        try:
            os.close(self._open())
        except _UnlockableError as reason:
            return LeaseSeen(UNLOCKABLE, str(reason))
        return self.look()

    def refusal(self, holder: str, timeout: float) -> StoreError:
        """The error for a lease that another manager holds."""
        found = "another manager uses this store, {}; waited {:g} seconds for it".format(holder, timeout)
        return StoreError(self.path, found, "End that one, then start again; its lease goes with its container, at once.")

    def leave_behind(self):
        """Start a keeper for what was taken, which lives until this container ends. Raises StoreError if it could not be started;
        then nothing is kept."""
        problem = self._start_keeper() if sys.executable else "this Python does not know its own path"
        if problem:
            found = "no process could be left to keep the lease: {}".format(problem)
            raise StoreError(self.path, found, "Start again, or set cm_persist_lease: false.")

    def close(self):
        """Let go of what was taken, unless a keeper has it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def is_held_here(self) -> bool:
        """True if a process of this container or machine holds it, a start at work included, which has no keeper yet. Where the
        kernel does not tell (before Linux 4.1, and on FUSE), only keepers count."""
        try:
            lease = Opened(open_lock(self._state_fd, NAME, self.path, make=False))
        except OSError:
            return False
        with lease as fd:
            return bool(self._having_open(fd, locked=True) or self._keepers(fd))

    def is_ours(self) -> bool:
        """True if this container or machine keeps it, also if the keeper started just now: /proc may not show it whole yet."""
        until = self._clock.monotonic() + SETTLED
        while self.look().state != OURS:
            if self._clock.monotonic() >= until:
                return False
            self._clock.sleep(POLL)
        return True

    def end_keepers(self):
        """End the keepers of this container or machine."""
        try:
            lease = Opened(open_lock(self._state_fd, NAME, self.path, make=False))
        except OSError:
            return  # nothing there, or nothing that could be kept
        with lease as fd:
            keepers = self._keepers(fd)
            for process in keepers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            until = self._clock.monotonic() + SETTLED
            while any(map(self._lives, keepers)) and self._clock.monotonic() < until:
                self._clock.sleep(POLL / 10)

    def _start_keeper(self) -> str:
        """Why the keeper does not run, '' if it does."""
        # It lives long, and others may read its environment: nothing is in it but what an interpreter of its own directory needs.
        # -I and -S: nothing of this machine's Python is loaded that is not needed.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM, MARK, self.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                pass_fds=(self._fd,),
                start_new_session=True,
            )
        except OSError as error:
            return str(error)
        with child.stdout:
            return "" if child.stdout.read() == b"." else "{} ended".format(sys.executable)

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

    def _lives(self, process):
        # Until it is a zombie or gone: before that it loses its command line first, and its locks last.
        with contextlib.suppress(OSError):
            return _read(os.path.join(self._proc, str(process), "stat")).rpartition(b") ")[2][:1] not in (b"Z", b"X", b"")
        return False

    def _keepers(self, fd) -> List[int]:
        # Processes that were started to keep a lease and have the file open: they got it locked.
        return [process for process in self._having_open(fd) if _keeps(os.path.join(self._proc, str(process)))]

    def _having_open(self, fd, locked=False) -> List[int]:
        # Processes that have the file open, or even locked, and the same root directory as this one: those of other containers
        # have not, though they may be visible.
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
