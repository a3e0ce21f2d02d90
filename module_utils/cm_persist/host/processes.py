# SPDX-License-Identifier: Apache-2.0
"""The process that uses a state path: a copy of its files would be half written, and it would go on writing to the old ones.

A database works in its directory, so a working directory counts, and so does a file that is mapped into memory. Root in a
container may not see the open files of another user's process (that takes the capability SYS_PTRACE). For such a process its
command line counts, which names the directory for postgres, and the note that a database keeps of its process.
"""

import contextlib
import os
from typing import Iterable, List, NamedTuple, Optional, Set

from ..errors import printable
from ..fs.dirfd import Opened
from ..paths import inside
from . import postgresql

PROC = "/proc"
LOGINS = ("ssh", "cron", "getty", "serial-getty", "container-getty")  # the services that a person's shell belongs to


class Process(NamedTuple):
    """A process that uses a path: its number, its name, its service ('' for none), and how it uses the path."""

    pid: int
    name: str
    service: str
    does: str

    def describe(self) -> str:
        """The process and what it does, for an error."""
        service = " of {}".format(self.service) if self.service else ""
        return "process {} ({}{}) {}".format(self.pid, self.name, service, printable(self.does))

    @property
    def hint(self) -> str:
        """The hint of an error about this process."""
        stop = "Stop it with systemctl stop {}".format(self.service) if self.service else "Stop it"
        return "{}, then start again.".format(stop)


def find_process_using(*paths: str, stopping: Iterable[str] = ()) -> Optional[Process]:
    """The first process that uses one of these paths, or a path below; None if there is none.

    This process and its ancestors do not count, nor those of services that are about to be stopped, nor one that only works there
    in the same session, or has only directories open. Links in the paths are followed.
    """
    return _Search([os.path.realpath(path) for path in paths], stopping).run()


class _Search:
    """places are paths without links."""

    def __init__(self, places: List[str], stopping: Iterable[str]):
        self._places = places
        self._own = _ancestors(os.getpid())
        self._sessions = {_session(process) for process in self._own}
        self._stopping = {name if name.endswith(".service") else name + ".service" for name in stopping}
        self._databases = None  # the data directories in the places: looked for when there is a server

    def run(self) -> Optional[Process]:
        for process in sorted(filter(str.isdigit, os.listdir(PROC)), key=int):
            if int(process) not in self._own:
                with contextlib.suppress(OSError):  # it has ended, or is another user's
                    does = self._does(process)
                    if does and _unit(process) not in self._stopping:
                        return Process(int(process), _name(process), _service(process), does)
        return None

    def _does(self, process) -> str:
        try:
            does = self._uses(process)
        except PermissionError:
            does = self._was_started_with(process)
        served = "" if does else self._served_by(process)
        return "is the database of {}".format(served) if served else does

    def _uses(self, process) -> str:
        if not os.path.samestat(os.stat(_proc(process, "root")), os.stat("/")):
            return ""  # in another container the same names are other files
        for number in os.listdir(_proc(process, "fd")):
            with contextlib.suppress(OSError):  # closed meanwhile
                target = os.readlink(_proc(process, "fd", number))
                if self._contain(target) and not _is_directory(_proc(process, "fdinfo", number)):
                    return "has {} open".format(target)
        target = os.readlink(_proc(process, "cwd"))
        # A process of this session is part of the command that started this one there, such as tee.
        if self._contain(target) and _session(process) not in self._sessions:
            return "works in {}".format(target)
        with open(_proc(process, "maps"), errors="surrogateescape") as maps:
            for line in maps:
                mapped = line.rstrip("\n").split(None, 5)[5:]
                if mapped and self._contain(mapped[0]):
                    return "has {} mapped".format(mapped[0])
        return ""

    def _served_by(self, process) -> str:
        """The data directory that this server works on by its note, '' for none."""
        if _name(process) not in postgresql.SERVERS:
            return ""
        if self._databases is None:
            self._databases = [directory for place in self._places for directory in _databases_in(place)]
        # By now the number in a note may be that of another process, or of another database.
        arguments = _arguments(process)
        noted = [each for each in self._databases if postgresql.process_of(each) == process]
        return next((each for each in noted if postgresql.is_server_of(each, _name(process), arguments)), "")

    def _was_started_with(self, process) -> str:
        words = [word for argument in _arguments(process) for word in argument.split("=")]
        named = next((each for each in words if each.startswith("/") and self._contain(os.path.realpath(each))), "")
        return "was started with {}".format(named) if named else ""

    def _contain(self, path) -> bool:
        return any(inside(path, place) for place in self._places)


def _databases_in(place) -> List[str]:
    with Opened(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        return [database.directory for database in postgresql.find_databases(root, os.fsencode(place[1:]), place)]


def _proc(process, *names):
    return os.path.join(PROC, process, *names)


def _arguments(process):
    with open(_proc(process, "cmdline"), "rb") as file:
        return os.fsdecode(file.read()).split("\0")


def _is_directory(fdinfo):
    # Another run of ours that waits for its turn has directories open, and no files.
    with open(fdinfo) as file:
        return any(line.startswith("flags:") and int(line.split()[1], 8) & os.O_DIRECTORY for line in file)


def _session(process):
    try:
        return os.getsid(int(process))
    except OSError:
        return None


def _ancestors(pid) -> Set[int]:
    found = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        with contextlib.suppress(OSError, ValueError), open(_proc(str(pid), "status")) as status:
            pid = next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)
    return found


def _name(process):
    with open(_proc(process, "comm"), errors="replace") as file:
        return printable(file.read().strip())


def _unit(process, above="/"):
    # Instances of a template have a slice of their own, and a service may have groups below its own.
    with contextlib.suppress(OSError), open(_proc(process, "cgroup"), errors="replace") as file:
        for line in file:
            names = line.strip().partition(above)[2].split("/")
            unit = next((name for name in names if name.endswith(".service")), "")
            if unit:
                return unit
    return ""


def _service(process):
    # A shell may belong to the service that the person came by, which must not be stopped for its sake.
    unit = _unit(process, "/system.slice/")
    return "" if unit.startswith(LOGINS) else printable(unit)
