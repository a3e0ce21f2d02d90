# SPDX-License-Identifier: Apache-2.0
"""Two starts on one store: one seeds, the other waits and then finds it seeded."""

import fcntl
import os
import signal

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.seed import observe as seed_observe
from module_utils.cm_persist.seed.steps import Copy
from module_utils.cm_persist.store import lock
from tests.site import write
from tests.tree import assert_same


class Companion:
    """A child process that does an act, and says and hears things through pipes."""

    def __init__(self, act):
        hear, self._say = os.pipe()
        self._hear, say = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                act(lambda: os.write(say, b"."), lambda: os.read(hear, 1))
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.close(say)

    def hear(self):
        assert os.read(self._hear, 1) == b"."

    def say(self):
        os.write(self._say, b".")

    def end(self):
        code, self.pid = os.WEXITSTATUS(os.waitpid(self.pid, 0)[1]), None
        assert code == 0

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None


@pytest.fixture
def seeding(site):
    """Companion: that seeds, says so in the midst of its copy, and goes on when it is told to."""
    copy = Copy.execute

    def act(say, hear):
        def slowly(step, run):
            copy(step, run)
            say()
            hear()

        Copy.execute = slowly
        site.seed()

    companion = Companion(act)
    companion.hear()
    yield companion
    companion.kill()


def test_the_other_waits_and_copies_nothing(site, seeding, monkeypatch):
    waited = []

    class Clock:
        monotonic = staticmethod(lambda: float(len(waited)))
        gmtime = strftime = staticmethod(lambda *_arguments: "now")

        @staticmethod
        def sleep(_seconds):
            if not waited:
                assert not os.path.lexists(site.stored())
                seeding.say()
            waited.append(os.sched_yield())

    monkeypatch.setattr(lock.locked.__wrapped__, "__defaults__", (True, Clock))
    outcome = site.seed(lock_timeout=10**9)
    assert waited
    seeding.end()
    assert (outcome.changed, outcome.paths[0]["state"]) == (False, "already")
    assert_same(site.path(), site.stored())


def test_waiting_in_vain_names_the_holder(site, seeding):
    with pytest.raises(StoreError) as failure:
        site.seed(lock_timeout=0)
    assert "process {}".format(seeding.pid) in str(failure.value)
    assert failure.value.path == os.path.join(site.books, "lock") and failure.value.hint
    seeding.say()
    seeding.end()
    assert_same(site.path(), site.stored())


def test_a_lock_of_a_killed_holder_is_free(site, seeding):
    seeding.kill()
    assert site.seed(lock_timeout=0).paths[0]["state"] == "seeded"


def test_linking_waits_too(site):
    site.seed()
    held = os.open(os.path.join(site.books, "lock"), os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(StoreError):
        site.link(lock_timeout=0)
    os.close(held)
    assert site.link(lock_timeout=0).paths[0]["state"] == "linked"


def test_a_restart_does_not_wait(site):
    site.start()
    held = os.open(os.path.join(site.books, "lock"), os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert [outcome.changed for outcome in site.start(lock_timeout=0)] == [False, False]
    os.close(held)


@pytest.mark.parametrize("when", ["read_books", "scan", "_scan_leftovers"])
def test_a_look_during_which_another_finishes_is_no_failure(site, monkeypatch, when):
    left = os.path.join(site.books, "staging", "killed")
    os.makedirs(os.path.join(left, "tree"))
    os.chmod(site.books, 0o700)
    write(os.path.join(left, "tree", "part"), "of a copy")
    look = getattr(seed_observe, when)

    def overtaken(*arguments):
        monkeypatch.undo()
        site.seed()
        return look(*arguments)

    monkeypatch.setattr(seed_observe, when, overtaken)
    assert site.seed().paths[0]["state"] == "already"
    assert_same(site.path(), site.stored())


@pytest.mark.root
def test_room_that_the_other_takes_meanwhile_is_no_shortage(site, volume, request, monkeypatch):
    site.store = volume("8M")
    with open(site.path("data/large"), "wb") as file:
        file.write(os.urandom(4 << 20))
    seeding, count = request.getfixturevalue("seeding"), seed_observe._scan_leftovers

    def overtaken(*arguments):
        monkeypatch.undo()
        seeding.say()
        seeding.end()
        return count(*arguments)

    monkeypatch.setattr(seed_observe, "_scan_leftovers", overtaken)
    outcome = site.seed()
    assert outcome.paths[0]["state"] == "already"
