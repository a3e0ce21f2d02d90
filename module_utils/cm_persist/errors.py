# SPDX-License-Identifier: Apache-2.0
"""The typed errors of cm_persist. Only module_result.py turns them into fail_json."""

import errno
import os

AS_ROOT = "Run as root (become: true)."


class PersistError(Exception):
    """A refusal or a failure that a person has to act on.

    It has its path (str or Where), the problem found, a sentence that says what to do next, and further return values (results)
    for the caller of the module, such as store_state.
    """

    def __init__(self, path, found: str, hint: str, **results):
        self.path, self.found, self.hint, self.results = str(path), found, hint, results
        self.warnings = []  # of the run that this error ends
        super().__init__("{}: {}. {}".format(printable(self.path), found, hint))


class SpecError(PersistError):
    """The parameters contradict each other or make no sense."""


class StoreError(PersistError):
    """cm_persist cannot work on the store, or with its record, lock or notes, as they are."""


class PathError(PersistError):
    """The content of a state path cannot be seeded."""


class CopyError(PersistError):
    """A file cannot be copied with its data and all of its metadata."""


class LinkError(PersistError):
    """A state path cannot be linked to the store."""


class SecretError(PersistError):
    """The credentials cannot be linked."""


class Where:
    """The path of an entry, relative to the top (b'.') of the tree at path; made into text only when a message needs it."""

    def __init__(self, path: str, relative: bytes):
        self._path, self._relative = path, relative

    def __str__(self):
        return self._path if self._relative == b"." else "{}/{}".format(self._path, printable(self._relative))


def printable(path) -> str:
    """A path (str or bytes) as text for any log: bytes that are not UTF-8, and control characters, become escapes."""
    if isinstance(path, bytes):
        path = path.decode("utf-8", "surrogateescape")
    if path.isprintable():  # as most are
        return path
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in path
    )


def because(error: OSError) -> str:
    """The kernel's reason for an error, with its number, and with the file's name where Python knows it."""
    named = isinstance(error.filename, (str, bytes))
    return "{} ({}){}".format(error.strerror, error.errno, " at " + printable(os.fsencode(error.filename)) if named else "")


def writable_hint(error: OSError) -> str:
    """The hint for an error that a write to the store met."""
    return {
        errno.EROFS: "Mount the volume read-write.",
        errno.EACCES: AS_ROOT,
        errno.EPERM: "Run as root (become: true); NFS must export with no_root_squash.",
        errno.ENOSPC: "Free some space on the volume, or mount a larger one.",
        errno.EDQUOT: "Raise the quota of the volume.",
    }.get(error.errno, "Fix the volume, then run again.")
