# SPDX-License-Identifier: Apache-2.0
"""Put the tree that the last merge replaced back in the place of each state path in the store, and keep the present one instead.

All kept trees are moved to staging, and then each takes its place as a merged one does (store/swap.py). A run that is killed
before the first exchange leaves them in staging, and the next run returns them to the backups. A run that is killed later is
completed by another rollback, or by a start.
"""

import stat
from typing import List, NamedTuple, Optional, Tuple

from ..errors import PathError, StoreError, printable
from ..fs.dirfd import lstat
from ..fs.node import Node
from ..host.machine import THIS_MACHINE
from ..lease.lease import refuse_held
from ..paths import StatePath, parse_paths
from ..plan import Outcome, Plan, execute, outcome_of, path_result
from ..store.backups import Generation, KeepOld, find_replaced_by, take
from ..store.layout import LISTS, TREE, manifest_names, swap_name
from ..store.lock import locked
from ..store.recovery import NOTHING, decide_swaps, read_only_error, record_published
from ..store.renumber import Renumber
from ..store.state import SEEDED, StoreSeen, Volume, read_books
from ..store.steps import RemoveStaging, Run, WriteRecord
from ..store.store import required_store
from ..store.swap import BEFORE, ROLLBACK_SUFFIX, Exchange, SwapNote, open_swap, write_note
from ..store.uses import Use, find_use
from ..text import files

ROUNDS = ("complete owners and swaps", "complete what that has left", "roll back")


class TakeBack(NamedTuple):
    """Move a kept tree of a state path to staging, with the note of its swap."""

    spec: StatePath
    store: str
    kept: Generation

    def describe(self):
        return "take back what was kept of {}{}, {}".format(
            self.store, printable(self.spec.path), files(self.kept.entry["files"])
        )

    def execute(self, run):
        name, previous = swap_name(self.spec.path, ROLLBACK_SUFFIX), run.record[self.spec.key]
        take(run.store, self.spec.path, self.kept.number, name)
        with open_swap(run.store, name) as private:
            top, left = _top(private, self.kept.entry, previous), self.kept.replaced.successor
            entry = dict(self.kept.entry, top=top, left=left, **_names(private, self.spec.path, previous))
            present = run.store.look(self.spec.relative)
            write_note(private, SwapNote(self.spec.key, lstat(TREE, private).st_ino, present.inode, entry, previous))


class PathKept(NamedTuple):
    """A state path as it was found: its entry in the record, the store's copy, the tree that this replaced, and what uses the
    copy."""

    spec: StatePath
    entry: Optional[dict]
    stored: Node
    kept: Optional[Generation]
    used_by: Use = None


def roll_back(settings, check_mode=False, machine=THIS_MACHINE) -> Outcome:
    """Give each state path in the store the tree that its last merge replaced; settings are seed.Settings.

    Raises PersistError for a refusal, and nothing was changed; or for a failure, after which another run, or a start, goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    with required_store(store_path, settings.require_mount, machine) as store:
        if store.state_fd is None:
            raise StoreError(store_path, "nothing was ever seeded into it", "Mount the volume that holds the manager's state.")
        if check_mode:
            _seen, plan = _plan(store, specs, settings.backups)
            return outcome_of(SEEDED, plan.steps, plan.paths, plan.warnings)
        steps = []
        with locked(store.state_fd, store.state_path, settings.lock_timeout):
            for _round in ROUNDS:
                seen, plan = _plan(store, specs, settings.backups)
                execute(plan.steps, Run(store, seen.books.record, machine))
                steps += plan.steps
                if not plan.resume_only:
                    break
        return outcome_of(SEEDED, steps, plan.paths, plan.warnings)


def plan_rollback(store: StoreSeen, paths: List[PathKept], backups: int) -> Plan:
    """The plan of a rollback; resume_only if it only completes something else that an interrupted run started. Pure.

    Where an interrupted run was a rollback, this plan completes it and is all of it. backups is how many generations are kept.
    Raises PersistError for a refusal.
    """
    (complete, keep), owners = decide_swaps(store, backups), store.books.owners
    published = record_published(store)
    back = {swap.note.path for swap in store.books.swaps if swap.is_rollback and swap.state != BEFORE}
    interrupted = bool(complete or keep)
    resume, renumber = interrupted and not back, ()
    if not interrupted and owners and owners.started:
        # A file may lack what its new owner took from it.
        renumber, resume = (Renumber(owners, owners.started, ("as was begun",)),), True
    going, warnings = ((), ()) if interrupted or resume else _who_goes(paths)
    for path in going:
        _refuse(path)
    names = [swap_name(path.spec.path, ROLLBACK_SUFFIX) for path in going]
    keep += tuple(KeepOld(name, max(1, backups)) for name in names)
    plan = Plan(
        phases=(
            ("complete", (*complete, *published)),
            ("renumber owners", renumber),
            ("take back", tuple(TakeBack(path.spec, store.path, path.kept) for path in going)),
            ("exchange", tuple(Exchange(path.spec.key, store.path, name) for path, name in zip(going, names))),
            ("record", (WriteRecord(store.path),) if keep or published else ()),
            ("keep what was replaced", keep),
            ("remove staging", (RemoveStaging(),) if keep else ()),
        ),
        paths=tuple(_result(path, path in going, back, resume) for path in paths),
        warnings=warnings,
        resume_only=resume,
    )
    if plan.steps and store.volume.read_only:
        raise read_only_error(store)
    return plan


def _who_goes(paths: List[PathKept]) -> Tuple[Tuple[PathKept, ...], Tuple[str, ...]]:
    """The paths that go back, and why the others stay. With the path that was replaced last go those that the same image
    replaced: nobody wants to leave what a path got from an image before."""
    kept = [path for path in paths if path.kept]
    last = max(kept, key=lambda path: path.kept.replaced.successor_at, default=None)
    going = tuple(path for path in kept if path.kept.replaced.successor == last.kept.replaced.successor)
    warnings = []
    for path in paths:
        if path not in kept:
            warnings.append("{}: nothing is kept of it that it could go back to.".format(printable(path.spec.path)))
        elif path not in going:
            text = "{}: it stays, as an earlier image replaced it; name it alone to take it back."
            warnings.append(text.format(printable(path.spec.path)))
    return going, tuple(warnings)


def _refuse(path):
    if not path.stored.real or path.entry is None:
        raise PathError(path.spec.path, "the store has nothing there that could be kept", "Start once, and see what it says.")
    if path.used_by:
        found = "the store's copy is in use: {}".format(path.used_by.describe())
        raise PathError(path.spec.path, found, path.used_by.hint)


def _result(path, going, back, resume):
    entry = path.kept.entry if going else path.entry or NOTHING
    state = "rolled_back" if going or path.spec.key in back else "begun" if resume else "already"
    return path_result(path.spec, state, entry["files"], entry["bytes"])


def _top(private, entry, previous) -> dict:
    """Owner and mode of a kept tree's top. Its owners were renumbered with all others; its entry, kept with it, was not. If an
    fsGroup has widened it, its group is not its own."""
    top, mode = lstat(TREE, private), entry["top"]["mode"]
    gid = top.st_gid if stat.S_IMODE(top.st_mode) == mode else previous["top"]["gid"]
    return {"uid": top.st_uid, "gid": gid, "mode": mode}


def _names(private, path, previous) -> dict:
    """Names in manifests/ for the manifests that are kept with a tree, of those that the entry in the record does not use."""
    names = zip(LISTS, manifest_names(path, previous))
    return {field: name if lstat(kept, private) is not None else None for (field, kept), name in names}


def _plan(store, specs, backups):
    seen = StoreSeen(store.path, read_books(store).completed(), Volume(store.read_only))
    plan = plan_rollback(seen, [_observe(store, spec, seen.books.record or {}) for spec in specs], backups)
    if plan.steps:
        refuse_held(store, "End that one first.")
    return seen, plan


def _observe(store, spec, record):
    stored, entry = store.look(spec.relative), record.get(spec.key)
    use = find_use(store, spec.path) if stored.real else None
    # No merge is ever made of adopted content: a kept tree is of the path's life before that.
    kept = find_replaced_by(store, spec.path, entry) if entry is not None and entry["origin"] == "seeded" else None
    return PathKept(spec, entry, stored, kept, use)
