# SPDX-License-Identifier: Apache-2.0
"""Complete what interrupted runs started, before anything else is decided. Pure: no disk is touched."""

from typing import List, Optional, Tuple

from ..errors import PathError, StoreError
from ..host.selinux import plan_labels
from ..plan import Plan, path_result
from .backups import KeepOld
from .state import StoreSeen
from .steps import RecordPublished, WriteRecord
from .swap import BEFORE, CompleteSwap

NOTHING = {"files": 0, "bytes": 0}


def plan_recovery(store: StoreSeen, paths: list, backups: int) -> Optional[Plan]:
    """A plan that only completes interrupted runs, None if there is nothing to complete. Make another plan afterwards.

    Paths that the user no longer names are completed as well: clearing staging would lose what tells of them. paths are PathSeen;
    backups is how many replaced trees are kept for each path. Raises PersistError if something cannot be completed.
    """
    complete, keep = decide_swaps(store, backups)
    published = store.books.published
    steps = [*complete, *record_published(store)]
    if steps and store.volume.read_only:
        raise read_only_error(store)
    if not steps and not keep:
        return None
    swaps = [swap for swap in store.books.swaps if swap.state != BEFORE]
    swapped = {swap.note.path: "rolled_back" if swap.is_rollback else "merged" for swap in swaps}
    tops = [key.split("/")[1] for key in (*swapped, *published)]
    labels = plan_labels(store.path, store.volume.labels, tops, bool(tops), store.volume.read_only)
    return Plan(
        phases=(
            ("complete", tuple(steps)),
            # Before the record: a run that is killed here is completed again, labels included.
            ("label", labels.steps),
            ("record", (WriteRecord(store.path),)),
            ("keep what was replaced", keep),
        ),
        paths=tuple(_result(path, published.get(path.spec.key), swapped) for path in paths),
        warnings=labels.warnings,
        resume_only=True,
    )


def record_published(store: StoreSeen) -> List[RecordPublished]:
    """The steps that record copies which an interrupted run published."""
    return [RecordPublished(key, store.path, entry) for key, entry in sorted(store.books.published.items())]


def decide_swaps(store: StoreSeen, backups: int) -> Tuple[Tuple[tuple, ...], Tuple[tuple, ...]]:
    """The steps that complete interrupted swaps, and those that keep the replaced trees, for after the record is written.

    Raises PathError if a tree that is to be replaced is in use.
    """
    for swap in store.books.swaps:
        if swap.used_by:
            found = "the store's copy is in use: {}".format(swap.used_by.describe())
            raise PathError(swap.note.path, found, swap.used_by.hint)
    done = [swap for swap in store.books.swaps if swap.state != BEFORE]
    kept = [swap for swap in store.books.swaps if swap.state != BEFORE or swap.is_rollback]
    if store.volume.read_only:
        kept = []
    # What a rollback replaces is kept in any case.
    keep = tuple(KeepOld(swap.name, max(1, backups) if swap.is_rollback else backups) for swap in kept)
    return tuple(CompleteSwap(swap, store.path) for swap in done), keep


def read_only_error(store: StoreSeen, **results) -> StoreError:
    """The refusal of a plan that has to write to a read-only volume."""
    found = "the store is read-only and would have to be written"
    return StoreError(store.path, found, "Mount the volume read-write.", **results)


def _result(path, published, swapped):
    entry = path.entry or published or NOTHING
    state = "seeded" if published else swapped.get(path.spec.key, "begun")
    return path_result(path.spec, state, entry["files"], entry["bytes"])
