# SPDX-License-Identifier: Apache-2.0
"""Find a database in a tree, which then must not be merged file by file."""

import stat
from typing import Optional

from ..fs.dirfd import list_kinds
from ..host.database_files import database_among, is_database
from ..tree.walk import ENTER, LEAVE, path_in, walk


def find_by_name(dir_fd: int, name: bytes) -> Optional[bytes]:
    """The path, below the tree with this name in an open directory, of a file that tells of a database by its name; None if there
    is none. Of a tree that is a single file it is that name. Raises OSError if the tree cannot be read."""
    for visit in walk(dir_fd, name):
        found = None
        if visit.event == ENTER:
            found = database_among(*list_kinds(visit.fd))
        elif visit.event != LEAVE and visit.path == b".":
            found = database_among([], [each for each in list_kinds(dir_fd)[1] if each.startswith(name)])
        if found is not None:
            return path_in(visit.path, found)
    return None


def find_by_content(dir_fd: int, name: bytes) -> Optional[bytes]:
    """The same by the first bytes of each file, which takes longer."""
    for visit in walk(dir_fd, name):
        if visit.event != LEAVE and stat.S_ISREG(visit.status.st_mode) and is_database(visit.name, visit.dir_fd):
            return visit.name if visit.path == b"." else visit.path
    return None
