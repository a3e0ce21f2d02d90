# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done about them. Pure: no disk is touched."""

from typing import NamedTuple, Optional, Tuple

from .errors import LinkError, printable
from .link_steps import Bind, Clear, CopyBack, FinishRemoval, MakeLink, MakeMountPoint, NoteMount, SetAside, Unbind
from .places import LINK, NONE, Place
from .plan import Plan
from .spec import StatePath


class LinkSeen(NamedTuple):
    """One state path as it was found.

    current is what stands there, stored what the store has; manifest names the file in the store that lists what the
    original was when it was seeded ('' for none); aside is where an original is already kept ('' for none), free_aside
    the name that the next would get; removing says that the removal of an original has begun, litter that a copy was
    being made beside it; bound that the store's copy is mounted there, was_bound that it is, or was when the machine
    stopped; mounts lie there or below, other than that one; overlay is whether renaming may be impossible; may_mount
    whether this process may mount, writable whether it may change the directory around it.
    """

    spec: StatePath
    current: Place
    stored: Place
    manifest: str = ""
    aside: str = ""
    free_aside: str = ""
    removing: bool = False
    litter: bool = False
    bound: bool = False
    was_bound: bool = False
    mounts: Tuple[str, ...] = ()
    overlay: bool = False
    may_mount: bool = True
    writable: bool = True


def plan_link(store_path, paths):
    """Decide how each state path is pointed at the store.

    Args:
        store_path (str): the store.
        paths (list of LinkSeen): the state paths, in the user's order.

    Returns:
        Plan: without steps where each is linked.

    Raises:
        LinkError: a refusal; nothing must be changed.
    """
    plan = Plan([], [], [])
    for path in paths:
        place = store_path + path.spec.path
        if path.stored.kind == NONE and path.current.kind == NONE:
            plan.warnings.append("{}: neither the image nor the store has it; not linked.".format(printable(path.spec.path)))
            plan.paths.append(_result(path, "missing", "none"))
            continue
        _refuse(path, place)
        if path.spec.method == "bind":
            _plan_bind(path, place, plan)
        else:
            _plan_symlink(path, place, plan)
    _refuse_unwritable(paths, plan)
    return plan


def plan_unlink(store_path, paths):
    """Decide how each state path gets the store's content for its own. As plan_link()."""
    plan = Plan([], [], [])
    for path in paths:
        place = store_path + path.spec.path
        linked = path.current.kind == LINK and path.current.target == place
        stale = path.bound or (path.current.real and (path.was_bound or path.removing))
        if not linked and not stale and path.current.kind != NONE:
            if path.litter:
                plan.steps.append(Clear(path.spec))
            plan.paths.append(_result(path, "already", "none"))
            continue
        if not path.stored.real:
            raise LinkError(path.spec.path, "the store has nothing to put back at {}".format(place), _go_on(path))
        if path.bound:
            plan.steps.append(Unbind(path.spec))
        if stale:
            step = FinishRemoval if path.removing and not path.bound else SetAside
            plan.steps.append(step(path.spec, path.free_aside, path.manifest, path.overlay))
        plan.steps.append(CopyBack(path.spec, place))
        aside = path.free_aside if stale and not path.removing else path.aside
        plan.paths.append(_result(path, "unlinked", "kept" if aside else "none", aside))
    _refuse_unwritable(paths, plan)
    return plan


def _refuse(path, place):
    current, stored = path.current, path.stored
    if stored.kind != NONE and not stored.real:
        raise LinkError(place, "the store has a {} there".format(stored.kind), "Remove it, after a look at where it came from.")
    if current.kind == LINK and current.target != place:
        raise LinkError(
            path.spec.path,
            "it is a symbolic link to {}".format(current.target),
            "Name the path that it leads to, or remove the link.",
        )
    if current.kind not in (NONE, LINK) and not current.real:
        raise LinkError(path.spec.path, "it is a {}".format(current.kind), "Name a directory or a file.")
    if stored.kind == NONE:
        raise LinkError(path.spec.path, "the store has nothing to link to at {}".format(place), _go_on(path))
    if current.real and current.kind != stored.kind:
        raise LinkError(
            path.spec.path,
            "it is a {}, but a {} in the store".format(current.kind, stored.kind),
            "Mount the right volume, or move it away.",
        )
    if path.mounts:
        raise LinkError(
            path.spec.path,
            "something is mounted at {}".format(", ".join(path.mounts)),
            "Unmount it, or take the path out of cm_persist_paths.",
        )


def _go_on(path):
    mount = "Mount the volume that holds it; or, to begin again, "
    if path.aside:
        return mount + "remove the link and move {} back to {}.".format(path.aside, path.spec.path)
    if path.current.kind == LINK:
        return mount + "re-create the container from its image."
    return "Run persist_seed first."


def _plan_symlink(path, place, plan):
    if path.bound:
        raise LinkError(
            path.spec.path, "the store is mounted there (bind)", "Unlink it first (state: unlinked), or keep the method bind."
        )
    if path.current.kind == LINK:
        if path.removing or path.litter:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(_result(path, "already", "kept" if path.aside else "none"))
        return
    fate = "kept" if path.aside else "none"
    if path.current.real:
        step = FinishRemoval if path.removing else SetAside
        plan.steps.append(step(path.spec, path.free_aside, path.manifest, path.overlay))
        if not path.removing:
            fate = "discarded" if path.overlay and path.manifest else "kept"
        elif not path.aside:
            fate = "discarded"
        if path.aside and not path.removing:
            plan.warnings.append(
                "{}: something replaced the link by content of its own; it is kept at {}, and the store's is used.".format(
                    printable(path.spec.path), printable(path.free_aside)
                )
            )
    plan.steps.append(MakeLink(path.spec, place))
    if path.removing or path.litter or (path.overlay and path.current.real):
        plan.steps.append(Clear(path.spec))
    plan.paths.append(_result(path, "linked", fate, path.free_aside if path.current.real and not path.removing else path.aside))


def _plan_bind(path, place, plan):
    if path.bound:
        if not path.was_bound:
            plan.steps.append(NoteMount(path.spec))
        plan.paths.append(_result(path, "already", "kept"))
        return
    if path.current.kind == LINK:
        raise LinkError(
            path.spec.path, "it is a symbolic link into the store", "Unlink it first (state: unlinked), then choose bind."
        )
    if path.current.kind == NONE:
        plan.steps.append(MakeMountPoint(path.spec, place))
    if not path.may_mount:
        raise LinkError(
            path.spec.path,
            "this process may not mount the store over it",
            "Give the container the capability SYS_ADMIN, or use the method symlink.",
        )
    plan.steps.append(NoteMount(path.spec))
    plan.steps.append(Bind(path.spec, place))
    plan.paths.append(_result(path, "linked", "kept" if path.current.real else "none"))


def _refuse_unwritable(paths, plan):
    touched = {step.spec.path for step in plan.steps}
    for path in paths:
        if not path.writable and path.spec.path in touched:
            raise LinkError(
                path.spec.path,
                "this process may not change its directory",
                "Run as root (become: true), on a writable file system.",
            )


def _result(path, state, original, aside: Optional[str] = None):
    kept = path.aside if aside is None else aside
    return {
        "path": path.spec.path,
        "state": state,
        "method": path.spec.method,
        "original": original,
        "aside": kept if original == "kept" and kept else None,
    }
