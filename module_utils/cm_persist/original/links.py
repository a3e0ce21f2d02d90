# SPDX-License-Identifier: Apache-2.0
"""Which state paths lead into the store, or need it, though they may not lead there now."""

import os
from typing import List, Tuple

from ..errors import PathError
from ..fs.node import LINK, NONE, ParentDir
from ..paths import StatePath, inside
from ..store.store import Found, Store
from .notes import read_notes


def refuse_dangling(found: Found, specs: List[StatePath], image_list: str):
    """Without a store nothing is done; unless a state path needs it, as a manager must not start on nothing. Raises PathError if
    a state path is a link into the store, or if an earlier run left it incomplete. image_list is the list of the image, which may
    be missing."""
    for spec in specs:
        traces, aside = _traces(spec.path, found.path, image_list)
        if traces:
            kept = "; the original is kept at {}".format(aside) if aside else ""
            hint = "Mount the volume that holds it; or re-create the container, if it is one, from its image"
            hint += "; or put the original back (restore.yml with cm_persist_restore: aside)." if aside else "."
            raise PathError(spec.path, "{}, but {}{}".format(traces, found.absent, kept), hint, store_state="absent")


def leads_into(store: Store, key: str) -> bool:
    """True if a path, as the record spells it, is a link to its place in the store, or a mount of it."""
    path = os.fsdecode(key.encode("utf-8", "surrogateescape"))
    stored_path = store.place(path)
    if os.path.islink(path):
        return os.readlink(path) == stored_path
    try:
        return os.path.samefile(path, stored_path)
    except (OSError, ValueError):
        return False  # one of them is not there, or is no name that a file can have


def find_unfinished(store: Store, key: str, image_list: str) -> str:
    """What an interrupted run left half done at a path of the record (key, as that spells it), '' for nothing."""
    path = os.fsdecode(key.encode("utf-8", "surrogateescape"))
    try:
        with ParentDir(path) as parent:
            return _half_done(parent.look(), read_notes(parent, image_list))
    except (PathError, ValueError):  # it cannot be looked at, or is no name that a file can have
        return ""


def _traces(path, store_path, image_list) -> Tuple[str, str]:
    """What shows that the path needs the store, '' for nothing; and where the original is kept, '' for nowhere."""
    with ParentDir(path) as parent:
        current, notes = parent.look(), read_notes(parent, image_list)
    if current.kind == LINK and inside(current.target, store_path):
        return "it is a link into the store", notes.first_aside
    if notes.mount_noted and not notes.removal_begun:
        return "the store was mounted there, and what is there now is older", ""
    half_done = _half_done(current, notes)
    return half_done, notes.first_aside if half_done and not notes.removal_begun else ""


def _half_done(current, notes) -> str:
    if notes.removal_begun and current.kind != LINK:
        return "an earlier start has begun to remove its original, to link it to the store"
    if current.kind == NONE and notes.first_aside:
        return "an earlier start has set its original aside, to link it to the store"
    if current.kind == NONE and notes.leftover_copy:
        return "an earlier run has begun to restore it from the store"
    return ""
