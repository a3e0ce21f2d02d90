# SPDX-License-Identifier: Apache-2.0
"""Decide what to do about one state path before the store is seeded. Pure: no disk is touched."""

import os
from typing import List, NamedTuple, Tuple

from ..errors import PathError, StoreError, printable
from ..fs.node import LINK, NONE, OTHER, Node
from ..original.links_out import describe
from ..paths import inside
from ..plan import Decision, path_result
from ..store.steps import Content
from ..text import files, some
from ..upgrade.plan import change_warnings, decide_change
from ..upgrade.widened import decide_repair, widened_top
from .observe import PathSeen, Seen
from .steps import Adopt, RemoveEmpty


class SeedPolicy(NamedTuple):
    """What to do where the user has a choice. backups: how many replaced trees are kept."""

    missing: str = "fail"
    allow_foreign: bool = False
    backups: int = 1
    allow_downgrade: bool = False


def decide_path(seen: Seen, path: PathSeen, policy: SeedPolicy, asides: List[str], renumber: Tuple[tuple, ...] = ()) -> Decision:
    """What happens to a state path; the state in the result is already, adopted, merged, seeded (to be copied) or missing.

    asides: where the originals of all state paths are kept. renumber: the steps that give owners other numbers, once a path is
    adopted. Raises PersistError for a refusal.
    """
    store = seen.store
    if path.stored.kind != NONE and not path.stored.real:
        found = "the store has a {} there".format(path.stored.kind)
        raise StoreError(store.path + path.spec.path, found, "Remove it, after a look at where it came from.")
    if path.entry is not None:
        return _decide_recorded(seen, path)
    _refuse_recorded_neighbours(store, path.spec)
    if path.stored.empty and path.original.kind == LINK:
        return _decide_without_original(store, path, policy, asides)
    # An empty directory holds nothing to adopt: a killed copy of the earlier tool, or a subPath that kubelet made.
    replaceable = path.stored.empty and path.original.real and not path.original.empty and path.original.kind == path.stored.kind
    if path.stored.real and not replaceable:
        return _adopt(seen, path, renumber)
    refuse_older_original(store.path, path)
    if not path.original.real:
        return _decide_without_original(store, path, policy, asides)
    refuse_obstacles(store.path, path)
    _refuse_links_out(path)
    steps = (RemoveEmpty(path.spec, store.path),) if path.stored.real else ()
    return Decision(steps, path_result(path.spec, "seeded", path.scan.files, path.scan.data))


def refuse_lost(store_path: str, seen, current: Node, entry: dict):
    """Refuse a recorded path whose copy is gone from the store, or was replaced by another kind of node. seen has spec, stored
    and notes, as PathSeen and LinkSeen have them; current is what is at the path."""
    place = store_path + seen.spec.path
    if seen.stored.kind == NONE:
        put_back = _how_to_put_back(seen, current)
        found = "the record says that it was {} with {}, but nothing is there".format(entry["origin"], files(entry["files"]))
        hint = (
            "Restore it from a backup. Or, to begin again from the image: move {}/.cm_persist/record.json away{}; the other "
            "paths in the store are then adopted as they are."
        )
        raise StoreError(place, found, hint.format(store_path, put_back))
    if seen.stored.kind != entry["kind"]:
        found = "the record says that it is a {}, but a {} is there".format(entry["kind"], seen.stored.kind)
        raise StoreError(place, found, "Find out who replaced it, and restore it from a backup.")


def refuse_lost_database(store_path: str, path: str, entry: dict, lost: Tuple[str, ...]):
    """Refuse a state path of which databases lost the file by which PostgreSQL knows its own: it would start with nothing. lost
    are their directories, relative to the path."""
    for directory in lost:
        place = os.path.join(store_path + path, directory).rstrip("/")
        found = "it had a database when it was {}, and its PG_VERSION is gone".format(entry["origin"])
        hint = (
            "Restore it from a backup; or remove the directory, if nothing needs that database any more. Or, to begin again from "
            "the image: move it and {}/.cm_persist/record.json away; the other paths in the store are then adopted as they are."
        )
        raise StoreError(place, found, hint.format(store_path))


def how_emptied(seen, entry: dict) -> str:
    """What is found of a recorded path that is empty now, but was not when it was seeded; '' if it is not."""
    if not (seen.stored.empty and entry["files"]):
        return ""
    return "it is empty; the record says that it was {} with {}".format(entry["origin"], files(entry["files"]))


def refuse_older_original(store_path: str, path: PathSeen):
    """Refuse to copy an original that is older than what a lost store has."""
    place, notes = store_path + path.spec.path, path.notes
    if notes.removal_begun:
        found = "its original is removed, half or whole, by a start that linked it to a store that is no longer mounted"
        raise PathError(path.spec.path, found, "Mount that volume again, or re-create the container from its image.")
    if notes.mount_noted:
        older = "a store that had it was mounted over it, and this one has nothing at {}; what is there now is older"
        hint = "Mount that volume again; or put the original back (restore.yml with cm_persist_restore: aside)."
        raise PathError(path.spec.path, older.format(place), hint)


def refuse_obstacles(store_path: str, path: PathSeen):
    """Refuse to copy an original where that cannot work."""
    own, obstacles = path.spec.path, path.obstacles
    if obstacles.fixed:
        raise PathError(own, "it is itself immutable or append-only (lsattr)", "Clear that with chattr -ia, on it alone.")
    if obstacles.other_mount:
        found = "its directory in the store is another mount, or a subvolume, into which nothing can be renamed"
        raise StoreError(store_path + own, found, "Unmount it there, or make it a plain directory.")
    if obstacles.mounts:
        found = "something is mounted at {}".format(some(obstacles.mounts))
        raise PathError(own, found, "Unmount it, or name paths that have no mount in them.")
    if obstacles.used_by:
        raise PathError(own, "it is in use: {}".format(obstacles.used_by.describe()), obstacles.used_by.hint)


def _refuse_links_out(path):
    """Refuse a path whose relative links would lead nowhere once it is a link."""
    if path.links_out:
        found = "relative links in it lead out of it, and would lead nowhere from the store: {}".format(describe(path.links_out))
        hint = "Say method: bind for this path; or name what the links lead to in cm_persist_paths as well."
        raise PathError(path.spec.path, found, hint)


def _how_to_put_back(seen, current) -> str:
    """What else to do to begin again from the original that is kept; '' if the path has content of its own, which is newer."""
    aside, path = seen.notes.first_aside, seen.spec.path
    if not aside or current.kind not in (LINK, NONE):
        return ""
    if current.kind == NONE:
        return ", and move {} back to {}".format(aside, path)
    return ", remove the link {}, and move {} back to it".format(path, aside)


def _decide_recorded(seen, path):
    store, entry = seen.store, path.entry
    refuse_lost(store.path, path, path.original, entry)
    refuse_lost_database(store.path, path.spec.path, entry, path.lost_databases)
    emptied = how_emptied(path, entry)
    warnings = ["{}: {}.".format(printable(store.path + path.spec.path), emptied)] if emptied else []
    repair = decide_repair(store, path, entry["top"], seen.image.followed)
    decision = Decision(result=path_result(path.spec, "already", entry["files"], entry["bytes"]))
    if path.change is not None:
        decision = decide_change(store, path)
    warnings = (*warnings, *repair.warnings, *decision.warnings)
    return Decision((*repair.steps, *decision.steps), decision.result, warnings)


def _refuse_recorded_neighbours(store, spec):
    for other in store.books.record or {}:
        if inside(other, spec.path) or inside(spec.path, other):
            found = "it overlaps {}, which this store was seeded with".format(other)
            hint = "Keep naming {} in cm_persist_paths, or begin with an empty volume.".format(other)
            raise PathError(spec.path, found, hint)


def _adopt(seen, path, renumber):
    store, spec, counts = seen.store, path.spec, path.scan
    _refuse_links_out(path)
    warnings = _adoption_warnings(store.path, path)
    top = widened_top(path.stored, path.original, renumber) or path.stored
    image = path.change.new if path.change else seen.image.image
    repair = decide_repair(store, path, top._asdict(), seen.image.followed)
    changes = change_warnings(spec, path.change, adopted=True) if path.change else []
    return Decision(
        steps=(Adopt(spec, store.path, Content(top, counts.files, counts.data), image), *repair.steps),
        result=path_result(spec, "adopted", counts.files, counts.data),
        warnings=(*warnings, *repair.warnings, *changes),
    )


def _adoption_warnings(store_path, path):
    place, original, stored = store_path + path.spec.path, path.original, path.stored
    if original.real and original.kind != stored.kind:
        found = "the store has a {} where the original is a {}".format(stored.kind, original.kind)
        raise StoreError(place, found, "Mount the right volume, or move it away.")
    text = "{}: adopted as it is, {}; nobody recorded whether it is complete".format(place, files(path.scan.files))
    if path.lacking:
        text += "; not there, but in the original: {}".format(some(path.lacking))
    if original.real and (original.uid, original.gid) != (stored.uid, stored.gid):
        text += "; it belongs to {}:{}, the original to {}:{}".format(stored.uid, stored.gid, original.uid, original.gid)
    return [text + "."]


def _decide_without_original(store, path, policy, asides):
    spec = path.spec
    _refuse_link(store.path + spec.path, path, asides)
    missing = spec.missing or policy.missing
    if missing == "make":
        if not path.has_parent:
            found = "neither it nor its directory is there, so it cannot be made"
            raise PathError(spec.path, found, "Correct it, or say missing: ignore.")
        return Decision(result=path_result(spec, "seeded", 0, 0))
    if missing == "fail":
        hint = "Correct cm_persist_paths, or set cm_persist_missing to skip."
        raise PathError(spec.path, "neither the image nor the store has it", hint)
    warnings = ()
    if missing == "skip":
        text = "{}: neither the image nor the store has it; skipped until a start finds it."
        warnings = (text.format(printable(spec.path)),)
    return Decision((), path_result(spec, "missing", 0, 0), warnings)


def _refuse_link(place, path, asides):
    """Refuse a path that has something else than an original, or whose original is kept elsewhere."""
    spec, original = path.spec, path.original
    where, go_on = _way_back(path, asides)
    if original.kind == LINK and original.target == place:
        found = "it is a link into the store, but the store has nothing at {}; {}".format(place, where)
        raise PathError(spec.path, found, go_on, store_state="empty")
    if original.kind == LINK:
        found = "it is a symbolic link to {}".format(original.target)
        raise PathError(spec.path, found, "Name the path that it leads to in cm_persist_paths.")
    if original.kind == OTHER:
        raise PathError(spec.path, "it is neither a directory nor a regular file", "Name a directory or a file.")
    if path.notes.first_aside:
        raise PathError(spec.path, "neither it nor {} is there; {}".format(place, where), go_on)


def _way_back(path, asides):
    """Where the original is, and what to do to begin again."""
    aside = path.notes.first_aside
    where, go_on = "the original is in the image alone", "re-create the container from its image."
    if aside:
        where = "the original is kept at {}".format(aside)
        go_on = "remove the link and move {} back to {}.".format(aside, path.spec.path)
    elif asides:  # in this container's own layer: it may be the only copy of newer content
        go_on = "copy out what is kept at {}, then {}".format(some(asides), go_on)
    return where, "Mount the volume that holds it; or, to begin again, " + go_on
