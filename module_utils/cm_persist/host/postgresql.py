# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's data directories: how to find them, their version, their parts elsewhere, and the process that works on one.

Tablespaces and the log may be outside the data directory, behind symbolic links
(https://www.postgresql.org/docs/current/storage-file-layout.html).
"""

import os
from typing import Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import StoreError
from ..fs.dirfd import OPEN_DIRECTORY, Opened, list_kinds, list_names, lstat, open_directory, open_quietly, open_regular
from ..paths import inside

VERSION = b"PG_VERSION"  # the file that makes a directory a data directory
LONGEST_VERSION = 1 << 10  # bytes
LOGS, TABLESPACES = (b"pg_wal", b"pg_xlog"), b"pg_tblspc"
DEPTH = 2  # levels below a state path where a data directory may be: /var/lib/pgsql has it at 9.5/data
PID_FILE, SERVERS = "postmaster.pid", ("postgres", "postmaster")


class Database(NamedTuple):
    """A data directory, the major version that made it, and the paths of its parts that no state path contains."""

    directory: str
    version: str
    elsewhere: Tuple[str, ...] = ()


def find_databases(top_fd: int, relative: bytes, path: str, tops: Iterable[str] = ()) -> Tuple[Database, ...]:
    """The databases in a directory (path, or relative to the open top_fd) or a few levels below; tops are all state paths."""
    tops = [os.path.realpath(top) for top in tops]
    level = [b""]
    for depth in range(DEPTH + 1):
        found, deeper = [], []
        for below in level:
            fd = open_if_readable(top_fd, os.path.join(relative, below).rstrip(b"/"))
            if fd is None:
                continue
            with Opened(fd):
                database = _database(fd, os.path.join(path, os.fsdecode(below)).rstrip("/"), tops)
                found += [database] if database else []
                deeper += [os.path.join(below, name) for name in list_kinds(fd)[0]] if depth < DEPTH and not found else []
        if found:  # below a cluster, each of its databases has a version of its own
            return tuple(found)
        level = deeper
    return ()


def lost_databases(top_fd: int, relative: bytes, directories: Iterable[str]) -> Tuple[str, ...]:
    """Those of a state path's data directories (relative to it) that lost their version, and so are none any more.

    A directory that is gone as a whole is none of them, if the path still has something: a newer PostgreSQL may have taken over
    from it. relative leads from the open top_fd to the state path.
    """
    names = names_if_readable(top_fd, relative)
    return tuple(each for each in directories if not names or _lacks_version(top_fd, os.path.join(relative, os.fsencode(each))))


def _lacks_version(top_fd, relative) -> bool:
    fd = open_if_readable(top_fd, relative.rstrip(b"/"))
    if fd is None:
        return False
    with Opened(fd):
        return lstat(VERSION, fd) is None


def process_of(directory: str) -> Optional[str]:
    """The number in a data directory's note of its process, which may be outdated; None if there is no such note."""
    try:
        with open(os.path.join(directory, PID_FILE), errors="replace") as note:
            return str(int(note.readline()))
    except (OSError, ValueError):
        return None


def is_server_of(directory: str, name: str, arguments: List[str]) -> bool:
    """True if a process with this name and these arguments may work on a data directory (without links in its path)."""
    given = arguments[arguments.index("-D") + 1] if "-D" in arguments[:-1] else directory
    return name in SERVERS and os.path.realpath(given) == directory


def open_if_readable(top_fd: int, relative: bytes) -> Optional[int]:
    """Open a directory without changing its access time; None if it does not exist, or this user may not read it.

    The caller closes it. An error is left to the copy, which reports it.
    """
    above, name = os.path.split(relative)
    try:
        with Opened(open_directory(top_fd, above, "")) as parent:
            return open_quietly(name, OPEN_DIRECTORY, parent)
    except (OSError, StoreError):
        return None


def names_if_readable(top_fd: int, relative: bytes) -> List[bytes]:
    """The names in a directory, none if open_if_readable() cannot open it."""
    fd = open_if_readable(top_fd, relative)
    if fd is None:
        return []
    with Opened(fd):
        return list_names(fd)


def _database(fd, path, tops) -> Optional[Database]:
    try:
        with open(open_regular(VERSION, fd, LONGEST_VERSION), "rb") as file:
            version = file.read(LONGEST_VERSION).decode("ascii", "replace").strip()
    except OSError:
        return None
    targets = sorted(_targets(fd, path))
    return Database(path, version, tuple(target for target in targets if not any(inside(target, top) for top in tops)))


def _targets(fd, path) -> Iterator[str]:
    tablespaces = [os.path.join(TABLESPACES, name) for name in names_if_readable(fd, TABLESPACES)]
    for link in (*LOGS, *tablespaces):
        try:
            target = os.readlink(link, dir_fd=fd)
        except OSError:
            continue  # it is a directory, or does not exist
        yield os.path.realpath(os.path.join(path, os.path.dirname(os.fsdecode(link)), os.fsdecode(target)))
