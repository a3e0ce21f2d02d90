# SPDX-License-Identifier: Apache-2.0
"""Who uses a state path: what it has open would be copied half written, and be written on where nobody looks any more.

A database works in its directory, so the working directory counts as well, and so does what is mapped into memory. Root in a
container may not look at what another user's process has open (that takes the capability SYS_PTRACE): of such a process counts
what it was started with, as postgres is, and the note that a database keeps of its process.
"""

import contextlib
import os
from typing import NamedTuple

from ..errors import printable

PROC = "/proc"
COME_BY = ("ssh", "cron", "getty", "serial-getty", "container-getty")
POSTMASTER_NOTE, POSTMASTERS = "postmaster.pid", ("postgres", "postmaster")


class Process(NamedTuple):
    """A process that uses something: its number, name, the service that it belongs to ('' for none), and what it does."""

    pid: int
    name: str
    service: str
    does: str

    def describe(self):
        """str: found, as errors have it."""
        service = " of {}".format(self.service) if self.service else ""
        return "process {} ({}{}) {}".format(self.pid, self.name, service, printable(self.does))

    @property
    def hint(self):
        """str: what to do."""
        stop = "Stop it with systemctl stop {}".format(self.service) if self.service else "Stop it"
        return "{}, then start again.".format(stop)


def find_process_using(*paths, stopping=()):
    """Find a process that has something open at one of these paths, or below.

    Args:
        paths (str): directories or files; links in them are followed.
        stopping (iterable of str): services whose processes do not count, as they are about to be stopped.

    Returns:
        Process: the first; None where there is none. No users are this process and those that it was started by, who only works
        there in the same session, and who has no more than directories open.
    """
    places = [os.path.realpath(path) for path in paths]
    own = _ancestors(os.getpid())
    sessions = {_session(process) for process in own}
    stopping = {name if name.endswith(".service") else name + ".service" for name in stopping}
    notes = {process: place for process, place in ((_postmaster(place), place) for place in places) if process}
    for process in sorted(filter(str.isdigit, os.listdir(PROC)), key=int):
        if int(process) not in own:
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                does = _does(os.path.join(PROC, process), places, sessions)
                if not does and process in notes:
                    does = "is the database of {}".format(notes[process])
                if does and _unit(process) not in stopping:
                    return Process(int(process), _name(process), _service(process), does)
    return None


def _postmaster(place):
    # The number may be that of another process by now, or of another database.
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(place, POSTMASTER_NOTE), errors="replace") as note:
            process = str(int(note.readline()))
        arguments = _arguments(os.path.join(PROC, process))
        directory = arguments[arguments.index("-D") + 1] if "-D" in arguments[:-1] else place
        if _name(process) in POSTMASTERS and os.path.realpath(directory) == place:
            return process
    return None


def _does(directory, places, sessions):
    try:
        return _uses(directory, places, sessions)
    except PermissionError:
        words = [word for argument in _arguments(directory) for word in argument.split("=")]
        named = next((each for each in words if each.startswith("/") and _is_in(os.path.realpath(each), places)), "")
        return "was started with {}".format(named) if named else ""


def _arguments(directory):
    with open(os.path.join(directory, "cmdline"), "rb") as file:
        return os.fsdecode(file.read()).split("\0")


def _is_in(path, places):
    return any(path == place or path.startswith(place + "/") for place in places)


def _uses(directory, places, sessions):
    if not os.path.samestat(os.stat(os.path.join(directory, "root")), os.stat("/")):
        return ""  # in another container the same names are other files
    for number in os.listdir(os.path.join(directory, "fd")):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(os.path.join(directory, "fd", number))
            if _is_in(target, places) and not _is_directory(os.path.join(directory, "fdinfo", number)):
                return "has {} open".format(target)
    # Beside whoever calls this from there: tee, say.
    target = os.readlink(os.path.join(directory, "cwd"))
    if _is_in(target, places) and _session(os.path.basename(directory)) not in sessions:
        return "works in {}".format(target)
    with open(os.path.join(directory, "maps"), errors="surrogateescape") as maps:
        for line in maps:
            target = line.rstrip("\n").split(None, 5)[5:]
            if target and _is_in(target[0], places):
                return "has {} mapped".format(target[0])
    return ""


def _is_directory(fdinfo):
    # Who looks around, as another start of ours does before it waits for its turn, has directories open and no files.
    with open(fdinfo) as file:
        return any(line.startswith("flags:") and int(line.split()[1], 8) & os.O_DIRECTORY for line in file)


def _session(process):
    try:
        return os.getsid(int(process))
    except OSError:
        return None


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


def _unit(process, above="/"):
    # Instances of a template have a slice of their own, and a service may have groups below its own.
    with contextlib.suppress(OSError), open(os.path.join(PROC, process, "cgroup"), errors="replace") as file:
        for line in file:
            names = line.strip().partition(above)[2].split("/")
            unit = next((name for name in names if name.endswith(".service")), "")
            if unit:
                return unit
    return ""


def _service(process):
    # A shell may be counted to the service that it came by, which must not be stopped for its sake.
    unit = _unit(process, "/system.slice/")
    return "" if unit.startswith(COME_BY) else printable(unit)
