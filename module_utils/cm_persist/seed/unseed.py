# SPDX-License-Identifier: Apache-2.0
"""Take state paths out of a store again, while each path has content of its own.

What a failed move onto a volume leaves there gets older, and the next start would use it.

A copy loses its name by one rename into staging, then the record forgets it, then it is removed. A run that is killed between the
first two leaves a copy in staging whose name says so: the next start takes the path as one that was never seeded.
"""

import contextlib
import os
from typing import List, NamedTuple, Optional, Tuple

from ..errors import PathError, StoreError, printable
from ..fs.node import NONE, Node, ParentDir
from ..fs.syscalls import rename_noreplace
from ..host.machine import THIS_MACHINE
from ..lease.lease import refuse_held
from ..original.notes import read_notes
from ..paths import StatePath, parse_paths
from ..plan import Outcome, Plan, execute, outcome_of, path_result
from ..store.backups import count_kept
from ..store.layout import MANIFESTS, STAGING, label, manifest_names, unseeded_name
from ..store.lock import locked
from ..store.record import write_record
from ..store.recovery import read_only_error
from ..store.state import EMPTY, SEEDED, StoreSeen, Volume, read_books
from ..store.steps import ClearStaging, RemoveStaging, Run
from ..store.store import required_store
from ..store.swap import BEFORE
from ..store.uses import Use, find_use
from ..tree.manifest import same_trees


class Withdraw(NamedTuple):
    """Take a copy's name in the store from it, by one rename into staging."""

    spec: StatePath
    store: str

    def describe(self):
        return "take {}{} out of the store".format(self.store, printable(self.spec.path))

    def execute(self, run):
        # On disk before the record forgets it.
        with run.store.private_dir(STAGING) as staging, run.store.parent_of(self.spec.relative) as (parent, name):
            rename_noreplace(name, os.fsencode(unseeded_name(self.spec.path)), parent, staging)
            for fd in (staging, run.store.state_fd, parent):
                os.fsync(fd)


class Forget(NamedTuple):
    """Take state paths out of the record, if there is one, and remove their manifests."""

    specs: Tuple[StatePath, ...]
    store: str
    recorded: bool

    def describe(self):
        return "forget what the store had of {}".format(", ".join(printable(spec.path) for spec in self.specs))

    def execute(self, run):
        for spec in self.specs:
            run.record.pop(spec.key, None)
        if self.recorded:
            write_record(run.store.state_fd, run.record)
        # Manifests last, as an entry names its own.
        with run.store.private_dir(MANIFESTS) as manifests:
            for name in (name for spec in self.specs for name in manifest_names(spec.path)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=manifests)


class UnseedSeen(NamedTuple):
    """A state path as it was found: current at the path, stored in the store, entry in the record.

    unrecorded: a copy was published but not recorded. same: the path leads to the store's copy. outdated: what is at the path is
    partly removed, or older than the store's. spare: the path has exactly the same, content included. kept: how many replaced
    trees are kept of it. used_by: what uses the store's copy.
    """

    spec: StatePath
    current: Node
    stored: Node
    entry: Optional[dict] = None
    unrecorded: bool = False
    same: bool = False
    outdated: bool = False
    spare: bool = True
    kept: int = 0
    used_by: Use = None


def unseed(settings, check_mode=False, machine=THIS_MACHINE) -> Outcome:
    """Take the state paths out of the store; settings are seed.Settings.

    Raises PersistError for a refusal, and nothing was changed; or for a failure, after which another run goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    with required_store(store_path, settings.require_mount, machine) as store:
        seen, plan = _plan(store, specs, settings.image_manifest)
        if plan.steps and not check_mode:
            with locked(store.state_fd, store.state_path, settings.lock_timeout):
                seen, plan = _plan(store, specs, settings.image_manifest)
                execute(plan.steps, Run(store, seen.books.record, machine))
        return outcome_of(EMPTY if seen.books.record is None else SEEDED, plan.steps, plan.paths, plan.warnings)


def plan_unseed(store: StoreSeen, paths: List[UnseedSeen]) -> Plan:
    """The plan to take the paths out: without steps if the store has none of them. Pure. Raises PersistError for a refusal:
    nothing must be changed."""
    stored = [path for path in paths if path.stored.kind != NONE]
    known = [path for path in paths if path in stored or path.entry is not None]
    for path in stored:
        _refuse(path, store.path + path.spec.path)
    if known and store.volume.read_only:
        raise read_only_error(store)
    names = tuple(name(path.spec.path) for path in known for name in (unseeded_name, label))
    leftovers = store.books.leftovers
    # A name in the way of the rename. Other names in staging still inform a start, until the path is out of the store.
    in_the_way = tuple(name for name in (unseeded_name(path.spec.path) for path in stored) if name in leftovers)
    forget = Forget(tuple(path.spec for path in known), store.path, store.books.record is not None)
    empty = set(leftovers) <= set(names)  # every other name informs the next start of something
    return Plan(
        phases=(
            ("clear staging", (ClearStaging(in_the_way),) if in_the_way else ()),
            ("withdraw", tuple(Withdraw(path.spec, store.path) for path in stored)),
            ("forget", (forget, ClearStaging(names)) if known else ()),
            ("remove staging", (RemoveStaging(),) if known and empty else ()),
        ),
        paths=tuple(path_result(path.spec, "unseeded" if path in known else "missing", 0, 0) for path in paths),
    )


def _refuse(path, place):
    spec = path.spec
    if path.entry is None and not path.unrecorded:
        raise StoreError(place, "cm_persist has not put it there", "Remove it by hand, after a look at where it came from.")
    if path.entry is not None and path.entry["origin"] != "seeded":
        raise StoreError(place, "an earlier tool has put it there", "Remove it by hand, after a look at what it holds.")
    reason = _why_irreplaceable(path)
    if reason:
        found = "what the store has of it may be all that there is: what is there is {}".format(reason)
        raise PathError(spec.path, found, "Restore it first (restore.yml), or leave it in the store.")
    if not path.spare:
        found = "it is not the same as what is at {}".format(spec.path)
        hint = "See which is the newer: restore it (restore.yml), or move it away from there by hand."
        raise PathError(place, found, hint)
    if path.kept:
        found = "trees of it that merges and rollbacks replaced are kept, and may hold what nothing else has"
        hint = "Look through .cm_persist/backups/{}, and remove it, or leave the path in the store."
        raise PathError(place, found, hint.format(label(spec.path)))
    if path.used_by:
        raise PathError(place, "it is in use: {}".format(path.used_by.describe()), path.used_by.hint)


def _why_irreplaceable(path):
    """Why the path has nothing that could stand in for the store's copy, '' if it has."""
    current, stored = path.current, path.stored
    if path.same:
        return "the store's own copy"
    if path.outdated:
        return "half removed, or older than the store's"
    if current.kind != stored.kind:
        return "a {}".format(current.kind) if current.kind != NONE else "nothing"
    return "empty" if current.empty and not stored.empty else ""


def _plan(store, specs, image_list):
    books = read_books(store)
    for swap in books.swaps:
        if swap.note and swap.note.path in [spec.key for spec in specs] and (swap.state != BEFORE or swap.is_rollback):
            found = "an earlier run began to put another tree in its place in the store, and did not come to its end"
            raise PathError(swap.note.path, found, "Start once, which completes that, and then take it out.")
    seen = StoreSeen(store.path, books, Volume(store.read_only))
    plan = plan_unseed(seen, [_observe(store, spec, books, image_list) for spec in specs])
    if plan.steps:
        refuse_held(store, "End that one first, or leave the store to it.")
    return seen, plan


def _observe(store, spec, books, image_list):
    stored, entry = store.look(spec.relative, inside=True), (books.record or {}).get(spec.key)
    with ParentDir(spec.path) as parent:
        current, notes = parent.look_inside(), read_notes(parent, image_list)
        spare = not stored.real
        if stored.real and current.kind == stored.kind:
            with store.parent_of(spec.relative) as tree:
                spare = same_trees(tree, (parent.fd, parent.name))
    return UnseedSeen(
        spec=spec,
        current=current,
        stored=stored,
        entry=entry,
        unrecorded=spec.key in books.published,
        same=(current.device, current.inode) == (stored.device, stored.inode),
        outdated=notes.removal_begun or notes.mount_noted,
        spare=spare,
        kept=count_kept(store, spec.path),
        used_by=find_use(store, spec.path) if stored.real else None,
    )
