# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's data directories: how to find them, their version, their parts elsewhere, and the process that works on one.

Tablespaces and the log may be outside the data directory, behind symbolic links
(https://www.postgresql.org/docs/current/storage-file-layout.html).
"""

import contextlib
import os
from typing import Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import StoreError
from ..fs.dirfd import (
    OPEN_DIRECTORY,
    DirectoryStack,
    Opened,
    list_kinds,
    list_names,
    lstat,
    open_directory,
    open_quietly,
    open_regular,
)
from ..paths import inside

VERSION = b"PG_VERSION"  # the file that makes a directory a data directory
LONGEST_VERSION = 1 << 10  # bytes
LOGS, TABLESPACES = (b"pg_wal", b"pg_xlog"), b"pg_tblspc"
PID_FILE, SERVERS = "postmaster.pid", ("postgres", "postmaster")


class Database(NamedTuple):
    """A data directory, the major version that made it, and the paths of its parts that no state path contains."""

    directory: str
    version: str
    elsewhere: Tuple[str, ...] = ()


def find_databases(top_fd: int, relative: bytes, path: str, tops: Iterable[str] = ()) -> Tuple[Database, ...]:
    """The databases in a directory (path, or relative to the open top_fd) or at any depth below; tops are all state paths.

    None is looked for below another: there, each of a cluster's own databases has a version as well.
    """
    fd, found = open_if_readable(top_fd, relative), []
    if fd is None:
        return ()
    tops = [os.path.realpath(top) for top in tops]
    with Opened(fd), contextlib.closing(DirectoryStack(fd)) as stack:
        stack.note = path, _look(fd, path, tops, found)
        while True:
            directory, names = stack.note
            name = next(names, None)
            below = None if name is None else _open(name, stack.fd)
            if below is not None:
                inner = os.path.join(directory, os.fsdecode(name))
                stack.push(below)
                stack.note = inner, _look(below, inner, tops, found)
            elif name is None and not stack.depth:
                return tuple(found)
            elif name is None:
                stack.pop()


def lost_databases(top_fd: int, relative: bytes, directories: Iterable[str]) -> Tuple[str, ...]:
    """Those of a state path's data directories (relative to it) that lost their version, and so are none any more.

    A directory that is gone as a whole is none of them, if the path still has something: a newer PostgreSQL may have taken over
    from it. relative leads from the open top_fd to the state path.
    """
    directories = list(directories)
    empty = bool(directories) and not names_if_readable(top_fd, relative)
    return tuple(each for each in directories if empty or _lacks_version(top_fd, os.path.join(relative, os.fsencode(each))))


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
            return _open(name, parent)
    except (OSError, StoreError):
        return None


def names_if_readable(top_fd: int, relative: bytes) -> List[bytes]:
    """The names in a directory, none if open_if_readable() cannot open it."""
    fd = open_if_readable(top_fd, relative)
    if fd is None:
        return []
    with Opened(fd):
        return list_names(fd)


def _open(name, dir_fd) -> Optional[int]:
    try:
        return open_quietly(name, OPEN_DIRECTORY, dir_fd)
    except OSError:  # the copy reports it
        return None


def _look(fd, path, tops, found) -> Iterator[bytes]:
    """Add the database of an open directory, if it is one, to those that were found; otherwise give the directories in it."""
    database = _database(fd, path, tops)
    if database is None:
        return iter(list_kinds(fd)[0])
    found.append(database)
    return iter(())


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
