# SPDX-License-Identifier: Apache-2.0
"""The pool of copying processes: all batches are done once, whatever ends ends clearly, and nobody outlives the parent."""

import errno
import fcntl
import os
import resource
import signal
import time

import pytest

from module_utils.cm_persist.errors import CopyError, StoreError
from module_utils.cm_persist.fs import syscalls
from module_utils.cm_persist.tree import workers as module
from module_utils.cm_persist.tree.workers import MOST, SETTLE, WINDOW, WorkerPool, wanted

LONG = 10 * SETTLE


@pytest.fixture
def make_pool(monkeypatch):
    """A function that makes a WorkerPool: of how many processes, its work, and a list for the results; closed after the test."""
    pools = []

    def make(number, work, results):
        monkeypatch.setattr(module, "wanted", lambda *_load: number)
        pools.append(WorkerPool(work, lambda _number, result: results.append(result)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def as_it_is(monkeypatch):
    monkeypatch.setattr(module, "wanted", wanted)


def test_a_short_job_needs_no_process():
    assert wanted(0, SETTLE / 2, 0, 8) == 0


@pytest.mark.parametrize(
    ("members", "ready", "processors", "expected"),
    [
        (0, 0, 1, 1),
        (0, 0, 8, 2),
        (2, 2 * LONG, 8, 4),
        (4, 4 * LONG, 6, 6),
        (2, 2 * LONG, 2, 2),  # busy all the time: more would only take turns
        (2, 0.1 * LONG, 2, 4),  # waiting most of the time
        (2, float("nan"), 2, 2),  # not known
        (MOST - 1, 0, 2, MOST),
        (MOST, 0, 2, MOST),
        (MOST, MOST * LONG, 128, MOST),
        (MOST // 2, MOST * LONG, 128, MOST),
    ],
)
def test_how_many_pay_off(members, ready, processors, expected):
    assert wanted(members, LONG, ready, processors) == expected


@pytest.mark.parametrize("number", [0, 1, 3])
def test_every_batch_is_done_once(make_pool, number):
    results = []
    pool = make_pool(number, lambda batch: [os.getpid(), batch * 2], results)
    for batch in range(WINDOW + 50):
        pool.submit(batch)
    pool.finish()
    assert sorted(doubled for _pid, doubled in results) == [batch * 2 for batch in range(WINDOW + 50)]
    assert len({pid for pid, _doubled in results} - {os.getpid()}) == number
    assert pool.done == pool.submitted == WINDOW + 50


def test_a_batch_may_be_larger_than_a_pipe(make_pool):
    results = []
    pool = make_pool(2, lambda batch: batch * 2, results)
    for _time in range(4):
        pool.submit(b"x" * (1 << 20))
    pool.finish()
    assert [len(result) for result in results] == [2 << 20] * 4


def test_done_waits_for_the_oldest(make_pool):
    gate, opened = os.pipe()
    pool = make_pool(2, lambda batch: b"" if batch else os.read(gate, 1), [])
    pool.submit(0)
    for batch in range(1, 20):
        pool.submit(batch)
    assert pool.done == 0, "the first is not done, whatever came after it"
    os.write(opened, b".")
    pool.finish()
    assert pool.done == 20
    os.close(gate)
    os.close(opened)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_error_arrives_as_it_was_raised(make_pool, number):
    def work(batch):
        raise StoreError("/p\udce9", "found", "do this")

    pool = make_pool(number, work, [])
    with pytest.raises(StoreError) as failure:
        pool.submit(b"")
        pool.finish()
    assert (failure.value.path, failure.value.found, failure.value.hint) == ("/p\udce9", "found", "do this")


def test_a_defect_arrives_with_its_traceback(make_pool):
    pool = make_pool(1, lambda batch: batch["no such"], [])
    with pytest.raises(RuntimeError, match="KeyError"):
        pool.submit({})
        pool.finish()


@pytest.mark.parametrize("when", ["at work", "idle", "just before it is given work"])
def test_a_process_that_is_killed_is_an_error(make_pool, when):
    def work(batch):
        if when == "at work":
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    results = []
    pool = make_pool(1, work, results)
    with pytest.raises(CopyError, match="killed by signal 9") as failure:
        pool.submit(0)
        pool.finish()
        os.kill(results[0], signal.SIGKILL)
        os.waitid(os.P_PID, results[0], os.WEXITED | os.WNOWAIT)
        if when == "idle":
            pool._wait()
        pool.submit(1)
        pool.finish()
    assert "memory" in failure.value.hint


@pytest.mark.parametrize("first", [0, 1])
def test_where_no_more_processes_may_be_made_those_that_there_are_do_it(make_pool, monkeypatch, first):
    fork, made = os.fork, []

    def scarce():
        if len(made) == first:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        made.append(fork())
        return made[-1]

    results = []
    monkeypatch.setattr(os, "fork", scarce)
    pool = make_pool(3, lambda batch: os.getpid(), results)
    for batch in range(10):
        pool.submit(batch)
    pool.finish()
    assert set(results) == ({os.getpid()} if first == 0 else set(made)) and len(results) == 10


def test_another_failure_to_fork_is_an_error(make_pool, monkeypatch):
    def forbidden():
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fork", forbidden)
    with pytest.raises(PermissionError):
        make_pool(1, lambda batch: batch, []).submit(0)


def test_close_leaves_no_process_and_no_descriptor(make_pool):
    before, results = sorted(os.listdir("/proc/self/fd")), []
    pool = make_pool(3, lambda batch: os.getpid(), results)
    for batch in range(20):
        pool.submit(batch)
    pool.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("notified", [True, False])
def test_a_parent_that_is_killed_takes_its_workers_along(tmp_path, monkeypatch, notified):
    """Also where the kernel does not notify the children (notified=False), and then its lock is free when the last is gone."""
    if not notified:
        monkeypatch.setattr(syscalls, "die_with_parent", lambda _parent: None)
    monkeypatch.setattr(module, "wanted", lambda *_load: 2)
    gate, opened = os.pipe()
    hear, say = os.pipe()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    parent = os.fork()
    if not parent:
        try:
            mine = os.open(tmp_path / "lock", os.O_RDWR)
            fcntl.flock(mine, fcntl.LOCK_EX)
            pool = WorkerPool(lambda batch: os.write(say, b".") and os.read(gate, 1), print)
            pool.submit(0)
            pool.submit(1)
            os.read(gate, 1)
        finally:
            os._exit(0)
    assert os.read(hear, 1) + os.read(hear, 1) == b".."
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    if not notified:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(opened, b"..")  # both go on, and find nobody to report to
    fcntl.flock(lock, fcntl.LOCK_EX)  # or this waits for ever
    for fd in (lock, gate, opened, hear, say):
        os.close(fd)


@pytest.mark.parametrize("soon", [True, False])
def test_a_parent_that_ignores_its_children_can_still_end_them(make_pool, soon):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    results = []
    try:
        pool = make_pool(3, lambda batch: os.getpid(), results)
        for batch in range(9):
            pool.submit(batch)
        if not soon:
            pool.finish()
        pool.close()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not any(os.path.exists("/proc/{}".format(pid)) for pid in results)


def test_too_few_descriptors_are_no_failure(make_pool):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before, results = len(os.listdir("/proc/self/fd")), []
    pool = make_pool(8, lambda batch: os.getpid(), results)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 8, limits[1]))
    try:
        for batch in range(20):
            pool.submit(batch)
        pool.finish()
        assert len(results) == 20 and 0 < len(set(results)) < 8
        pool.close()
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("as_it_is")
def test_work_that_waits_gets_more_processes_than_processors():
    results = []
    pool = WorkerPool(lambda batch: time.sleep(0.05) or os.getpid(), lambda _number, result: results.append(result))
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})  # where a new process has not run yet when it is first looked at
    try:
        with open("/proc/self/schedstat") as file:
            if not int(file.read().split()[0]):
                pytest.skip("this kernel does not count who waits for what")
        for batch in range(150):
            pool.submit(batch)
        pool.finish()
        assert len(set(results) - {os.getpid()}) == MOST
    finally:
        os.sched_setaffinity(0, processors)
        pool.close()
