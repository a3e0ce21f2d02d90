# SPDX-License-Identifier: Apache-2.0
"""Copies in progress: private directories in staging, each with an entry that says what the copy is. By that entry the next run
completes a copy that was published but not recorded, instead of copying it again."""

import contextlib
import json
import os
from typing import Dict, List, Optional, Tuple

from ..errors import StoreError
from ..fs.atomic import INVALID, read_json
from ..fs.dirfd import OPEN_DIRECTORY, Opened, list_names, lstat, open_directory
from .layout import ENTRY, LARGEST, MANIFEST, STAGING, TREE
from .record import check_entry, check_path

Inode = Tuple[int, int]  # number, and mtime in nanoseconds


def write_entry(private_fd: int, key: str, entry: dict):
    """Write the entry that a copy will have in the record into its private directory, before the sync; key is its state path's.

    A rename keeps the inode number and the times of a tree's top: together they identify it. The number alone is not enough, as
    ext4 gives the number of a removed directory to the next one.
    """
    top = lstat(TREE, private_fd)
    note = {"path": key, "inode": top.st_ino, "mtime": top.st_mtime_ns, "entry": entry}
    with open(create(private_fd, ENTRY), "wb") as file:
        file.write(json.dumps(note).encode("ascii"))


def read_entry(staging_fd: int, name: str) -> Optional[Tuple[str, Inode, dict]]:
    """The state path, inode and entry of a copy that was complete and is no longer in staging. None for anything else in staging,
    which an interrupted run left: it can only be removed."""
    try:
        private_fd = open_directory(staging_fd, os.fsencode(name), name)
    except (StoreError, FileNotFoundError):
        return None  # no directory: not ours, removed like everything else; or another run removed it just now
    with Opened(private_fd):
        try:
            note = read_json(private_fd, ENTRY, LARGEST)
            if lstat(TREE, private_fd) is not None:
                return None  # still here: not published
            return check_path(note["path"]), (int(note["inode"]), int(note["mtime"])), check_entry(note["entry"])
        except INVALID:
            return None  # never written, or only in part: then nothing of it was published


@contextlib.contextmanager
def new_manifest(private_fd: int, name: bytes = MANIFEST):
    """A copy's new manifest, open for writing (binary) in a with block; data that cannot be written by its end is an error."""
    file = open(create(private_fd, name), "wb")
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):  # on a full disk closing fails as well; the first error says more
            file.close()
        raise
    file.close()


def create(dir_fd: int, name: bytes) -> int:
    """A new file, open for writing; a name that is taken is an error."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)


def read_staging(store) -> Tuple[Optional[List[str]], Dict[Tuple[str, Inode], dict]]:
    """The names in staging, None without such a directory; and the unrecorded copies, by state path and inode. The store (Store)
    is open and has its state directory."""
    try:
        staging = os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        found, hint = "the staging place is not a directory", "Remove it, after a look at where it came from."
        raise StoreError(os.path.join(store.state_path, "staging"), found, hint) from error
    with Opened(staging):
        names = [os.fsdecode(name) for name in list_names(staging)]
        found = [copy for copy in (read_entry(staging, name) for name in names) if copy is not None]
        return names, {(path, inode): entry for path, inode, entry in found}
