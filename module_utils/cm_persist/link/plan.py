# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to link them. Pure: no disk is touched."""

from typing import List, NamedTuple, Tuple

from ..errors import LinkError, printable
from ..fs.node import DIRECTORY, LINK, NONE
from ..original.notes import BY_START, BY_UNIT
from ..plan import Decision, Plan
from .bind import Bind, BindByUnit, ForgetMount, MakeMountPoint, NoteMount, RemoveUnit
from .checks import has_diverged, refuse_current, refuse_mismatch, refuse_nothing_stored, refuse_stored, refuse_unmountable
from .seen import LinkSeen
from .steps import AS_ROOT_TO_WRITE, Clear, Discard, FinishRemoval, ForgetKept, MakeLink, NoteKept, SetAside

# Steps that do nothing to the content of the path.
BOOKKEEPING = (Clear, ForgetKept, ForgetMount, NoteKept, NoteMount, RemoveUnit)


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
KEPT_BEFORE = "{}: an earlier run kept its content at {}; that may be newer than the store's, which is used."


def plan_link(store_path: str, paths: List[LinkSeen]) -> Plan:
    """What to do to point each state path at the store; without steps if each of them is linked. Raises LinkError for a refusal:
    nothing must be changed."""
    decisions = [_decide(path, store_path + path.spec.path) for path in paths]
    refuse_untouchable(paths, decisions)
    plan = plan_of("link", decisions)
    noted = [step.spec for step in plan.steps if isinstance(step, NoteKept)]
    said = [ForgetKept(path.spec) for path in paths if path.spec in noted or path.notes.untold]
    return plan._replace(phases=(*plan.phases, ("forget what is said now", tuple(said))))


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
        return Fate("discarded", "", (Discard(spec, evidence.proof, path.notes.free_aside, _how_to_avoid_a_copy(path)),))
    empty = path.at_path.empty and path.current.kind == DIRECTORY and not path.mount.bound
    uncovered = path.mount.bound or bool(path.mount.mounted_by)
    manifests, avoid_copy = _manifests_to_try(path), _how_to_avoid_a_copy(path)
    step = SetAside(spec, path.notes.free_aside, overlay, manifests, empty, uncovered, avoid_copy)
    if overlay and (empty or (evidence.proof is not None and path.current.kind == DIRECTORY)):
        return Fate("discarded", "", (step,))
    return Fate("kept", path.notes.free_aside, (step,))


def kept_before(path: LinkSeen) -> Fate:
    """What an earlier run did with the original."""
    return Fate("kept", path.aside) if path.aside else NO_ORIGINAL


def refuse_untouchable(paths: List[LinkSeen], decisions: List[Decision]):
    """Refuse to change a directory that this process may not change, or content that is in use. Raises LinkError for the first of
    them."""
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
        hint = "Restore it first (restore.yml), or keep the method bind."
        raise LinkError(path.spec.path, "the store is mounted there (bind)", hint)
    remove_unit = [RemoveUnit(path.spec)] if mounted_by == BY_UNIT else []  # its mount would come back at the next boot
    forget_mount = [ForgetMount(path.spec)] if mounted_by else []
    if path.current.kind == LINK:
        result = result_of(path, "already", kept_before(path)._replace(diverged=path.notes.untold))
        return Decision((*remove_unit, *forget_mount, *_clear(path)), result, _untold(path))
    fate = _decide_fate(path)
    clear = [Clear(path.spec)] if path.at_path.overlay and path.current.real else _clear(path)
    steps = (*remove_unit, *_note_kept(path, fate), *fate.steps, MakeLink(path.spec, stored_path), *forget_mount, *clear)
    return Decision(steps, result_of(path, "linked", fate), fate.warnings)


def _decide_bind(path, stored_path) -> Decision:
    mount = path.mount
    if mount.bound:
        result = result_of(path, "already", Fate("kept", diverged=path.notes.untold))
        return Decision((*_keep_mount(path, stored_path), *_clear(path)), result, _untold(path))
    refuse_unmountable(path)
    fate, stays = _decide_fate_under_mount(path)
    mount_point = [] if stays else [MakeMountPoint(path.spec, stored_path)]
    intact = stays and not mount.mounted_by
    # Where there is a unit, it has to be known until it is removed, whatever mounts this time.
    mounted_by = BY_UNIT if mount.unit or mount.mounted_by == BY_UNIT else BY_START
    steps = (
        NoteMount(path.spec, stored_path, mounted_by),
        *_note_kept(path, fate),
        *fate.steps,
        *mount_point,
        BindByUnit(path.spec, stored_path, mount.unit, intact) if mount.unit else Bind(path.spec, stored_path, intact),
        *_clear(path),
    )
    return Decision(steps, result_of(path, "linked", fate), fate.warnings)


def _decide_fate_under_mount(path) -> Tuple[Fate, bool]:
    """What becomes of the content, and whether it stays where the mount hides it.

    Content that may be newer must not stay there, unless moving it takes a copy; half an original never stays.
    """
    # Nothing at all may be newer, too, if an application has removed the rest; but not an empty mount point of ours.
    diverged = has_diverged(path) and not (path.at_path.empty and path.mount.mounted_by)
    stays = path.current.real and not path.notes.removal_begun and (path.at_path.overlay or not diverged)
    if not stays:
        return _decide_fate(path), False
    warnings = (_warn_of_divergence(path, "it stays under the mount"),) if diverged else ()
    return Fate("kept", diverged=diverged, warnings=warnings), True


def _keep_mount(path, stored_path) -> List[tuple]:
    mount = path.mount
    if not mount.mounted_by:
        return [NoteMount(path.spec, stored_path, BY_START)]
    if mount.mounted_by == BY_UNIT and mount.unit and not mount.unit.current:
        return [BindByUnit(path.spec, stored_path, mount.unit, intact=False)]
    return []


def _note_kept(path, fate) -> List[tuple]:
    return [NoteKept(path.spec)] if fate.diverged and path.current.real else []


def _untold(path) -> Tuple[str, ...]:
    """What an earlier run kept and may not have said."""
    where = path.notes.last_aside or "under the mount"
    text = KEPT_BEFORE.format(printable(path.spec.path), printable(where))
    return (text,) if path.notes.untold else ()


def _clear(path) -> List[tuple]:
    return [Clear(path.spec)] if path.has_leftovers else []


def _decide_fate(path) -> Fate:
    fate = _decide_fate_now(path)
    if path.notes.untold and not fate.diverged:
        return fate._replace(diverged=True, warnings=(*fate.warnings, *_untold(path)))
    return fate


def _decide_fate_now(path) -> Fate:
    if path.current.real:
        fate = move_away(path)
        if not has_diverged(path):
            return fate
        where = "it is kept at {}".format(printable(path.notes.free_aside))
        if fate.original == "discarded":
            where = "it holds nothing"
        return fate._replace(diverged=True, warnings=(_warn_of_divergence(path, where),))
    last_aside = path.notes.last_aside
    if not last_aside:
        return kept_before(path)
    if path.evidence.difference is None and last_aside == path.aside:
        return Fate("kept", last_aside)
    text = KEPT_BEFORE.format(printable(path.spec.path), printable(last_aside))
    return Fate("kept", last_aside, (), True, (text,))


def _warn_of_divergence(path, where) -> str:
    found, text = path.evidence.difference, "nothing proves that its content is not newer than the store's"
    if path.aside:
        text = "something replaced the link by content of its own"
    elif found is not None:
        text = "its content is not what was seeded"
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
