# SPDX-License-Identifier: Apache-2.0
"""Take state paths out of a store again, while each path has content of its own: what a failed move onto a volume leaves there
grows old, and the next start would use it.

A copy loses its name by one rename into staging, then the record forgets it, then it is removed. A run killed between the first
two leaves a copy in staging whose name says so: the next start takes the path as one that was never seeded.
"""

import contextlib
import os
from typing import NamedTuple, Optional, Tuple

from ..errors import PathError, StoreError, printable
from ..fs.node import NONE, Node, ParentDir
from ..fs.syscalls import rename_noreplace
from ..host.machine import THIS_MACHINE
from ..host.processes import Process, find_process_using
from ..lease.lease import FREE, HELD, Lease, LeaseSeen
from ..original.notes import bound_name, removal_name
from ..original.pristine import is_as_seeded
from ..paths import StatePath, parse_paths
from ..plan import ListPlan, Outcome
from ..store.backups import prune
from ..store.layout import MANIFESTS, label, unseeded_name
from ..store.lock import locked
from ..store.record import read_record, write_record
from ..store.staging import read_staging
from ..store.state import StoreSeen
from ..store.steps import ClearStaging, RemoveStaging, Run, execute
from ..store.store import required_store
from ..store.swap import BEFORE, ROLLBACK_SUFFIX, find_swaps
from ..tree.manifest import same_trees


class Withdraw(NamedTuple):
    """Take a copy's name in the store from it, by one rename into staging."""

    spec: StatePath
    store: str

    def describe(self):
        """str: what will be done."""
        return "take {}{} out of the store".format(self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it: on disk before the record forgets it."""
        staging, parent = run.open_staging(), run.store.open_parent(self.spec.relative)
        try:
            name = os.fsencode(unseeded_name(self.spec.path))
            rename_noreplace(os.path.basename(self.spec.relative), name, parent, staging)
            for fd in (staging, run.store.state_fd, parent):
                os.fsync(fd)
        finally:
            os.close(parent)
            os.close(staging)


class Forget(NamedTuple):
    """Take state paths out of the record, if there is one, and remove their manifests and what merges kept of them."""

    specs: Tuple[StatePath, ...]
    store: str
    recorded: bool

    def describe(self):
        """str: what will be done."""
        return "forget what the store had of {}".format(", ".join(printable(spec.path) for spec in self.specs))

    def execute(self, run):
        """Do it: what merges kept first, as it belongs to the life that ends; the manifests last, as an entry names its own."""
        for spec in self.specs:
            prune(run.store, label(spec.path), 0)
        entries = [run.record.pop(spec.key, None) for spec in self.specs]
        if self.recorded:
            write_record(run.store.state_fd, run.record)
        manifests = run.store.open_private(MANIFESTS)
        try:
            for spec, entry in zip(self.specs, entries):
                with contextlib.suppress(FileNotFoundError):  # an earlier run came so far
                    os.unlink((entry or {}).get("manifest") or label(spec.path), dir_fd=manifests)
        finally:
            os.close(manifests)


class UnseedSeen(NamedTuple):
    """One state path as it was found.

    current and stored (Node) are what stands there and what the store has; entry (dict) is its part of the record; begun says
    that a copy was published but not recorded; same that the path leads to the store's copy; noted that what stands there is
    half removed, or older than the store's; spare that the store's copy is what was seeded, or what stands at the path, and so no
    loss; user (Process) uses the store's copy.
    """

    spec: StatePath
    current: Node
    stored: Node
    entry: Optional[dict] = None
    begun: bool = False
    same: bool = False
    noted: bool = False
    spare: bool = True
    user: Optional[Process] = None


def unseed(settings, check_mode=False, machine=THIS_MACHINE):
    """Bring the store to the state where it has none of the state paths.

    Args:
        settings (seed.Settings): what the user wants.
        check_mode (bool): plan only, change nothing (check mode).
        machine (Machine): what it runs on.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which another run goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    with required_store(store_path, settings.require_mount, machine) as store:
        seen, plan = _look_and_plan(store, specs)
        if plan.steps and not check_mode:
            with locked(store.state_fd, store.state_path, settings.lock_timeout):
                seen, plan = _look_and_plan(store, specs)
                execute(plan.steps, Run(store, seen.record, machine.clock, "", ""))
        steps = [step.describe() for step in plan.steps]
        return Outcome(bool(steps), "empty" if seen.record is None else "seeded", steps, plan.paths, plan.warnings)


def plan_unseed(seen, paths):
    """Decide what to do. Pure.

    Args:
        seen (StoreSeen): the store.
        paths (list of UnseedSeen): the state paths, in the user's order.

    Returns:
        Plan: without steps where the store has none of them.

    Raises:
        PersistError: a refusal; nothing must be changed.
    """
    plan = ListPlan([], [], [])
    there = [path for path in paths if path.stored.kind != NONE]
    known = [path for path in paths if path in there or path.entry is not None]
    for path in there:
        _refuse(path, seen.path + path.spec.path)
    if known and seen.read_only:
        raise StoreError(seen.path, "the store is read-only and would have to be written", "Mount the volume read-write.")
    names = [name(path.spec.path) for path in known for name in (unseeded_name, label)]
    # In the way of the rename. What else is there tells a start what it needs to know, until the path is out of the store.
    left = tuple(name for name in (unseeded_name(path.spec.path) for path in there) if name in seen.leftovers)
    if left:
        plan.steps.append(ClearStaging(left))
    plan.steps.extend(Withdraw(path.spec, seen.path) for path in there)
    if known:
        plan.steps.append(Forget(tuple(path.spec for path in known), seen.path, seen.record is not None))
        plan.steps.append(ClearStaging(tuple(names)))
    if known and set(seen.leftovers) <= set(names):  # whatever else is there tells the next start something
        plan.steps.append(RemoveStaging())
    for path in paths:
        state = "unseeded" if path in known else "missing"
        plan.paths.append({"path": path.spec.path, "state": state, "files": 0, "bytes": 0, "seconds": 0.0})
    return plan


def _refuse(path, place):
    spec, current, stored = path.spec, path.current, path.stored
    if path.entry is None and not path.begun:
        raise StoreError(place, "cm_persist has not put it there", "Remove it by hand, after a look at where it came from.")
    if path.entry is not None and path.entry["origin"] != "seeded":
        raise StoreError(place, "an earlier tool has put it there", "Remove it by hand, after a look at what it holds.")
    if current.kind != stored.kind or path.same or path.noted or (current.empty and not stored.empty):
        found = "what the store has of it may be all that there is: what stands there is {}".format(
            "the store's own copy"
            if path.same
            else "half removed, or older than the store's"
            if path.noted
            else "empty"
            if current.empty and current.kind == stored.kind
            else "a {}".format(current.kind)
            if current.kind != NONE
            else "nothing"
        )
        raise PathError(spec.path, found, "Restore it first (restore.yml), or leave it in the store.")
    if not path.spare:
        raise PathError(
            place,
            "it has been written to since it was seeded, and is not what stands at {}".format(spec.path),
            "See which is the newer: restore it (restore.yml), or move it away from there by hand.",
        )
    if path.user:
        raise PathError(place, "it is in use: {}".format(path.user.describe()), path.user.hint)


def _refuse_begun(swaps, keys):
    for swap in swaps:
        if swap.note and swap.note.path in keys and (swap.state != BEFORE or swap.name.endswith(ROLLBACK_SUFFIX)):
            found = "an earlier run began to put another tree in its place in the store, and did not come to its end"
            raise PathError(swap.note.path, found, "Start once, which completes that, and then take it out.")


def _look_and_plan(store, specs):
    record = leftovers = None
    if store.state_fd is not None:
        record = read_record(store.state_fd, store.state_path)
        leftovers, unfinished = read_staging(store)
    else:
        unfinished = {}
    seen = StoreSeen(
        path=store.path,
        record=record,
        leftovers=tuple(leftovers or ()),
        read_only=bool(os.fstatvfs(store.fd).f_flag & os.ST_RDONLY),
    )
    _refuse_begun(find_swaps(store, leftovers or ()), {spec.key for spec in specs})
    plan = plan_unseed(seen, [_see_path(store, spec, record or {}, unfinished) for spec in specs])
    lease = Lease(store).look() if plan.steps else LeaseSeen(FREE)
    if lease.state == HELD:
        found = "another manager uses this store, {}".format(lease.detail)
        raise StoreError(Lease(store).path, found, "End that one first, or leave the store to it.")
    return seen, plan


def _see_path(store, spec, record, unfinished):
    stored, entry = store.look(spec.relative, inside=True), record.get(spec.key)
    with ParentDir(spec.path) as image:
        current = image.look_inside()
        notes = [image.look(name(image.name)).kind != NONE for name in (removal_name, bound_name)]
        spare = not stored.real or is_as_seeded(store, spec, (entry or {}).get("manifest") or label(spec.path))
        spare = spare or (current.kind == stored.kind and _is_the_same(store, spec, image))
    return UnseedSeen(
        spec=spec,
        current=current,
        stored=stored,
        entry=entry,
        begun=(spec.key, (stored.inode, stored.mtime)) in unfinished,
        same=(current.device, current.inode) == (stored.device, stored.inode),
        noted=any(notes),
        spare=spare,
        user=find_process_using(store.place(spec.path)) if stored.real else None,
    )


def _is_the_same(store, spec, image):
    parent = store.open_parent(spec.relative)
    try:
        return same_trees((parent, os.path.basename(spec.relative)), (image.fd, image.name))
    finally:
        os.close(parent)
