# SPDX-License-Identifier: Apache-2.0
import errno
import fcntl
import os

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.store import lock
from tests.clock import Clock


@pytest.fixture
def state(tmp_path):
    fd = os.open(str(tmp_path), os.O_RDONLY)
    yield fd
    os.close(fd)


def held(state, text=b""):
    fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=state)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, text)
    return fd


def content(state):
    fd = os.open("lock", os.O_RDONLY, dir_fd=state)
    try:
        return os.read(fd, 1000).decode()
    finally:
        os.close(fd)


def test_it_says_who_holds_it_while_it_is_held(state):
    with lock.locked(state, "/s", 0, clock=Clock()):
        said = content(state)
        assert "process {} ".format(os.getpid()) in said and "2026-01-02T03:04:05Z" in said
    assert content(state) == ""


def test_nobody_gets_it_twice(state):
    with lock.locked(state, "/s", 0), pytest.raises(StoreError), lock.locked(state, "/s", 0):
        pass


def test_without_a_sign_nothing_is_written(state):
    with lock.locked(state, "/s", 0):
        pass
    before = os.stat("lock", dir_fd=state)
    with lock.locked(state, "/s", 0, sign=False):
        pass
    after = os.stat("lock", dir_fd=state)
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)


def test_it_is_waited_for(state):
    fd, clock = held(state), Clock()
    clock.awake = lambda: os.close(fd) if clock.now > 7 else None
    with lock.locked(state, "/s", 10, clock=clock):
        assert 7 < clock.now < 8
        clock.awake = None


def test_waiting_ends_with_an_error_that_names_the_holder(state):
    fd, clock = held(state, b"process 4711 on elsewhere\n\x1b[31m"), Clock()
    with pytest.raises(StoreError) as error, lock.locked(state, "/s", 10, clock=clock):
        pass
    os.close(fd)
    text = str(error.value)
    assert error.value.path == "/s/lock" and "process 4711 on elsewhere" in text and "10 seconds" in text
    assert text.isprintable() and 10 <= clock.now < 11


def test_a_holder_that_has_not_signed_yet(state):
    fd = held(state)
    with pytest.raises(StoreError) as error, lock.locked(state, "/s", 0, clock=Clock()):
        pass
    os.close(fd)
    assert "another process" in str(error.value)


def test_it_is_free_after_a_failure(state):
    with pytest.raises(ValueError), lock.locked(state, "/s", 0):
        raise ValueError
    with lock.locked(state, "/s", 0):
        pass


def test_a_file_system_that_cannot_lock(state, monkeypatch):
    def no_locks(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError) as error, lock.locked(state, "/s", 0):
        pass
    assert error.value.path == "/s/lock" and "No locks available" in str(error.value) and error.value.hint


@pytest.mark.parametrize("what", ["link", "directory"])
def test_something_else_in_its_place(state, what):
    os.symlink("elsewhere", "lock", dir_fd=state) if what == "link" else os.mkdir("lock", dir_fd=state)
    with pytest.raises(StoreError) as error, lock.locked(state, "/s", 0):
        pass
    assert error.value.path == "/s/lock" and os.listdir(state) == ["lock"]


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, None), (errno.EDQUOT, None), (errno.EIO, StoreError)])
def test_a_full_store_can_still_be_locked(state, monkeypatch, number, kind):
    def failing(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", failing)
    if kind is None:
        with lock.locked(state, "/s", 0):
            pass
    else:
        with pytest.raises(kind), lock.locked(state, "/s", 0):
            pass


def test_whether_another_holds_it_can_be_asked_without_a_trace(state):
    assert not lock.held(state) and os.listdir(state) == []
    fd = held(state)
    before = os.stat("lock", dir_fd=state).st_ctime_ns
    assert lock.held(state) and os.stat("lock", dir_fd=state).st_ctime_ns == before
    os.close(fd)
    assert not lock.held(state)
