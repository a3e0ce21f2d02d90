# SPDX-License-Identifier: Apache-2.0
"""What the modules return, and what they refuse alike when there is no store."""

import os

from ..errors import PathError
from ..fs.node import LINK, NONE, ParentDir
from ..paths import inside
from .notes import aside_name, bound_name, copy_name, removal_name


def refuse_dangling(found, specs):
    """Without a store nothing is done; unless a state path hangs on it, as a manager must not start on nothing.

    Args:
        found (Found): why there is no store.
        specs (list of StatePath): the state paths.

    Raises:
        PathError: a state path is a link into the store.
    """
    for spec in specs:
        traces, aside = _traces(spec, found.path)
        if traces:
            kept = "; the original is kept at {}".format(aside) if aside else ""
            go_on = "Mount the volume that holds it; or re-create the container, if it is one, from its image"
            put_back = "; or put the original back (restore.yml with cm_persist_restore: aside)" if aside else ""
            raise PathError(
                spec.path, "{}, but {}{}".format(traces, found.absent, kept), go_on + put_back + ".", store_state="absent"
            )


def _traces(spec, store):
    """tuple: (str, str), what shows that the path hangs on the store, '' for nothing; and where the original is kept."""
    with ParentDir(spec.path) as image:
        current = image.look()
        kept = image.look(aside_name(image.name)).real
        aside = os.path.join(image.directory, os.fsdecode(aside_name(image.name))) if kept else ""
        if current.kind == LINK and inside(current.target, store):
            return "it is a link into the store", aside
        if image.look(removal_name(image.name)).kind != NONE:
            return "an earlier start has begun to remove its original, to link it to the store", ""
        if image.look(bound_name(image.name)).kind != NONE:
            return "the store was mounted there, and what is there now is older", ""
        if current.kind == NONE and kept:
            return "an earlier start has set its original aside, to link it to the store", aside
        if current.kind == NONE and image.look(copy_name(image.name)).kind != NONE:
            return "an earlier run has begun to restore it from the store", ""
    return "", ""


def leads_into(store, key):
    """bool: whether a path, as the record spells it (str), is a link or a mount of its place in the store."""
    path = os.fsdecode(key.encode("utf-8", "surrogateescape"))
    place = store.place(path)
    if os.path.islink(path):
        return os.readlink(path) == place
    try:
        return os.path.samefile(path, place)
    except (OSError, ValueError):
        return False  # one of them is not there, or is no name that a file can have
