# SPDX-License-Identifier: Apache-2.0
"""From what was seen to what will be done about the store. Pure: no disk is touched, so every case can be tested."""

from typing import NamedTuple, Optional, Tuple

from ..errors import PathError, StoreError, printable
from ..fs.node import LINK, NONE, OTHER, Node
from ..host.applications import Hazards
from ..host.processes import Process
from ..host.selinux import plan_labels
from ..paths import StatePath, inside
from ..plan import ListPlan, path_result
from ..store.backups import KeepOld
from ..store.layout import swap_name
from ..store.recovery import plan_begun
from ..store.staging import Unfinished
from ..store.state import store_state
from ..store.steps import ClearStaging, RemoveStaging, Sync, WriteRecord
from ..store.swap import MERGE_SUFFIX, Exchange
from ..text import some
from ..tree.scan import ScanResult
from ..upgrade.image import refuse_older
from ..upgrade.merge import Merge
from ..upgrade.observe import MERGE, ImageChange
from ..upgrade.plan import plan_change, plan_owners, plan_repair, told_of_change, widened_top
from .checks import general_warnings, hazard_warnings, preflight, refuse_hazards
from .steps import Adopt, Copy, Make, Publish, RemoveEmpty


class PathSeen(NamedTuple):
    """One state path as it was found.

    entry is its part of the record; unfinished tells of a copy that was published but not recorded;
    scan counts what would be copied or adopted; aside is where an original is kept ('' for none); torn says that
    an original's removal has begun, was_mounted that a store was mounted over it; mounts lie at the path or below it;
    lacking are names at the top of the original that the store's copy does not have; fixed is an original that is itself
    immutable or append-only; other_mount says that its place in the store lies on another mount than the store; user is a process
    that has something of the original open; hazards is what a copy alone would not tell; parent is the directory that holds it;
    change is what another image means for it.
    """

    spec: StatePath
    original: Node
    stored: Node
    entry: Optional[dict] = None
    unfinished: Optional[Unfinished] = None
    scan: ScanResult = ScanResult()
    aside: str = ""
    torn: bool = False
    was_mounted: bool = False
    mounts: Tuple[str, ...] = ()
    lacking: Tuple[str, ...] = ()
    fixed: bool = False
    other_mount: bool = False
    user: Optional[Process] = None
    hazards: Hazards = Hazards()
    parent: Optional[Node] = None
    change: Optional[ImageChange] = None


class SeedPolicy(NamedTuple):
    """How to decide where there is a choice."""

    missing: str = "fail"
    allow_foreign: bool = False
    backups: int = 1
    allow_downgrade: bool = False


def plan_seed(store, paths, wanted, context):
    """Decide what to do.

    Args:
        store (StoreSeen): the store.
        paths (list of PathSeen): the state paths, in the user's order.
        wanted (SeedPolicy): the choices.
        context (ImageContext): what is known of the image.

    Returns:
        Plan: without steps where the store is as it should be; one that goes on where an earlier run did not come to its end.

    Raises:
        PersistError: a refusal; nothing must be changed.
    """
    begun = plan_begun(store, paths, wanted.backups)
    if begun:
        return begun
    state = store_state(store, paths)
    if state == "foreign" and not wanted.allow_foreign:
        raise StoreError(
            store.path,
            "the store holds content that no state path claims: {}".format(some(store.foreign)),
            "Mount the right volume, or set cm_persist_allow_foreign to seed beside it.",
            store_state=state,
        )
    if not wanted.allow_downgrade:
        refuse_older(context.image, {path.spec.path: path.entry for path in paths if path.entry is not None})
    plan = ListPlan([], [], general_warnings(store, paths))
    kept_later, copies = [], []
    kept, named = [path.aside for path in paths if path.aside], [path.spec.path for path in paths]
    for path in paths:
        plan.warnings.extend(hazard_warnings(path, named))
        _decide(store, path, wanted, kept, plan, copies, context)
    merges = [path for path in paths if path.change and path.change.policy == MERGE and not path.change.databases]
    for path in copies:
        refuse_hazards(store, path)
    if copies or merges:
        preflight(store, copies + [path._replace(scan=path.change.scan) for path in merges])
        plan.steps.extend(_copy(store, path) for path in copies)
        plan.steps.extend(Merge(path.spec, store.path, path.change.new, context.accounts, path.change.scan) for path in merges)
        plan.steps.append(Sync(store.path))
        plan.steps.extend(Publish(path.spec, store.path) for path in copies)
        for path in merges:
            name = swap_name(path.spec.path, MERGE_SUFFIX)
            plan.steps.append(Exchange(path.spec.key, store.path, name))
            kept_later.append(KeepOld(name, wanted.backups))
    owner_steps, told = plan_owners(store, context.accounts)
    plan.warnings.extend(told)
    if plan.steps or store.record is not None:  # before anything comes into the store, and in all that is there
        plan.steps[:0] = owner_steps
    # Before the record: a run that is killed here is completed, labels included.
    writes = bool(plan.steps)
    tops = [result["path"].split("/")[1] for result in plan.paths if result["state"] != "missing"]
    labelling, _result, told = plan_labels(store.path, store.labels, tops, writes, store.read_only)
    plan.warnings.extend(told)
    plan.steps.extend(labelling)
    if writes:
        plan.steps.append(WriteRecord(store.path))
    plan.steps.extend(kept_later)
    clear = store.leftovers
    if writes and store.read_only:
        raise StoreError(
            store.path, "the store is read-only and would have to be written", "Mount the volume read-write.", store_state=state
        )
    if clear and not store.read_only:
        plan.steps.insert(0, ClearStaging(clear))
    if store.taken_out and not store.read_only:  # before what tells of it is cleared away
        plan.steps.insert(0, WriteRecord(store.path))
    if not store.read_only and (writes or clear or store.staging):
        plan.steps.append(RemoveStaging())
    return plan


def _copy(store, path):
    if not path.original.real:
        return Make(path.spec, store.path)
    return Copy(path.spec, store.path, path.scan.files, path.scan.data)


def _decide(store, path, wanted, kept, plan, copies, context):
    spec, place = path.spec, store.path + path.spec.path
    scan = path.scan
    if path.stored.kind not in (NONE, "directory", "file"):
        raise StoreError(
            place, "the store has a {} there".format(path.stored.kind), "Remove it, after a look at where it came from."
        )
    if path.entry is not None:
        _check_recorded(path, place, plan.warnings)
        plan_repair(store, path, plan)
        if path.change is not None:
            return plan_change(store, path, plan)
        return plan.paths.append(path_result(spec, "already", path.entry["files"], path.entry["bytes"]))
    _refuse_recorded_neighbours(store, spec)
    if path.stored.empty and path.original.kind == LINK:
        return _without_original(path, place, wanted, kept, plan, copies)
    if path.stored.real and not _replaceable(path):
        _check_adoption(path, place, plan.warnings)
        top = widened_top(path.stored, path.original) or path.stored
        image = path.change.new if path.change else context.image
        plan.steps.append(Adopt(spec, store.path, path.stored.kind, scan.files, scan.data, image, top))
        plan_repair(store, path._replace(entry={"top": top._asdict()}), plan)
        if path.change is not None:
            told_of_change(path, plan)
        return plan.paths.append(path_result(spec, "adopted", scan.files, scan.data))
    if path.torn:
        raise PathError(
            spec.path,
            "its original is removed, half or whole, by a start that linked it to a store that is no longer mounted",
            "Mount that volume again, or re-create the container from its image.",
        )
    if path.was_mounted:
        raise PathError(
            spec.path,
            "a store that had it was mounted over it, and this one has nothing at {}; what is there now is older".format(place),
            "Mount that volume again; or put the original back (restore.yml with cm_persist_restore: aside).",
        )
    if not path.original.real:
        return _without_original(path, place, wanted, kept, plan, copies)
    if path.fixed:
        raise PathError(spec.path, "it is itself immutable or append-only (lsattr)", "Clear that with chattr -ia, on it alone.")
    if path.other_mount:
        raise StoreError(
            place,
            "its directory in the store is another mount, or a subvolume, into which nothing can be renamed",
            "Unmount it there, or make it a plain directory.",
        )
    if path.mounts:
        raise PathError(
            spec.path,
            "something is mounted at {}".format(some(path.mounts)),
            "Unmount it, or name paths that have no mount in them.",
        )
    if path.user:
        raise PathError(spec.path, "it is in use: {}".format(path.user.describe()), path.user.hint)
    if path.stored.real:
        plan.steps.append(RemoveEmpty(spec, store.path))
    copies.append(path)
    return plan.paths.append(path_result(spec, "seeded", scan.files, scan.data))


def _check_recorded(path, place, warnings):
    if path.stored.empty and path.entry["files"]:
        warnings.append(
            "{}: it is empty; the record says that it was {} with {} files.".format(
                printable(place), path.entry["origin"], path.entry["files"]
            )
        )
    if path.stored.kind == NONE:
        raise StoreError(
            place,
            "the record says that it was {} with {} files, but nothing is there".format(
                path.entry["origin"], path.entry["files"]
            ),
            "Restore it from a backup. Or, to begin again from the image: move {}/.cm_persist/record.json away{}; the other "
            "paths in the store are then adopted as they are.".format(
                place[: -len(path.spec.path)],
                ", remove the link {}, and move {} back to it".format(path.spec.path, path.aside) if path.aside else "",
            ),
        )
    if path.stored.kind != path.entry["kind"]:
        raise StoreError(
            place,
            "the record says that it is a {}, but a {} is there".format(path.entry["kind"], path.stored.kind),
            "Find out who replaced it, and restore it from a backup.",
        )


def _refuse_recorded_neighbours(store, spec):
    for other in store.record or {}:
        if inside(other, spec.path) or inside(spec.path, other):
            raise PathError(
                spec.path,
                "it overlaps {}, which this store was seeded with".format(other),
                "Keep naming {} in cm_persist_paths, or begin with an empty volume.".format(other),
            )


def _replaceable(path):
    # An empty directory holds nothing to adopt: a killed copy of the earlier tool, or a subPath that kubelet made.
    return path.stored.empty and path.original.real and not path.original.empty and path.original.kind == path.stored.kind


def _check_adoption(path, place, warnings):
    if path.original.real and path.original.kind != path.stored.kind:
        raise StoreError(
            place,
            "the store has a {} where the original is a {}".format(path.stored.kind, path.original.kind),
            "Mount the right volume, or move it away.",
        )
    found = "{}: adopted as it is, {} files; nobody recorded whether it is complete".format(place, path.scan.files)
    if path.lacking:
        found += "; not there, but in the original: {}".format(some(path.lacking))
    if path.original.real and (path.original.uid, path.original.gid) != (path.stored.uid, path.stored.gid):
        found += "; it belongs to {}:{}, the original to {}:{}".format(
            path.stored.uid, path.stored.gid, path.original.uid, path.original.gid
        )
    warnings.append(found + ".")


def _without_original(path, place, wanted, kept, plan, copies):
    spec, original = path.spec, path.original
    where, go_on = "the original is in the image alone", "re-create the container from its image."
    if path.aside:
        where = "the original is kept at {}".format(path.aside)
        go_on = "remove the link and move {} back to {}.".format(path.aside, spec.path)
    elif kept:  # in this container's own layer: it may be all that there is of something newer
        go_on = "copy out what is kept at {}, then {}".format(some(kept), go_on)
    go_on = "Mount the volume that holds it; or, to begin again, " + go_on
    if original.kind == "symbolic link" and original.target == place:
        raise PathError(
            spec.path,
            "it is a link into the store, but the store has nothing at {}; {}".format(place, where),
            go_on,
            store_state="empty",
        )
    if original.kind == "symbolic link":
        raise PathError(
            spec.path,
            "it is a symbolic link to {}".format(original.target),
            "Name the path that it leads to in cm_persist_paths.",
        )
    if original.kind == OTHER:
        raise PathError(spec.path, "it is neither a directory nor a regular file", "Name a directory or a file.")
    if path.aside:
        raise PathError(spec.path, "neither it nor {} is there; {}".format(place, where), go_on)
    missing = spec.missing or wanted.missing
    if missing == "make":
        if path.parent is None:
            raise PathError(
                spec.path, "neither it nor its directory is there, so it cannot be made", "Correct it, or say missing: ignore."
            )
        copies.append(path)
        return plan.paths.append(path_result(spec, "seeded", 0, 0))
    if missing == "fail":
        raise PathError(
            spec.path,
            "neither the image nor the store has it",
            "Correct cm_persist_paths, or set cm_persist_missing to skip.",
        )
    if missing == "skip":
        said = "{}: neither the image nor the store has it; skipped until a start finds it."
        plan.warnings.append(said.format(printable(spec.path)))
    return plan.paths.append(path_result(spec, "missing", 0, 0))
