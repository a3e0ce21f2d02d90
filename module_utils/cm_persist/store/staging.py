# SPDX-License-Identifier: Apache-2.0
"""What a copy in staging says of itself, so that one that was published but not recorded is completed, not copied again."""

import contextlib
import json
import os
from typing import NamedTuple

from ..errors import StoreError
from ..fs.dirfd import OPEN_DIRECTORY, list_names, lstat, open_directory, open_regular
from .layout import ENTRY, LARGEST, MANIFEST, STAGING, TREE
from .record import check_entry


class Unfinished(NamedTuple):
    """A copy that was published but not recorded: its name in staging, and its entry for the record."""

    name: str
    entry: dict


def write_unfinished(private_fd, key, unfinished):
    """Write the entry of a copy, before it is synced and published.

    A rename keeps the inode number and the times of the top: by both it is known again. The number alone is not enough,
    as ext4 gives the number of a removed directory to the next one.

    Args:
        private_fd (int): the copy's open directory in staging.
        key (str): its state path, as the record spells it.
        unfinished (Unfinished): the rest.
    """
    top = lstat(TREE, private_fd)
    note = {"path": key, "inode": top.st_ino, "mtime": top.st_mtime_ns, "entry": unfinished.entry}
    with open(create(private_fd, ENTRY), "wb") as file:
        file.write(json.dumps(note).encode("ascii"))


def read_unfinished(staging_fd, name):
    """Read the entry of a copy in staging.

    Returns:
        tuple: (state path, (inode number, mtime in nanoseconds), Unfinished) of a copy that was complete and is no
        longer in staging; None for anything else, which is what a killed run leaves: it can only be removed.
    """
    try:
        private = open_directory(staging_fd, os.fsencode(name), name)
    except (StoreError, FileNotFoundError):
        return None  # no directory: not made by us, and removed like all else; or removed by another starter just now
    try:
        with open(open_regular(ENTRY, private, LARGEST), "rb") as file:
            note = json.loads(file.read().decode("ascii"))
        if lstat(TREE, private) is not None:
            return None  # still here: not published
        return str(note["path"]), (int(note["inode"]), int(note["mtime"])), Unfinished(name, check_entry(note["entry"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # never written, or torn: then nothing of it was published
    finally:
        os.close(private)


@contextlib.contextmanager
def new_manifest(private_fd):
    """Give a copy's new manifest, open for writing (binary), and close it: what was not written by then is an error."""
    file = open(create(private_fd, MANIFEST), "wb")
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):  # on a full disk there may be one more; the first tells more
            file.close()
        raise
    file.close()


def create(dir_fd, name):
    """int: a new file, open for writing; whatever stands at its name is an error."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)


def read_staging(store):
    """Look at what an earlier run left in staging.

    Args:
        store (Store): open, with its state directory.

    Returns:
        tuple: (list of str, dict), the names there, None where there is no such directory; and of copies that were published but
        not recorded, by (state path, (inode number, mtime in nanoseconds)), an Unfinished.
    """
    try:
        staging = os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        raise StoreError(
            os.path.join(store.state_path, "staging"),
            "the staging place is not a directory",
            "Remove it, after a look at where it came from.",
        ) from error
    try:
        names = [os.fsdecode(name) for name in list_names(staging)]
        notes = [note for note in (read_unfinished(staging, name) for name in names) if note is not None]
        return names, {(path, inode): unfinished for path, inode, unfinished in notes}
    finally:
        os.close(staging)
