# SPDX-License-Identifier: Apache-2.0
"""The store and the state paths that the user asks for, checked without any access to a disk."""

import os
import re
from typing import List, NamedTuple, Optional, Tuple

from .errors import SpecError

METHODS = ("symlink", "bind")
ON_IMAGE_CHANGE = ("keep", "merge", "merge_again", "fail")
MISSING = ("fail", "skip", "ignore", "make")
STATE_PATH, STORE = "the state path", "the store"  # in errors
KEEP_APART = {
    STATE_PATH: "Keep the outer one alone, or name the parts that hold state one by one.",
    STORE: "The store holds copies of the state paths: name paths outside it, and mount it outside them.",
}


class StatePath(NamedTuple):
    """A directory or file that must outlive the container.

    path is absolute and normalised, method is one of METHODS, on_image_change one of ON_IMAGE_CHANGE; missing is one of MISSING,
    or None if the entry does not say, so that the policy for all paths applies.
    """

    path: str
    method: str = "symlink"
    on_image_change: str = "keep"
    missing: Optional[str] = None

    @property
    def relative(self) -> bytes:
        """The path below the store (and below /), without the leading slash."""
        return os.fsencode(self.path[1:])

    @property
    def key(self) -> str:
        """The path as in the record, in any locale: bytes that are not UTF-8 are lone surrogates."""
        return os.fsencode(self.path).decode("utf-8", "surrogateescape")


def parse_paths(store: str, entries: list, method: str = "symlink") -> Tuple[str, List[StatePath]]:
    """The normalised path of the store, and the state paths in the user's order; method is for entries without one.

    An entry is a string, or a dict with the keys path, method, on_image_change and missing. It is a SpecError if one is
    malformed, '/', a duplicate, inside another entry, inside the store or around it.
    """
    store = normalise(store, STORE)
    if store == "/":
        raise SpecError("/", "the root directory cannot be the store", "Name the directory where the volume is mounted.")
    if not entries:
        raise SpecError(store, "the list of state paths is empty", "Name at least one path in cm_persist_paths.")
    parsed = [_parse_entry(entry, method) for entry in entries]
    for entry in parsed:
        _refuse_overlap(entry.path, store, STORE)
    named = {entry.path for entry in parsed}
    for index, entry in enumerate(parsed):
        of = re.sub(r"-initial(\.\d+)?$", "", entry.path)
        if of != entry.path and of in named:
            found = "it is where the original of {} would be kept".format(of)
            raise SpecError(entry.path, found, "Name one of the two, or rename it.")
        for other in parsed[:index]:
            _refuse_overlap(other.path, entry.path, STATE_PATH)
    return store, parsed


def normalise(path: str, what: str) -> str:
    """An absolute path without doubled or trailing slashes; what it is (as "the store") is for the SpecError if it is none."""
    if not isinstance(path, str):
        raise SpecError(repr(path), "{} is not text".format(what), "Write it as a quoted absolute path.")
    if not path.startswith("/"):
        raise SpecError(path or "''", "{} is not an absolute path".format(what), "Write it from the root, as in /var/lib/data.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SpecError(path, "{} holds '..'".format(what), "Write the path that is meant, without it.")
    if "\0" in path:
        raise SpecError(path, "{} holds a NUL character".format(what), "Write the path that is meant, without it.")
    return "/" + "/".join(parts)


def inside(path: str, directory: str) -> bool:
    """True if a path is the directory itself or is below it; both are normalised."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def relative_of(key: str) -> bytes:
    """The path below the store of a state path, which is given as in the record."""
    return key.encode("utf-8", "surrogateescape")[1:]


def _parse_entry(entry, method):
    if isinstance(entry, dict):
        unknown = sorted(str(key) for key in set(entry) - set(StatePath._fields))
        if unknown or "path" not in entry:
            found = "unknown key {}".format(", ".join(unknown)) if unknown else "an entry without 'path'"
            hint = "An entry has {}.".format(", ".join(StatePath._fields))
            raise SpecError(str(entry.get("path", "cm_persist_paths")), found, hint)
    else:
        entry = {"path": entry}
    path = normalise(entry["path"], STATE_PATH)
    if path == "/":
        raise SpecError("/", "the root directory cannot be a state path", "Name the directories that hold state, one by one.")
    chosen = StatePath(path, entry.get("method", method), entry.get("on_image_change", "keep"), entry.get("missing"))
    for key, allowed in (("method", METHODS), ("on_image_change", ON_IMAGE_CHANGE), ("missing", MISSING)):
        value = getattr(chosen, key)
        if value not in allowed and (key in entry or value is not None):
            raise SpecError(path, "{} is {!r}".format(key, value), "It can be: {}.".format(", ".join(allowed)))
    return chosen


def _refuse_overlap(path, other, other_is):
    """Refuse a state path that overlaps another path, which is a STATE_PATH or the STORE."""
    if path == other:
        twice = other_is == STATE_PATH
        found = "{} is given twice".format(STATE_PATH) if twice else "{} and {} are the same".format(STATE_PATH, other_is)
        raise SpecError(path, found, "Name each path once.")
    for inner, outer, inner_is, outer_is in ((path, other, STATE_PATH, other_is), (other, path, other_is, STATE_PATH)):
        if inside(inner, outer):
            raise SpecError(inner, "{} lies inside {} {}".format(inner_is, outer_is, outer), KEEP_APART[other_is])
