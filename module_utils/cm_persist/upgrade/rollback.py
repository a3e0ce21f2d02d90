# SPDX-License-Identifier: Apache-2.0
"""Put the tree that the last merge replaced back in the place of each state path in the store; what is there now is kept instead.

All kept trees are moved to staging, and then each takes its place as a merged one does (swap.py). A run that is killed before the
first of these leaves them in staging, and the next puts them back to what is kept; one that is killed later is completed, by
another like it or by a start.
"""

import os
from typing import NamedTuple, Optional

from ..errors import PathError, StoreError, printable
from ..fs.dirfd import lstat
from ..fs.node import Node
from ..host.machine import THIS_MACHINE
from ..host.processes import Process, find_process_using
from ..lease.lease import FREE, HELD, Lease, LeaseSeen
from ..paths import StatePath, parse_paths
from ..plan import ListPlan, Outcome
from ..store.backups import KeepOld, newest, take
from ..store.layout import MANIFEST, TREE, other_manifest, swap_name
from ..store.lock import locked
from ..store.owners import read_owners
from ..store.record import read_record
from ..store.recovery import plan_swaps
from ..store.renumber import Renumber
from ..store.staging import read_staging
from ..store.state import StoreSeen
from ..store.steps import RemoveStaging, Run, WriteRecord, execute
from ..store.store import required_store
from ..store.swap import BEFORE, ROLLBACK_SUFFIX, Exchange, OpenSwap, SwapNote, find_swaps, write_note


class TakeBack(NamedTuple):
    """Move a kept tree of a state path to staging, and note what is to become of it; number and kept (dict) are as newest() gives
    them."""

    spec: StatePath
    store: str
    number: bytes
    kept: dict

    def describe(self):
        """str: what will be done."""
        return "take back what was kept of {}{}, {} files".format(self.store, printable(self.spec.path), self.kept["files"])

    def execute(self, run):
        """Do it."""
        name, previous = swap_name(self.spec.path, ROLLBACK_SUFFIX), run.record[self.spec.key]
        take(run.store, self.spec.path, self.number, name)
        with OpenSwap(run.store, name) as private:
            listed = lstat(MANIFEST, private) is not None
            # Its owners were renumbered with all others; its entry, kept with it, was not.
            top = dict(previous["top"], mode=self.kept["top"]["mode"])
            entry = dict(self.kept, manifest=other_manifest(self.spec.path, previous) if listed else None, top=top)
            there = run.store.look(self.spec.relative)
            write_note(private, SwapNote(self.spec.key, lstat(TREE, private).st_ino, there.inode, entry, previous))


class PathKept(NamedTuple):
    """One state path as it was found: its entry in the record, what the store has of it, what was kept of it ((number, entry),
    None for nothing), and a process that uses the store's."""

    spec: StatePath
    entry: Optional[dict]
    stored: Node
    kept: Optional[tuple]
    user: Optional[Process] = None


def roll_back(settings, check_mode=False, machine=THIS_MACHINE):
    """Bring the store to the state where each path has the tree that its last merge replaced.

    Args:
        settings (seed.Settings): what the user wants.
        check_mode (bool): plan only, change nothing (check mode).
        machine (Machine): what it runs on.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which another run, or a start, goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    with required_store(store_path, settings.require_mount, machine) as store:
        if store.state_fd is None:
            raise StoreError(store_path, "nothing was ever seeded into it", "Mount the volume that holds the manager's state.")
        if check_mode:
            plan = _look_and_plan(store, specs, settings.backups)
            return _outcome([step.describe() for step in plan.steps], plan)
        with locked(store.state_fd, store.state_path, settings.lock_timeout):
            steps = []
            for _turn in ("complete owners and swaps", "what that has left", "go back"):
                plan = _look_and_plan(store, specs, settings.backups)
                execute(plan.steps, Run(store, read_record(store.state_fd, store.state_path), machine.clock, "", ""))
                steps.extend(step.describe() for step in plan.steps)
                if plan.paths[0]["state"] != "begun":
                    break
            return _outcome(steps, plan)


def plan_rollback(seen, paths, backups):
    """Decide what to do. Pure.

    Args:
        seen (StoreSeen): the store.
        paths (list of PathKept): the state paths, in the user's order.
        backups (int): how many generations are kept.

    Returns:
        Plan: only to complete what an earlier run began, where one did: a way back, which this one then is; or something else,
        and each path's state is "begun".

    Raises:
        PersistError: a refusal; nothing must be changed.
    """
    plan = ListPlan([], [], [])
    later = plan_swaps(seen, backups, plan)
    done = {swap.note.path for swap in seen.swaps if swap.name.endswith(ROLLBACK_SUFFIX) and swap.state != BEFORE}
    begun = bool(later) and not done
    if not later and seen.owners and seen.owners.begun:  # a file may be without what its new owner took from it
        plan.steps.append(Renumber(seen.owners, seen.owners.begun, ("as was begun",)))
        begun = True
    going = [] if later or begun else [path for path in paths if path.kept]
    for path in going:
        if not path.stored.real or path.entry is None:
            raise PathError(path.spec.path, "the store has nothing there that could be kept", "Start once, and see what it says.")
        if path.user:
            raise PathError(path.spec.path, "the store's copy is in use: {}".format(path.user.describe()), path.user.hint)
    plan.steps.extend(TakeBack(path.spec, seen.path, *path.kept) for path in going)
    for path in going:
        name = swap_name(path.spec.path, ROLLBACK_SUFFIX)
        plan.steps.append(Exchange(path.spec.key, seen.path, name))
        later.append(KeepOld(name, max(1, backups)))
    if later:
        plan.steps.extend([WriteRecord(seen.path), *later, RemoveStaging()])
    if plan.steps and seen.read_only:
        raise StoreError(seen.path, "the store is read-only and would have to be written", "Mount the volume read-write.")
    for path in paths:
        entry = path.kept[1] if path in going else path.entry or {"files": 0, "bytes": 0}
        state = "rolled_back" if path in going or path.spec.key in done else "begun" if begun else "already"
        if state == "already" and not done:
            plan.warnings.append("{}: nothing is kept of it that it could go back to.".format(printable(path.spec.path)))
        plan.paths.append(
            {"path": path.spec.path, "state": state, "files": entry["files"], "bytes": entry["bytes"], "seconds": 0.0}
        )
    return plan


def _look_and_plan(store, specs, backups):
    record = read_record(store.state_fd, store.state_path) or {}
    leftovers, _unfinished = read_staging(store)
    swaps = find_swaps(store, leftovers or ())
    record.update({swap.note.path: swap.note.entry for swap in swaps if swap.state != BEFORE})  # as seed_look.py does
    seen = StoreSeen(
        path=store.path,
        record=record,
        swaps=tuple(swaps),
        owners=read_owners(store.state_fd, store.state_path),
        read_only=bool(os.fstatvfs(store.fd).f_flag & os.ST_RDONLY),
    )
    plan = plan_rollback(seen, [_see_path(store, spec, record) for spec in specs], backups)
    lease = Lease(store).look() if plan.steps else LeaseSeen(FREE)
    if lease.state == HELD:
        found = "another manager uses this store, {}".format(lease.detail)
        raise StoreError(Lease(store).path, found, "End that one first.")
    return plan


def _see_path(store, spec, record):
    stored = store.look(spec.relative)
    user = find_process_using(store.place(spec.path)) if stored.real else None
    entry = record.get(spec.key)
    # No merge is ever made of what was adopted: what is kept is of the path's life before that.
    kept = newest(store, spec.path) if entry is not None and entry["origin"] == "seeded" else None
    return PathKept(spec, entry, stored, kept, user)


def _outcome(steps, plan):
    return Outcome(bool(steps), "seeded", steps, plan.paths, plan.warnings)
