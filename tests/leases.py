# SPDX-License-Identifier: Apache-2.0
"""What the tests of the lease share: starts like a container's, other managers that hold it, and the processes that keep it."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time

import pytest

from module_utils.cm_persist.errors import CopyError, StoreError
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.seed import seed
from tests.clock import Clock


class Container:
    """What starts on a site's store as a container does: without systemd, in a process namespace of its own."""

    def __init__(self, site):
        self.site, self.clock, self.path = site, Clock(), os.path.join(site.books, "lease")
        self.systemd = Systemd(os.path.join(site.top, "units"), os.path.join(site.top, "no-systemd"))

    def start(self, check_mode=False, **options):
        wanted = dict({"store": self.site.store, "paths": [self.site.path()], "require_mount": False}, **options)
        return seed.seed(seed.Settings(**wanted), check_mode, Machine(clock=self.clock, systemd=self.systemd))

    def refused(self, *words, **options):
        before = self.site.untouched()
        with pytest.raises(StoreError) as refusal:
            self.start(**options)
        assert refusal.value.path == self.path and refusal.value.hint.endswith(".")
        assert all(word in str(refusal.value) for word in words) and self.site.untouched() == before

    def is_free(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def keepers(self):
        """list of int: the processes that were left behind for this store."""
        found = subprocess.run(["pgrep", "--full", "--", "cm_persist-lease " + self.path], stdout=subprocess.PIPE, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def end(self):
        for pid in self.keepers():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.keepers())


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def held_elsewhere(container, text="manager-0 on node-2 since 2026-11-24T12:00:00Z"):
    """Another container's manager: a lock whose holder is none of this one's keepers."""
    os.makedirs(container.site.books, mode=0o700, exist_ok=True)
    fd = os.open(container.path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, text.encode())
    try:
        yield fd
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def fails(step, _run):
    """In place of a copy's execute()."""
    raise CopyError(step.spec.path, "it changed", "Stop it.")


def links_of(pid):
    links = []
    with contextlib.suppress(OSError):
        links.extend(os.readlink("/proc/%d/fd/%s" % (pid, name)) for name in os.listdir("/proc/%d/fd" % pid))
    return links
