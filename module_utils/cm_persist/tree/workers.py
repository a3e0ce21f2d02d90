# SPDX-License-Identifier: Apache-2.0
"""A pool of forked processes for work that comes in batches: none for a short job, more than processors for a slow disk.

The workers share the open files of their parent, and with them its lock. If the parent is killed, the kernel kills them too, and
the lock is free only when the last of them has ended. The pools of the standard library do neither, and hang when a process of
theirs is killed. Threads are no substitute: each of the many short system calls of a copy hands the interpreter's lock over,
which makes two threads slower than one.
"""

import contextlib
import errno
import marshal
import os
import select
import signal
import time
from typing import Any, Callable

from .. import errors
from ..fs import syscalls
from . import progress

MOST = 16  # workers: they hide the latency of a usual network volume, and fit into the memory and quotas of a container
LIMITS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of processes, memory, descriptors
UNKNOWN = float("inf")
SETTLE = 0.02  # seconds to measure before the pool grows; a fork takes some 2 ms
WINDOW = 256  # batches that may be ahead of the oldest that is not done
# Items of a batch: small first ones show soon how slow it goes; copying a large one takes ten times as long as handing it over.
FIRST, MOST_ITEMS = 4, 32
MOST_DATA = 8 << 20  # bytes of a batch


def wanted(workers: int, elapsed: float, ready: float, processors: int) -> int:
    """The number of workers that pays off, from their number now; it never shrinks.

    They are as many since elapsed seconds; all together ran, or could have run on a free processor, for ready seconds.
    """
    if elapsed < SETTLE:
        return workers
    if workers < processors:
        return max(workers, min(processors, MOST, max(2, 2 * workers)))
    # If they wait for a disk or a network most of the time, more of them can wait at the same time.
    return min(MOST, 2 * workers) if workers < MOST and ready < elapsed * workers / 2 else workers


class WorkerPool:
    """Works on batches, in this process or in workers, in any order.

    work takes a batch and returns a result, both of types that marshal knows; it raises PersistError or OSError. take is called
    in this process for each result, with the number of its batch and the result.
    """

    def __init__(self, work: Callable[[Any], Any], take: Callable[[int, Any], None]):
        self._work, self._take = work, take
        self._workers, self._idle = [], []
        self._poll = select.poll()
        self._busy = {}  # the descriptor of a worker's results -> (the worker, the number of its batch)
        self.submitted = 0  # the number of the next batch
        self._measure()

    @property
    def done(self) -> int:
        """The number up to which all batches are done, not counting itself; the first batch has 0."""
        return min((number for _worker, number in self._busy.values()), default=self.submitted)

    def submit(self, batch: Any) -> None:
        """Work on a batch; returns when it has started or is done.

        Raises the PersistError or OSError of this batch or an earlier one, or one for a worker that was killed.
        """
        while self.submitted - self.done > WINDOW:
            self._wait()
        worker = self._free_worker()
        number, self.submitted = self.submitted, self.submitted + 1
        if worker is None:
            self._take(number, self._work(batch))
        else:
            self._busy[worker.results.fileno()] = (worker, number)
            worker.send(batch)

    def wait_for(self, number: int) -> None:
        """Wait until a batch and all before it are done; raises as submit() does."""
        while self.done <= min(number, self.submitted - 1):
            self._wait()

    def finish(self) -> None:
        """Wait until all batches are done; raises as submit() does."""
        self.wait_for(self.submitted)

    def close(self) -> None:
        """Kill all workers. When this returns, none of them can write any more."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.reap()
        self._workers, self._idle, self._busy = [], [], {}

    def _free_worker(self):
        while not self._idle:
            self._grow(self._wanted())
            if self._idle:
                break
            if not self._workers:
                return None
            self._wait(SETTLE)
        return self._idle.pop()

    def _wanted(self):
        elapsed = time.monotonic() - self._since
        if elapsed >= SETTLE and self._ready_then == UNKNOWN:  # a new worker had not run yet
            self._measure()
            elapsed = 0.0
        ready = self._ready() - self._ready_then if elapsed >= SETTLE else UNKNOWN
        return wanted(len(self._workers), elapsed, ready, len(os.sched_getaffinity(0)))

    def _grow(self, number):
        if len(self._workers) >= number:
            return
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited from the parent: waitpid() would find no child
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            while len(self._workers) < number:
                worker = _Worker(self._work, self._workers)
                self._workers.append(worker)
                self._idle.append(worker)
                self._poll.register(worker.results, select.POLLIN)
        except OSError as error:
            # The workers that exist do the work, or this process alone.
            if error.errno not in LIMITS:
                raise
        self._measure()

    def _measure(self):
        self._since, self._ready_then = time.monotonic(), self._ready()

    def _ready(self):
        return sum(worker.ready() for worker in self._workers)

    def _wait(self, seconds=None):
        for fd, _event in self._poll.poll(None if seconds is None else seconds * 1000):
            worker, number = self._busy.get(fd, (None, 0))
            if worker is None:  # it had no batch, and ended
                raise next(worker for worker in self._workers if worker.results.fileno() == fd).ended()
            result = worker.receive()
            del self._busy[fd]
            self._idle.append(worker)
            self._take(number, result)


class _Worker:
    """One process, and the pipes to it and from it. It has one batch at a time, so the two never wait for each other."""

    def __init__(self, work, others):
        syscalls.library()  # loads the C library once, not in each process
        parent, pipes = os.getpid(), []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            task_reader, task_writer, result_reader, result_writer = pipes
            self.pid = os.fork()
            if not self.pid:
                # Only the parent keeps the writing ends: when it ends, its workers see their pipes end.
                for fd in (task_writer, result_reader, *(other.tasks.fileno() for other in others)):
                    os.close(fd)
                progress.in_worker(len(others) + 1)
                with contextlib.suppress(OSError):  # forbidden: then it ends when its pipe does
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
            raise RuntimeError("in a worker process: " + answer)
        raise (OSError if kind == "OSError" else getattr(errors, kind))(*answer)

    def ready(self):
        """The seconds that it ran so far, or waited for a processor."""
        try:
            with open("/proc/{}/schedstat".format(self.pid)) as file:
                ran, waited, _slices = map(int, file.read().split())
        except OSError:
            return UNKNOWN  # this kernel does not count it: so it counts as busy
        return (ran + waited) / 1e9 if ran else UNKNOWN

    def ended(self):
        """The error for a process that has ended though there is work for it."""
        pid, status = self.pid, self.reap()
        how = "was killed by signal {}".format(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "ended"
        hint = "If nobody killed it, memory ran out (see dmesg): give the container more, then start again."
        return errors.CopyError("/proc/{}".format(pid), "a copying process {}".format(how), hint)

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self):
        """Wait for the end of the process; its exit status, as os.waitpid() returns it."""
        for file in (self.tasks, self.results):
            with contextlib.suppress(BrokenPipeError):  # of data that was not sent
                file.close()
        pid, self.pid = self.pid, None
        return os.waitpid(pid, 0)[1] if pid else 0


def _serve(work, tasks, results):
    """Work on batch after batch until the parent closes its end."""
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
    """Collects items into batches for a pool: lists of (directory, list of items), in the order of the walk."""

    def __init__(self, pool: WorkerPool):
        self._pool, self._most = pool, FIRST
        self._empty()

    @property
    def next(self) -> int:
        """The number of the first batch that has none of the items so far."""
        return self._pool.submitted + bool(self._batch)

    def add(self, directory: bytes, item: Any, data: int = 0) -> None:
        """Add an item, of a type that marshal knows, with that many bytes of data; a full batch goes to the pool."""
        if not self._batch or self._batch[-1][0] != directory:
            self._batch.append((directory, []))
        self._batch[-1][1].append(item)
        self._items, self._data = self._items + 1, self._data + data
        if self._items >= self._most or self._data >= MOST_DATA:
            self.submit()

    def submit(self):
        """Give the items so far to the pool; raises as WorkerPool.submit() does."""
        if self._batch:
            batch = self._batch
            self._most = min(MOST_ITEMS, 2 * self._most)
            self._empty()
            self._pool.submit(batch)

    def _empty(self):
        self._batch, self._items, self._data = [], 0, 0
