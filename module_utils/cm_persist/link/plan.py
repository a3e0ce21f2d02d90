# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to link them. Pure: no disk is touched."""

from typing import List, NamedTuple, Tuple

from ..errors import LinkError, printable
from ..fs.node import DIRECTORY, LINK, NONE
from ..original.notes import BY_START, BY_UNIT
from ..plan import Decision, Plan
from .bind import Bind, BindByUnit, ForgetMount, MakeMountPoint, NoteMount, RemoveUnit
from .seen import LinkSeen
from .steps import AS_ROOT_TO_WRITE, Clear, Discard, FinishRemoval, MakeLink, SetAside

BOOKKEEPING = (Clear, ForgetMount, NoteMount, RemoveUnit)  # steps that do nothing to the content of the path


class Fate(NamedTuple):
    """What becomes of an original: none, kept or discarded, where it is kept ('' for nowhere), and by which steps.

    diverged: it may be newer than what the store has, and the warnings say so.
    """

    original: str
    aside: str = ""
    steps: Tuple[tuple, ...] = ()
    diverged: bool = False
    warnings: Tuple[str, ...] = ()


NO_ORIGINAL = Fate("none")


def plan_link(store_path: str, paths: List[LinkSeen]) -> Plan:
    """What to do to point each state path at the store; without steps if each of them is linked.

    Raises:
        LinkError: a refusal; nothing must be changed.
    """
    decisions = [_decide(path, store_path + path.spec.path) for path in paths]
    refuse_untouchable(paths, decisions)
    return plan_of("link", decisions)


def plan_of(phase: str, decisions: List[Decision]) -> Plan:
    """The plan that carries out these decisions, one state path after the other."""
    return Plan(
        phases=((phase, tuple(step for decision in decisions for step in decision.steps)),),
        paths=tuple(decision.result for decision in decisions),
        warnings=tuple(warning for decision in decisions for warning in decision.warnings),
    )


def move_away(path: LinkSeen) -> Fate:
    """How the content at a state path, or hidden by the store's mount over it, gets out of the way."""
    spec, evidence, overlay = path.spec, path.evidence, path.at_path.overlay
    if path.notes.removal_begun and not path.mount.bound:
        steps = (FinishRemoval(spec, path.notes.free_aside),)
        return Fate("kept", path.aside, steps) if path.aside else Fate("discarded", "", steps)
    if overlay and evidence.proof is not None and evidence.proof.of_image:
        return Fate("discarded", "", (Discard(spec, evidence.proof),))
    empty = path.at_path.empty and path.current.kind == DIRECTORY and not path.mount.bound
    step = SetAside(
        spec,
        path.notes.free_aside,
        overlay=overlay,
        manifests=_manifests_to_try(path),
        empty=empty,
        uncovered=path.mount.bound or bool(path.mount.mounted_by),
        avoid_copy=_how_to_avoid_a_copy(path),
    )
    if overlay and (empty or (evidence.proof is not None and path.current.kind == DIRECTORY)):
        return Fate("discarded", "", (step,))
    return Fate("kept", path.notes.free_aside, (step,))


def kept_before(path: LinkSeen) -> Fate:
    """What an earlier run did with the original."""
    return Fate("kept", path.aside) if path.aside else NO_ORIGINAL


def has_diverged(path: LinkSeen) -> bool:
    """True if the content at a state path is neither what was seeded nor what the image has, as far as that is known.

    It may be newer than the store's: an application may have replaced the link.
    """
    if not path.current.real or path.mount.bound or path.notes.removal_begun:
        return False
    return path.evidence.proof is None and bool(path.aside or path.evidence.difference)


def refuse_untouchable(paths: List[LinkSeen], decisions: List[Decision]):
    """Refuse to change a directory that this process may not change, or content that is in use.

    Raises:
        LinkError: the first of them.
    """
    for path, decision in zip(paths, decisions):
        used_by = path.at_path.used_by
        if used_by and any(not isinstance(step, BOOKKEEPING) for step in decision.steps):
            raise LinkError(path.spec.path, "it is in use: {}".format(used_by.describe()), used_by.hint)
        if not path.at_path.writable and decision.steps:
            raise LinkError(path.spec.path, "this process may not change its directory", AS_ROOT_TO_WRITE)


def result_of(path: LinkSeen, state: str, fate: Fate = NO_ORIGINAL) -> dict:
    """What the module returns of a state path."""
    return {
        "path": path.spec.path,
        "state": state,
        "method": path.spec.method,
        "original": fate.original,
        "aside": fate.aside if fate.original == "kept" and fate.aside else None,
        "diverged": fate.diverged,
    }


def how_to_begin_again(path: LinkSeen) -> str:
    """What to do where the store does not have what a state path needs: a hint."""
    mount = "Mount the volume that holds it; or, to begin again, "
    if path.aside:
        return mount + "remove the link and move {} back to {}.".format(path.aside, path.spec.path)
    if path.current.kind == LINK:
        return mount + "re-create the container from its image."
    return "Run persist_seed first."


def refuse_stored(path: LinkSeen, stored_path: str):
    """Refuse anything in the store that is neither a directory nor a file. Raises LinkError."""
    if path.stored.kind != NONE and not path.stored.real:
        raise LinkError(
            stored_path, "the store has a {} there".format(path.stored.kind), "Remove it, after a look at where it came from."
        )


def refuse_current(path: LinkSeen, stored_path: str):
    """Refuse a state path that is neither content of its own nor the link into the store. Raises LinkError."""
    if path.current.kind == LINK and path.current.target != stored_path:
        raise LinkError(
            path.spec.path,
            "it is a symbolic link to {}".format(path.current.target),
            "Name the path that it leads to, or remove the link.",
        )
    if path.current.kind not in (NONE, LINK) and not path.current.real:
        raise LinkError(path.spec.path, "it is a {}".format(path.current.kind), "Name a directory or a file.")


def refuse_nothing_stored(path: LinkSeen, stored_path: str):
    """Refuse a state path that the store does not have: no link is ever made to nothing. Raises LinkError."""
    if path.stored.kind == NONE:
        raise LinkError(path.spec.path, "the store has nothing to link to at {}".format(stored_path), how_to_begin_again(path))


def refuse_mismatch(path: LinkSeen):
    """Refuse content at a state path that the store's copy cannot take the place of. Raises LinkError."""
    if path.current.real and path.current.kind != path.stored.kind:
        raise LinkError(
            path.spec.path,
            "it is a {}, but a {} in the store".format(path.current.kind, path.stored.kind),
            "Mount the right volume, or move it away.",
        )
    if path.at_path.is_store_copy:
        raise LinkError(
            path.spec.path,
            "it is the store's own copy already, as its directory leads into the store",
            "Take it out of cm_persist_paths, or unmount that directory.",
        )
    if path.mount.others and not path.mount.bound:
        raise LinkError(
            path.spec.path,
            "something is mounted at {}".format(", ".join(path.mount.others)),
            "Unmount it, or, as it outlives the container by itself, take the path out of cm_persist_paths.",
        )


def _decide(path, stored_path) -> Decision:
    if path.stored.kind == NONE and path.current.kind == NONE:
        warning = "{}: neither the image nor the store has it; not linked.".format(printable(path.spec.path))
        return Decision(result=result_of(path, "missing"), warnings=() if path.spec.missing == "ignore" else (warning,))
    refuse_stored(path, stored_path)
    refuse_current(path, stored_path)
    refuse_nothing_stored(path, stored_path)
    refuse_mismatch(path)
    return _decide_bind(path, stored_path) if path.spec.method == "bind" else _decide_symlink(path, stored_path)


def _decide_symlink(path, stored_path) -> Decision:
    mounted_by = path.mount.mounted_by
    if path.mount.bound:
        raise LinkError(
            path.spec.path, "the store is mounted there (bind)", "Restore it first (restore.yml), or keep the method bind."
        )
    remove_unit = [RemoveUnit(path.spec)] if mounted_by == BY_UNIT else []  # its mount would come back at the next boot
    forget_mount = [ForgetMount(path.spec)] if mounted_by else []
    if path.current.kind == LINK:
        return Decision((*remove_unit, *forget_mount, *_clear(path)), result_of(path, "already", kept_before(path)))
    fate = _decide_fate(path)
    clear = [Clear(path.spec)] if path.at_path.overlay and path.current.real else _clear(path)
    steps = (*remove_unit, *fate.steps, MakeLink(path.spec, stored_path), *forget_mount, *clear)
    return Decision(steps, result_of(path, "linked", fate), fate.warnings)


def _decide_bind(path, stored_path) -> Decision:
    mount = path.mount
    if mount.bound:
        return Decision((*_keep_mount(path, stored_path), *_clear(path)), result_of(path, "already", Fate("kept")))
    _refuse_mount(path)
    # Content that may be newer must not stay where the mount hides it, unless that takes a copy; half an original never stays.
    diverged = has_diverged(path) and not path.at_path.empty
    stays = path.current.real and not path.notes.removal_begun and (path.at_path.overlay or not diverged)
    if stays:
        warnings = (_warn_of_divergence(path, "it stays under the mount"),) if diverged else ()
        fate, mount_point = Fate("kept", diverged=diverged, warnings=warnings), []
    else:
        fate, mount_point = _decide_fate(path), [MakeMountPoint(path.spec, stored_path)]
    intact = stays and not mount.mounted_by
    # Where there is a unit, it has to be known until it is removed, whatever mounts this time.
    mounted_by = BY_UNIT if mount.unit or mount.mounted_by == BY_UNIT else BY_START
    steps = (
        NoteMount(path.spec, stored_path, mounted_by),
        *fate.steps,
        *mount_point,
        BindByUnit(path.spec, stored_path, mount.unit, intact) if mount.unit else Bind(path.spec, stored_path, intact),
        *_clear(path),
    )
    return Decision(steps, result_of(path, "linked", fate), fate.warnings)


def _keep_mount(path, stored_path) -> List[tuple]:
    mount = path.mount
    if not mount.mounted_by:
        return [NoteMount(path.spec, stored_path, BY_START)]
    if mount.mounted_by == BY_UNIT and mount.unit and not mount.unit.current:
        return [BindByUnit(path.spec, stored_path, mount.unit, intact=False)]
    return []


def _refuse_mount(path):
    if path.current.kind == LINK:
        raise LinkError(
            path.spec.path, "it is a symbolic link into the store", "Restore it first (restore.yml), then choose bind."
        )
    if not path.mount.may_mount and not path.mount.unit:
        raise LinkError(
            path.spec.path,
            "this process may not mount the store over it",
            "Give the container the capability SYS_ADMIN, or use the method symlink.",
        )
    if path.mount.hidden:
        raise LinkError(
            path.spec.path,
            "something is mounted in the store at {}, which a bind mount does not show".format(", ".join(path.mount.hidden)),
            "Unmount it, or use the method symlink.",
        )


def _clear(path) -> List[tuple]:
    return [Clear(path.spec)] if path.has_leftovers else []


def _decide_fate(path) -> Fate:
    if path.current.real:
        fate = move_away(path)
        if not has_diverged(path):
            return fate
        where = "it is kept at {}".format(printable(path.notes.free_aside))
        return fate._replace(diverged=True, warnings=(_warn_of_divergence(path, where),))
    last_aside = path.notes.last_aside
    if not last_aside:
        return kept_before(path)
    if path.evidence.difference is None and last_aside == path.aside:
        return Fate("kept", last_aside)
    text = "{}: an earlier run kept its content at {}; that may be newer than the store's, which is used."
    return Fate("kept", last_aside, (), True, (text.format(printable(path.spec.path), printable(last_aside)),))


def _warn_of_divergence(path, where) -> str:
    text = "something replaced the link by content of its own" if path.aside else "its content is not what was seeded"
    found = path.evidence.difference
    if found is not None:
        entry = "it" if found.path == b"." else printable(found.path) + " in it"
        text += " (first difference: {} is {})".format(entry, found.found)
    return "{}: {}; {}, and the store's is used.".format(printable(path.spec.path), text, where)


def _manifests_to_try(path):
    """The manifests by which SetAside may remove the original; which one lists it, is seen when that is done."""
    if not path.at_path.overlay:
        return ()
    if path.evidence.proof is not None:
        return (path.evidence.proof,)
    return path.evidence.manifests if path.evidence.difference is None else ()


def _how_to_avoid_a_copy(path) -> str:
    manifests = path.evidence.manifests
    if any(manifest.of_image for manifest in manifests):
        return "where it is as the image's list says, nothing is copied (make the list again, by container/build, with the image)"
    if manifests:
        return "where it is as it was seeded, as in a container that is new from the same image, nothing is copied"
    return "where container/Containerfile has listed what the image holds, nothing is copied"
