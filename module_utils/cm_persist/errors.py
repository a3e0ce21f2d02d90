# SPDX-License-Identifier: Apache-2.0
"""The typed errors of cm_persist. Only the modules' main() turns them into fail_json."""

import errno
import os

AS_ROOT = "Run as root (become: true)."


class PersistError(Exception):
    """A refusal or a failure that a person has to act on.

    Args:
        path (str or Where): where it was found.
        found (str): what was found there.
        hint (str): what to do next, a whole sentence.
        results (dict): further return values for the caller of the module, such as store_state.
    """

    def __init__(self, path, found, hint, **results):
        self.path, self.found, self.hint, self.results = str(path), found, hint, results
        self.warnings = []  # what else there is to say of the run that it ends
        super().__init__("{}: {}. {}".format(printable(self.path), found, hint))


class SpecError(PersistError):
    """The parameters contradict each other or make no sense."""


class StoreError(PersistError):
    """The store, or what keeps its books, is not in a state that can be worked on."""


class PathError(PersistError):
    """What is at a state path cannot be seeded."""


class CopyError(PersistError):
    """A file could not be copied with everything that belongs to it."""


class LinkError(PersistError):
    """A state path cannot be pointed at the store."""


class SecretError(PersistError):
    """The credentials cannot be linked."""


class Where:
    """The path of an entry of a tree, spelled out only if something is to be said of it.

    Args:
        path (str): the tree's own.
        relative (bytes): the entry's, relative to the tree's top, which is b'.'.
    """

    def __init__(self, path, relative):
        self._path, self._relative = path, relative

    def __str__(self):
        return self._path if self._relative == b"." else "{}/{}".format(self._path, printable(self._relative))


def printable(path):
    """A path as text that any log can hold.

    Args:
        path (str or bytes): a path, possibly with bytes that are not UTF-8 or with control characters.

    Returns:
        str: the same path; what cannot be printed stands as an escape.
    """
    if isinstance(path, bytes):
        path = path.decode("utf-8", "surrogateescape")
    if path.isprintable():  # as most are
        return path
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in path
    )


def because(error):
    """str: an OSError in the kernel's own words, with the name that it met where Python knows one."""
    named = isinstance(error.filename, (str, bytes))
    return "{} ({}){}".format(error.strerror, error.errno, " at " + printable(os.fsencode(error.filename)) if named else "")


def writable_hint(error):
    """str: what to do about an OSError met while the store was written."""
    return {
        errno.EROFS: "Mount the volume read-write.",
        errno.EACCES: AS_ROOT,
        errno.EPERM: "Run as root (become: true); NFS must export with no_root_squash.",
        errno.ENOSPC: "Free some space on the volume, or mount a larger one.",
        errno.EDQUOT: "Raise the quota of the volume.",
    }.get(error.errno, "Mend the volume, then start again.")
