# SPDX-License-Identifier: Apache-2.0
"""Two containers of one image start on one store: whatever the one has come to, the other waits, or says whom it waits for.

Where each has a lease they meet there (tests/filesystem/test_lease.py); here they do without, and meet at the lock.

The first is held before each of its changes. While it is, the second tries in vain; or it waits until the first goes
on, or until the first is killed. The second sees its own copy of the image at the same paths.
"""

import contextlib
import fcntl
import json
import os
import re
import subprocess
import time

import pytest

from .hold import CHANGES, Held
from .scene import LOST, PIPES, STUCK, TORN, Scene, whole

WORKERS, SECONDS = "2", 300  # what takes longer than that hangs
OWN_MOUNT = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && read -r _go; exec "$@"')


class Twin:
    """A second container of a scene's image, with the same store.

    Args:
        scene (Scene): before its first start.
        number (int): which one.
    """

    def __init__(self, scene, number=1):
        self.scene, self.image = scene, "{}-{}".format(scene.image, number)
        subprocess.run(["cp", "-a", scene.image, self.image], check=True)
        for path in scene.paths:
            assert whole(self.own(path)).keys() == scene.before[path].keys()
        subprocess.run(["chattr", "+i", self.own(scene.paths[1]) + "/fixed"], check=True)

    def own(self, path):
        """str: where a state path of this container is seen from outside."""
        return self.image + path[len(self.scene.image) :]

    def begin(self, **environment):
        """subprocess.Popen: a start that goes as far as it is told to: until its standard input is closed."""
        command = self.scene.command(*OWN_MOUNT, self.image, self.scene.image)
        return subprocess.Popen(command, env=self.scene.environment(LEASE="0", **environment), stdin=subprocess.PIPE, **PIPES)

    def start(self, **environment):
        """(int, str): how a start ends, and what it says."""
        return end(self.begin(**environment))

    def problems(self, linked):
        """list of (kind, str): what is wrong with this container; linked says whether a start has succeeded in it."""
        found = []
        for path in self.scene.paths:
            own, stored = self.own(path), self.scene.stored(path)
            if linked and not (os.path.islink(own) and os.readlink(own) == stored):
                found.append((STUCK, "{} is not linked".format(own)))
            if not linked and whole(own) != self.scene.before[path]:
                found.append((LOST, "{} has changed".format(own)))
        return found


def end(process):
    """(int, str): how a process ends, and what it says; one that hangs is ended."""
    try:
        said = "".join(filter(None, process.communicate("", timeout=SECONDS)))
    except subprocess.TimeoutExpired:
        process.kill()
        said = "it hangs: " + "".join(filter(None, process.communicate()))
    return process.returncode, said


def seeded(said):
    """list of str: the state paths that a start says it has seeded."""
    with contextlib.suppress(ValueError):
        return [path["path"] for path in json.loads(said)["seed"]["paths"] if path["state"] == "seeded"]
    return []


def lock_of(scene):
    """str: the store's lock."""
    return os.path.join(scene.store, ".cm_persist", "lock")


def is_held(scene):
    """bool: whether someone holds the store's lock."""
    try:
        with open(lock_of(scene)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def spelled_in(scene):
    """callable: takes a place, gives what it is in every scene; names made of inode numbers and of paths differ."""

    def spell(place):
        plain = place.replace(scene.top, "").replace(os.path.basename(scene.top), "scene")
        return re.sub(r"(/links/).*|-[0-9a-f]{12}\b", r"\1", plain)

    return spell


def hold(scene, calls=tuple(CHANGES)):
    """Held: a start of a scene."""
    output = os.path.join(scene.top, "said")
    return Held(
        scene.command(),
        scene.environment(WORKERS=WORKERS, LEASE="0"),
        output,
        calls,
        (scene.store, scene.image),
        spelled_in(scene),
    )


@pytest.fixture
def points(top):
    """list of Call: all changes of a start that nobody disturbs."""
    scene = Scene(os.path.join(top, "scene-undisturbed"))
    with hold(scene) as run:
        met = list(run.calls())
    assert not run.returncode, run.said()
    return met


def try_in_vain(scene, first, twin):
    """(list of str, problems): what both have said at last. Meanwhile the first stands still."""
    held, wrong = is_held(scene), []
    if held:
        with open(lock_of(scene)) as lock:
            holder = lock.read() or "another process"
    code, said = twin.start(LOCK_TIMEOUT="0", WORKERS=WORKERS)
    expected = r"StoreError: {}: the store is locked by {} .*\. .*\.\n".format(lock_of(scene), re.escape(holder)) if held else ""
    if code != int(held) or (held and not re.fullmatch(expected, said)):
        wrong.append((STUCK, "lock held: {}, but the second ended with {}: {}".format(held, code, said)))
    wrong += scene.problems_after_fault() + twin.problems(linked=not code)
    return [first.finish(), said], wrong


def wait_for_it(scene, first, twin, act=Held.finish):
    """As above; the second waits for the first, which goes on (or is killed) as soon as it does."""
    held, second = is_held(scene), twin.begin(LOCK_TIMEOUT=str(SECONDS), WORKERS=WORKERS)
    second.stdin.close()
    while second.poll() is None and not (held and lock_of(scene) in opened_by(second.pid)):
        time.sleep(0.005)  # between looks: it says nothing while it waits
    wrong = scene.problems_after_fault()
    if held and second.poll() is not None:
        wrong.append((STUCK, "the second did not wait"))
    said = act(first)
    wrong += scene.problems_after_fault()
    second.stdin = None
    code, said_then = end(second)
    if code:
        wrong.append((STUCK, "the second failed: {}".format(said_then)))
    return [said, said_then], wrong


def outlive_it(scene, first, twin):
    """As above; the first is killed."""
    said, wrong = wait_for_it(scene, first, twin, Held.kill)
    if first.returncode != -9:
        wrong.append((STUCK, "the first outlived it"))
    return said, wrong


def opened_by(pid):
    """set of str: the files that a process has open."""
    with contextlib.suppress(OSError):  # it has just ended
        return {os.readlink(entry.path) for entry in os.scandir("/proc/{}/fd".format(pid))}
    return set()


@pytest.mark.parametrize("act", [try_in_vain, wait_for_it, outlive_it])
def test_the_second_at_every_step_of_the_first(top, points, some, side_by_side, tally, act):
    chosen = some(points, 20)

    def meet(number):
        scene = Scene(os.path.join(top, "scene-{}".format(number)))
        twin = Twin(scene)
        with hold(scene) as first:
            if not first.reach(chosen[number]):
                return None
            said, wrong = act(scene, first, twin)
        killed = act is outlive_it
        if first.returncode and not killed:
            wrong.append((STUCK, "the first failed: {}".format(said[0])))
        copies = sorted(path for words in said for path in seeded(words))
        if not killed and copies != sorted(scene.paths) or len(copies) > len(set(copies)):
            wrong.append((TORN, "seeded: {}".format(copies)))
        wrong += scene.problems_after_rerun()
        again, words = twin.start()
        if again:
            wrong.append((STUCK, "the second fails again: {}".format(words)))
        wrong += twin.problems(linked=True)
        scene.remove()
        return [(kind, "before {}: {}".format(chosen[number], text)) for kind, text in wrong]

    results = side_by_side(meet, range(len(chosen)))
    met = [problems for problems in results if problems is not None]
    problems = [problem for found in met for problem in found]
    tally.count("a second start, the first {}".format(WAYS[act]), len(met), problems)
    assert problems == [] and len(met) == len(chosen)


WAYS = {try_in_vain: "stopped at a change", wait_for_it: "slow at a change", outlive_it: "killed at a change"}


def test_sixteen_at_once(top, full, tally):
    for number in range(20 if full else 3):
        scene = Scene(os.path.join(top, "crowd{}".format(number)))
        twins = [Twin(scene, number) for number in range(16)]
        running = [twin.begin(LOCK_TIMEOUT=str(SECONDS), WORKERS=WORKERS) for twin in twins]
        for process in running:
            process.stdin.close()  # go
            process.stdin = None
        ended = [end(process) for process in running]
        problems = [(STUCK, said) for code, said in ended if code]
        copies = sorted(path for _code, said in ended for path in seeded(said))
        if copies != sorted(scene.paths):
            problems.append((TORN, "seeded: {}".format(copies)))
        problems += scene.problems_after_rerun() + [problem for twin in twins for problem in twin.problems(linked=True)]
        tally.count("sixteen starts at once", 1, problems)
        assert problems == []
        scene.remove()
