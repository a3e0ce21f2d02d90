# SPDX-License-Identifier: Apache-2.0
"""Who uses a state path: what it has open would be copied half written, and be written on where nobody looks any more.

A database works in its directory (its pid file names just that process), so the working directory counts as well.
"""

import contextlib
import os
from typing import NamedTuple

from .errors import printable

PROC = "/proc"


class User(NamedTuple):
    """A process that has something open: its number, name, the service that it belongs to ('' for none), and what it has open."""

    pid: int
    name: str
    service: str
    opened: str

    def describe(self):
        """str: found, as errors have it."""
        service = " of {}".format(self.service) if self.service else ""
        return "process {} ({}{}) has {} open".format(self.pid, self.name, service, printable(self.opened))

    @property
    def hint(self):
        """str: what to do."""
        stop = "Stop it with systemctl stop {}".format(self.service) if self.service else "Stop it"
        return "{}, then start again.".format(stop)


def find_user(*paths):
    """Find a process that has something open at one of these paths, or below.

    Args:
        paths (str): directories or files; links in them are followed.

    Returns:
        User: the first; None where there is none, or none that this process may look at. This process and those that it was
        started by are no users.
    """
    places = [os.path.realpath(path) for path in paths]
    own = _ancestors(os.getpid())
    for process in sorted(filter(str.isdigit, os.listdir(PROC)), key=int):
        if int(process) not in own:
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                opened = _opened(os.path.join(PROC, process), places)
                if opened:
                    return User(int(process), _name(process), _service(process), opened)
    return None


def _opened(directory, places):
    if not os.path.samestat(os.stat(os.path.join(directory, "root")), os.stat("/")):
        return ""  # in another container the same names are other files
    links = ["cwd"] + ["fd/" + number for number in os.listdir(os.path.join(directory, "fd"))]
    for link in links:
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(os.path.join(directory, link))
            if any(target == place or target.startswith(place + "/") for place in places):
                return target
    return ""


def _ancestors(pid):
    found = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        with contextlib.suppress(OSError, ValueError), open(os.path.join(PROC, str(pid), "status")) as status:
            pid = next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)
    return found


def _name(process):
    with open(os.path.join(PROC, process, "comm"), errors="replace") as file:
        return printable(file.read().strip())


def _service(process):
    with contextlib.suppress(OSError), open(os.path.join(PROC, process, "cgroup"), errors="replace") as file:
        for line in file:
            unit = line.strip().rsplit("/", 1)[-1]
            if unit.endswith(".service"):
                return printable(unit)
    return ""
