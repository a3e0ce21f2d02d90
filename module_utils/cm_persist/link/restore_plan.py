# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to take them off the store. Pure: no disk is touched."""

from typing import List

from ..errors import LinkError, printable
from ..fs.node import LINK, NONE
from ..original.notes import BY_UNIT
from ..plan import Decision, Plan
from .bind import ForgetMount, RemoveUnit, Unmount
from .checks import how_to_begin_again
from .plan import kept_before, move_away, plan_of, refuse_untouchable, result_of
from .restore_steps import CopyBack, ReturnAside, ReturnUncovered
from .seen import LinkSeen
from .steps import Clear, FinishRemoval, ForgetKept

# What a state path gets: the store's content; the original that was kept; the latter if nothing was written to the store since.
RESTORE_STORE, RESTORE_ASIDE, RESTORE_NEWEST = "store", "aside", "newest"
BOOKS_OF_A_COPY = 4  # its private directory, the one for links, manifest, and the note of a removal
NEXT_START = (
    "{}: a start with this store links it again, and uses the store's content; to prevent that, take it out of cm_persist_paths, "
    "or start without the store."
)


def plan_restore(store_path: str, paths: List[LinkSeen], restore: str) -> Plan:
    """What to do to give each state path content of its own; without steps if none of them leads into the store. restore is one
    of RESTORE_STORE, RESTORE_ASIDE and RESTORE_NEWEST.

    Raises LinkError for a refusal: nothing must be changed.
    """
    decisions = [_decide(path, store_path + path.spec.path, restore) for path in paths]
    refuse_untouchable(paths, decisions)
    copied = [any(isinstance(step, CopyBack) for step in decision.steps) for decision in decisions]
    _refuse_without_room([path for path, is_copied in zip(paths, copied) if is_copied])
    return plan_of("restore", decisions)


def _decide(path, stored_path, restore) -> Decision:
    linked = path.current.kind == LINK and path.current.target == stored_path
    stale = _is_stale(path)
    if path.current.kind == LINK and not linked:
        found = "it is a symbolic link to {}, not to {}".format(path.current.target, stored_path)
        hint = "Name the store that it leads to in cm_persist_store, or take the path out of cm_persist_paths."
        raise LinkError(path.spec.path, found, hint)
    if stale and path.mount.others:
        found = "something is mounted at {}".format(", ".join(path.mount.others))
        raise LinkError(path.spec.path, found, "Unmount it, then start again.")
    # Nothing there, and a trace of an earlier run, or content in the store: such a run was killed between two names.
    traces = path.stored.kind != NONE or path.aside or path.has_leftovers or path.mount.mounted_by
    cut_off = path.current.kind == NONE and traces
    if not (linked or stale or cut_off):
        clear = (Clear(path.spec),) if path.notes.leftover_copy else ()
        return Decision(clear, result_of(path, "missing" if path.current.kind == NONE else "already"))
    if restore == RESTORE_ASIDE or path.evidence.unwritten:
        decision = _decide_return(path, stored_path)
    else:
        decision = _decide_copy_back(path, stored_path)
    return decision._replace(warnings=(*decision.warnings, NEXT_START.format(printable(path.spec.path))))


def _is_stale(path) -> bool:
    """True if the content at the path is the store's, or older, or half removed."""
    return path.mount.bound or (path.current.real and bool(path.mount.mounted_by or path.notes.removal_begun))


def _decide_copy_back(path, stored_path) -> Decision:
    if not path.stored.real:
        raise LinkError(path.spec.path, "the store has nothing to put back at {}".format(stored_path), how_to_begin_again(path))
    if path.copy_back.fixed:
        found = "it is itself immutable or append-only (lsattr), and so would its copy be"
        raise LinkError(stored_path, found, "Clear that with chattr -ia, on it alone.")
    fate = move_away(path) if _is_stale(path) else kept_before(path)
    steps = (*_unmount(path), *fate.steps, *_remove_unit(path), CopyBack(path.spec, stored_path))
    return Decision(steps, result_of(path, "unlinked", fate))


def _decide_return(path, stored_path) -> Decision:
    if path.notes.removal_begun and not path.aside:
        found = "its original is removed, half or whole, as the image has it"
        hint = "Re-create the container from its image without the volume, or restore what the store has."
        raise LinkError(path.spec.path, found, hint)
    clear = [Clear(path.spec)] if path.has_leftovers else []
    clear += [ForgetKept(path.spec)] if path.notes.untold else []  # it is put back, or named below
    if path.mount.bound or (_is_stale(path) and not path.notes.removal_begun):  # the original lies under the mount, or did
        put_back = [ReturnUncovered(path.spec, stored_path, path.aside)] if path.aside else []
        steps = (*_unmount(path), *_remove_unit(path), *put_back, ForgetMount(path.spec), *clear)
        return Decision(steps, result_of(path, "unlinked"))
    decision = _decide_put_back(path, stored_path)
    return decision._replace(steps=(*decision.steps, *clear))


def _decide_put_back(path, stored_path) -> Decision:
    if not path.aside:
        hint = (
            "Re-create the container from its image without the volume, restore what the store has, or name in cm_persist_paths "
            "those alone that have one."
        )
        raise LinkError(path.spec.path, "no original is kept next to it, as the image has it", hint)
    half_removed = path.notes.removal_begun and path.current.real
    steps = (
        *_remove_unit(path),
        *([FinishRemoval(path.spec, path.notes.free_aside)] if half_removed else []),
        ReturnAside(path.spec, stored_path, path.aside),
        *([ForgetMount(path.spec)] if path.mount.mounted_by else []),
    )
    where, last_aside, warnings = printable(path.spec.path), path.notes.last_aside, []
    if last_aside not in ("", path.aside):
        warnings.append("{}: more is kept, last at {}.".format(where, printable(last_aside)))
    if path.evidence.difference is not None:
        warnings.append("{}: what is put back from {} is not what was seeded.".format(where, printable(path.aside)))
    return Decision(steps, result_of(path, "unlinked"), tuple(warnings))


def _unmount(path) -> List[tuple]:
    return [Unmount(path.spec)] if path.mount.bound else []


def _remove_unit(path) -> List[tuple]:
    return [RemoveUnit(path.spec)] if path.mount.mounted_by == BY_UNIT else []


def _refuse_without_room(paths):
    counted = [path for path in paths if path.copy_back.room is not None]
    for device in {path.copy_back.device for path in counted}:
        together = [path for path in counted if path.copy_back.device == device]
        scans = [path.copy_back.scan for path in together]
        short = together[0].copy_back.room.shortage(scans, BOOKS_OF_A_COPY * len(together))
        if short:
            found = "its file system is too small for what the store has: {}".format(short)
            hint = "Free some space there; or restore the original that is kept (restore: aside)."
            raise LinkError(together[0].spec.path, found, hint)
