# SPDX-License-Identifier: Apache-2.0
"""What is done about what earlier runs began and did not bring to an end. Pure: no disk is touched."""

from ..errors import PathError, StoreError
from ..host.selinux import plan_labels
from ..plan import ListPlan, path_result
from .backups import KeepOld
from .steps import Complete, WriteRecord
from .swap import BEFORE, ROLLBACK_SUFFIX
from .swap import Complete as CompleteSwap


def plan_begun(store, paths, backups):
    """Complete what earlier runs began, before anything else is looked at: then all is as if they had come to their end. Pure.

    Args:
        store (StoreSeen), paths (list of PathSeen): as plan_seed() takes them.
        backups (int): how many generations are kept.

    Returns:
        Plan: after which another has to be made; None where there is nothing to complete.

    Raises:
        PersistError: it cannot be completed.
    """
    plan = ListPlan([], [], [], resume_only=True)
    later = plan_swaps(store, backups, plan)
    unfinished = [path for path in paths if path.unfinished and path.entry is None]
    plan.steps.extend(Complete(path.spec, store.path, path.unfinished) for path in unfinished)
    if plan.steps and store.read_only:
        raise StoreError(store.path, "the store is read-only and would have to be written", "Mount the volume read-write.")
    if not plan.steps and not later:
        return None
    done = {swap.note.path: swap.done for swap in store.swaps if swap.state != BEFORE}
    # Before the record, as ever: a run that is killed here is completed, labels included.
    tops = [path.split("/")[1] for path in [*done, *(path.spec.key for path in unfinished)]]
    labelling, _result, plan.warnings[:] = plan_labels(store.path, store.labels, tops, bool(tops), store.read_only)
    plan.steps.extend([*labelling, WriteRecord(store.path), *later])
    for path in paths:
        entry = path.entry or (path.unfinished.entry if path.unfinished else {"files": 0, "bytes": 0})
        state = "seeded" if path in unfinished else done.get(path.spec.key, "begun")
        plan.paths.append(path_result(path.spec, state, entry["files"], entry["bytes"]))
    return plan


def plan_swaps(store, backups, plan):
    """Complete what earlier runs began to put in the place of state paths.

    Args:
        store (StoreSeen): the store.
        backups (int): how many generations are kept.
        plan (Plan): gets the steps.

    Returns:
        list: steps for when the record is written.

    Raises:
        PathError: a tree that is to be replaced is in use.
    """
    later = []
    for swap in store.swaps:
        back = swap.name.endswith(ROLLBACK_SUFFIX)
        if swap.user:
            raise PathError(swap.note.path, "the store's copy is in use: {}".format(swap.user.describe()), swap.user.hint)
        if swap.state != BEFORE:
            plan.steps.append(CompleteSwap(swap, store.path))
        if (swap.state != BEFORE or back) and not store.read_only:
            later.append(KeepOld(swap.name, max(1, backups) if back else backups))
    return later
