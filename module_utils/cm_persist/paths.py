# SPDX-License-Identifier: Apache-2.0
"""What the user asks for: the store and the state paths, checked before anything is looked at."""

import os
import re
from typing import NamedTuple, Optional

from .errors import SpecError

METHODS = ("symlink", "bind")
ON_IMAGE_CHANGE = ("keep", "merge", "fail")
MISSING = ("fail", "skip", "ignore", "make")


class StatePath(NamedTuple):
    """A directory or file that must outlive the container.

    path is absolute and normalised, method is one of METHODS, on_image_change one of ON_IMAGE_CHANGE; missing is one of MISSING,
    or None for what is wanted of paths in general.
    """

    path: str
    method: str = "symlink"
    on_image_change: str = "keep"
    missing: Optional[str] = None

    @property
    def relative(self):
        """bytes: the path below the store (and below /), without the leading slash."""
        return os.fsencode(self.path[1:])

    @property
    def key(self):
        """str: the path as the record spells it, whatever the locale: bytes that are not UTF-8 as lone surrogates."""
        return os.fsencode(self.path).decode("utf-8", "surrogateescape")


def normalise(path, what):
    """Check one absolute path and give it in its only spelling.

    Args:
        path (str): as the user wrote it.
        what (str): what it is, for the error.

    Returns:
        str: the same path without doubled or trailing slashes.

    Raises:
        SpecError: it is not text, empty, relative, holds a NUL, or '..'.
    """
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


def parse_paths(store, entries, method="symlink"):
    """Check the list of state paths against itself and against the store.

    Args:
        store (str): where the volume is mounted.
        entries (list): strings, or dicts with the keys path, method, on_image_change and missing.
        method (str): the link method of entries that name none.

    Returns:
        tuple: (str, list of StatePath), the store's normalised path and the state paths in the user's order.

    Raises:
        SpecError: an entry is malformed, '/', a duplicate, inside another entry, inside the store or around it.
    """
    store = normalise(store, "the store")
    if store == "/":
        raise SpecError("/", "the root directory cannot be the store", "Name the directory where the volume is mounted.")
    if not entries:
        raise SpecError(store, "the list of state paths is empty", "Name at least one path in cm_persist_paths.")
    parsed = [_parse_entry(entry, method) for entry in entries]
    for entry in parsed:
        _refuse_overlap(entry.path, store, "the state path", "the store")
    named = {entry.path for entry in parsed}
    for index, entry in enumerate(parsed):
        beside = re.sub(r"-initial(\.\d+)?$", "", entry.path)
        if beside != entry.path and beside in named:
            raise SpecError(
                entry.path, "it is where the original of {} would be kept".format(beside), "Name one of the two, or rename it."
            )
        for other in parsed[:index]:
            _refuse_overlap(other.path, entry.path, "the state path", "the state path")
    return store, parsed


def inside(path, directory):
    """bool: whether path is directory itself or lies below it (both normalised)."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _parse_entry(entry, method):
    if isinstance(entry, dict):
        unknown = sorted(str(key) for key in set(entry) - set(StatePath._fields))
        if unknown or "path" not in entry:
            found = "unknown key {}".format(", ".join(unknown)) if unknown else "an entry without 'path'"
            hint = "An entry has {}.".format(", ".join(StatePath._fields))
            raise SpecError(str(entry.get("path", "cm_persist_paths")), found, hint)
    else:
        entry = {"path": entry}
    path = normalise(entry["path"], "the state path")
    if path == "/":
        raise SpecError("/", "the root directory cannot be a state path", "Name the directories that hold state, one by one.")
    chosen = StatePath(path, entry.get("method", method), entry.get("on_image_change", "keep"), entry.get("missing"))
    for key, allowed in (("method", METHODS), ("on_image_change", ON_IMAGE_CHANGE), ("missing", MISSING)):
        value = getattr(chosen, key)
        if value not in allowed and (key in entry or value is not None):
            raise SpecError(path, "{} is {!r}".format(key, value), "It can be: {}.".format(", ".join(allowed)))
    return chosen


def _refuse_overlap(one, other, one_is, other_is):
    if one == other:
        raise SpecError(
            one,
            "{} is given twice".format(one_is) if one_is == other_is else "{} and {} are the same".format(one_is, other_is),
            "Name each path once.",
        )
    for inner, outer, inner_is, outer_is in ((one, other, one_is, other_is), (other, one, other_is, one_is)):
        if inside(inner, outer):
            raise SpecError(
                inner,
                "{} lies inside {} {}".format(inner_is, outer_is, outer),
                "Keep the outer one alone, or name the parts that hold state one by one."
                if inner_is == outer_is
                else "The store holds copies of the state paths: name paths outside it, and mount it outside them.",
            )


def relative_of(key):
    """bytes: a state path, as the record spells it, below the store."""
    return key.encode("utf-8", "surrogateescape")[1:]
