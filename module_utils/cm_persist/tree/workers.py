# SPDX-License-Identifier: Apache-2.0
"""A crew of forked processes for work that comes in batches: none for a short job, more than processors for a slow disk.

They share their parent's open files, and with them its lock: should the parent be killed they are killed with it, and
the lock is free only when the last of them is gone. The standard library's pools know neither, and hang when a process
of theirs is killed.
"""

import contextlib
import errno
import marshal
import os
import select
import signal
import time

from .. import errors
from ..fs import syscalls
from . import progress

MOST = 16  # processes: they hide the latency of a usual network volume, and fit into a container's memory and quotas
LIMITS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of processes, memory, descriptors
UNKNOWN = float("inf")
SETTLE = 0.02  # seconds that are measured before the crew grows; forking one of them takes some 2 ms
WINDOW = 256  # batches that may be ahead of the oldest that is not done
FIRST, MOST_ITEMS = 4, 32  # items: the first ones tell soon how slow it goes; then some ten times what handing them over costs
MOST_DATA = 8 << 20  # bytes


def wanted(members, elapsed, ready, processors):
    """How many processes pay off.

    Args:
        members (int): how many there are.
        elapsed (float): seconds since there are as many.
        ready (float): seconds that they ran, or could have run on a free processor, all of them together.
        processors (int): how many this process may run on.

    Returns:
        int: members, or more.
    """
    if elapsed < SETTLE:
        return members
    if members < processors:
        return max(members, min(processors, MOST, max(2, 2 * members)))
    # Most of the time they wait for a disk or a network, and more of them can wait at the same time.
    return min(MOST, 2 * members) if members < MOST and ready < elapsed * members / 2 else members


class WorkerPool:
    """Does batches, here or in processes, in any order.

    Args:
        work (callable): takes a batch, gives a result, both of types that marshal knows; raises PersistError or OSError.
        take (callable): is given each result, in this process, after its batch's number.
    """

    def __init__(self, work, take):
        self._work, self._take = work, take
        self._members, self._idle = [], []
        self._poll = select.poll()
        self._busy = {}  # the descriptor that a member's results come from -> (the member, its batch's number)
        self._submitted = 0
        self._measure()

    @property
    def done(self):
        """int: all batches with a number below it are done; they count from 0."""
        return min((number for _member, number in self._busy.values()), default=self._submitted)

    @property
    def submitted(self):
        """int: the number that the next batch gets."""
        return self._submitted

    def submit(self, batch):
        """Have a batch done. Returns when it has begun, or is done.

        Raises:
            PersistError, OSError: this batch or an earlier one failed, or a process of the crew was killed.
        """
        while self._submitted - self.done > WINDOW:
            self._wait()
        member = self._free_member()
        number, self._submitted = self._submitted, self._submitted + 1
        if member is None:
            self._take(number, self._work(batch))
        else:
            self._busy[member.results.fileno()] = (member, number)
            member.send(batch)

    def wait_for(self, number):
        """Wait until a batch and all before it are done; raises as submit() does."""
        while self.done <= min(number, self._submitted - 1):
            self._wait()

    def finish(self):
        """Wait until all batches are done; raises as submit() does."""
        self.wait_for(self._submitted)

    def close(self):
        """End all processes, whatever they do: when this returns none of them can write any more."""
        for member in self._members:
            member.kill()
        for member in self._members:
            member.reap()
        self._members, self._idle, self._busy = [], [], {}

    def _free_member(self):
        while not self._idle:
            self._grow(self._wanted())
            if self._idle:
                break
            if not self._members:
                return None
            self._wait(SETTLE)
        return self._idle.pop()

    def _wanted(self):
        elapsed = time.monotonic() - self._since
        if elapsed >= SETTLE and self._ready_then == UNKNOWN:  # one that was new had not run yet
            self._measure()
            elapsed = 0.0
        known = elapsed >= SETTLE and self._ready_then != UNKNOWN
        ready = self._ready() - self._ready_then if known else UNKNOWN
        return wanted(len(self._members), elapsed, ready, len(os.sched_getaffinity(0)))

    def _grow(self, number):
        if len(self._members) >= number:
            return
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited from a careless parent: nobody could be waited for
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            while len(self._members) < number:
                member = _Worker(self._work, self._members)
                self._members.append(member)
                self._idle.append(member)
                self._poll.register(member.results, select.POLLIN)
        except OSError as error:
            # Those that are there will do, and if need be this process alone.
            if error.errno not in LIMITS:
                raise
        self._measure()

    def _measure(self):
        self._since, self._ready_then = time.monotonic(), self._ready()

    def _ready(self):
        return sum(member.ready() for member in self._members)

    def _wait(self, seconds=None):
        for fd, _event in self._poll.poll(None if seconds is None else seconds * 1000):
            member, number = self._busy.get(fd, (None, 0))
            if member is None:  # it had nothing to do, and ended
                raise next(member for member in self._members if member.results.fileno() == fd).ended()
            result = member.receive()
            del self._busy[fd]
            self._idle.append(member)
            self._take(number, result)


class _Worker:
    """One process, and the pipes to it and from it. It has one batch at a time, so neither side waits for the other."""

    def __init__(self, work, others):
        syscalls.library()  # loaded once, not in each process
        parent, pipes = os.getpid(), []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            task_reader, task_writer, result_reader, result_writer = pipes
            self.pid = os.fork()
            if not self.pid:
                # The writing ends are the parent's alone, or nobody would see it end.
                for fd in (task_writer, result_reader, *(other.tasks.fileno() for other in others)):
                    os.close(fd)
                progress.in_member(len(others) + 1)
                with contextlib.suppress(OSError):  # forbidden: then it ends when it sees that nobody gives it work
                    syscalls.die_with_parent(parent)
                _serve(work, open(task_reader, "rb"), open(result_writer, "wb"))
        except OSError:
            for fd in pipes:
                os.close(fd)
            raise
        finally:
            if os.getpid() != parent:
                os._exit(1)
        os.close(task_reader)
        os.close(result_writer)
        self.tasks, self.results = open(task_writer, "wb"), open(result_reader, "rb")

    def send(self, batch):
        try:
            marshal.dump(batch, self.tasks)
            self.tasks.flush()
        except BrokenPipeError:
            raise self.ended() from None

    def receive(self):
        try:
            kind, answer = marshal.load(self.results)
        except (EOFError, ValueError, TypeError):
            raise self.ended() from None
        if kind is None:
            return answer
        if not kind:
            raise RuntimeError("in a process of the crew: " + answer)
        raise (OSError if kind == "OSError" else getattr(errors, kind))(*answer)

    def ready(self):
        """float: seconds that it ran so far, or waited only for a processor."""
        try:
            with open("/proc/{}/schedstat".format(self.pid)) as file:
                ran, waited, _slices = map(int, file.read().split())
        except OSError:
            return UNKNOWN  # a kernel that does not count it: then it counts as busy
        return (ran + waited) / 1e9 if ran else UNKNOWN

    def ended(self):
        """PersistError: the process is gone though there is work for it."""
        pid, status = self.pid, self.reap()
        how = "killed by signal {}".format(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "ended"
        return errors.CopyError(
            "/proc/{}".format(pid),
            "a process that helped was {}".format(how),
            "If nobody did that, memory ran out (dmesg tells): give the container more, then start again.",
        )

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self):
        """int: how the process ended, once it has: a status as os.waitpid() gives it."""
        for file in (self.tasks, self.results):
            with contextlib.suppress(BrokenPipeError):  # what was still to be sent to it
                file.close()
        pid, self.pid = self.pid, None
        return os.waitpid(pid, 0)[1] if pid else 0


def _serve(work, tasks, results):
    """Do batch after batch until the parent closes its end."""
    while True:
        try:
            batch = marshal.load(tasks)
        except EOFError:
            os._exit(0)
        try:
            answer = None, work(batch)
        except errors.PersistError as error:
            answer = type(error).__name__, (error.path, error.found, error.hint)
        except OSError as error:
            answer = "OSError", (error.errno, error.strerror, error.filename)
        except BaseException:
            import traceback

            answer = "", traceback.format_exc()
        marshal.dump(answer, results)
        results.flush()


class Batcher:
    """Items by their directory: a batch is a list of (directory, list of items), in the order of the walk.

    Args:
        crew (WorkerPool): gets each batch that is full.
    """

    def __init__(self, crew):
        self._crew, self._most = crew, FIRST
        self._empty()

    @property
    def next(self):
        """int: the number of the first batch that none of the items so far is in."""
        return self._crew.submitted + bool(self._batch)

    def add(self, directory, item, data=0):
        """Add an item. directory (bytes) is relative to the top, item of a type that marshal knows, data in bytes."""
        if not self._batch or self._batch[-1][0] != directory:
            self._batch.append((directory, []))
        self._batch[-1][1].append(item)
        self._items, self._data = self._items + 1, self._data + data
        if self._items >= self._most or self._data >= MOST_DATA:
            self.submit()

    def submit(self):
        """Hand over what there is; raises as WorkerPool.submit() does."""
        if self._batch:
            batch = self._batch
            self._most = min(MOST_ITEMS, 2 * self._most)
            self._empty()
            self._crew.submit(batch)

    def _empty(self):
        self._batch, self._items, self._data = [], 0, 0
