# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to link them. Pure: no disk is touched."""

from typing import NamedTuple, Optional, Tuple

from .beside import BY_START, BY_UNIT
from .bind_steps import Bind, BindByUnit, ForgetMount, MakeMountPoint, NoteMount, RemoveUnit
from .errors import LinkError, printable
from .evidence import Manifest
from .link_steps import Clear, Discard, FinishRemoval, MakeLink, SetAside
from .manifest import Difference
from .places import DIRECTORY, LINK, NONE, Place
from .plan import Plan
from .spec import StatePath
from .survey import Survey
from .units import Unit


class LinkSeen(NamedTuple):
    """One state path as it was found.

    current is what stands there, stored what the store has. manifests are those that may list the original; proof is the one
    that lists exactly what stands there, else difference says how it differs (both None: not compared). aside is where an
    original is already kept ('' for none), free_aside the name that the next would get; removing says that the removal of an
    original has begun, litter that a copy was being made beside it. bound says that the store's copy is mounted there, mounter
    that it is, or was when the machine stopped, and who mounts it ('' for nobody); mounts lie there or below, other than that
    one. unit is the mount unit where systemd is to mount it. overlay is whether renaming may be impossible; may_mount whether
    this process may mount, writable whether it may change the directory around it. survey counts what the store has, and room
    is (device, free bytes, free inodes or None) of the path's file system, for a copy back (None: not counted).
    """

    spec: StatePath
    current: Place
    stored: Place
    manifests: Tuple[Manifest, ...] = ()
    proof: Optional[Manifest] = None
    difference: Optional[Difference] = None
    aside: str = ""
    free_aside: str = ""
    removing: bool = False
    litter: bool = False
    bound: bool = False
    mounter: str = ""
    mounts: Tuple[str, ...] = ()
    unit: Optional[Unit] = None
    overlay: bool = False
    may_mount: bool = True
    writable: bool = True
    survey: Survey = Survey()
    room: Optional[Tuple[int, int, Optional[int]]] = None


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
            plan.paths.append(result(path, "missing"))
            continue
        _refuse(path, place)
        if path.spec.method == "bind":
            _plan_bind(path, place, plan)
        else:
            _plan_symlink(path, place, plan)
    refuse_unwritable(paths, plan)
    return plan


def get_out_of_the_way(path, plan):
    """Plan what becomes of the content that stands at a state path.

    Args:
        path (LinkSeen): it is real, or hidden by the store's mount.
        plan (Plan): gets the steps and warnings.

    Returns:
        tuple: (str, str), the fate of the original as results call it, and where it is kept, '' for nowhere.
    """
    spec = path.spec
    if path.removing and not path.bound:
        plan.steps.append(FinishRemoval(spec, path.free_aside))
        return ("kept", path.aside) if path.aside else ("discarded", "")
    if path.proof is not None and path.overlay and path.proof.of_image:
        plan.steps.append(Discard(spec, path.proof))
        return "discarded", ""
    compared = path.proof is not None or path.difference is not None
    proofs = tuple(filter(None, [path.proof])) if compared else path.manifests  # which of them, is seen when it is done
    empty = path.current.empty and not path.bound
    plan.steps.append(SetAside(spec, path.free_aside, path.overlay, proofs if path.overlay else (), empty, _fast(path)))
    if path.overlay and (empty or (path.proof is not None and path.current.kind == DIRECTORY)):
        return "discarded", ""
    return "kept", path.free_aside


def has_diverged(path):
    """bool: whether what stands at a state path is neither what was seeded nor what the image has, as far as that is known.

    It may be newer than the store's: an application may have replaced the link.
    """
    return path.current.real and not (path.bound or path.removing) and path.proof is None and bool(path.aside or path.difference)


def refuse_unwritable(paths, plan):
    """Refuse a plan that would change a directory which this process may not change. Raises LinkError."""
    touched = {step.spec.path for step in plan.steps}
    for path in paths:
        if not path.writable and path.spec.path in touched:
            raise LinkError(
                path.spec.path,
                "this process may not change its directory",
                "Run as root (become: true), on a writable file system.",
            )


def result(path, state, original="none", aside="", diverged=False):
    """dict: what the module returns of a state path."""
    return {
        "path": path.spec.path,
        "state": state,
        "method": path.spec.method,
        "original": original,
        "aside": aside if original == "kept" and aside else None,
        "diverged": diverged,
    }


def begin_again(path):
    """str: what to do where the store does not have what a state path needs. path is a LinkSeen."""
    mount = "Mount the volume that holds it; or, to begin again, "
    if path.aside:
        return mount + "remove the link and move {} back to {}.".format(path.aside, path.spec.path)
    if path.current.kind == LINK:
        return mount + "re-create the container from its image."
    return "Run persist_seed first."


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
        raise LinkError(path.spec.path, "the store has nothing to link to at {}".format(place), begin_again(path))
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
            "Unmount it, or, as it outlives the container by itself, take the path out of cm_persist_paths.",
        )


def _plan_symlink(path, place, plan):
    if path.bound:
        raise LinkError(
            path.spec.path, "the store is mounted there (bind)", "Unlink it first (state: unlinked), or keep the method bind."
        )
    if path.current.kind == LINK:
        if path.removing or path.litter:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(result(path, "already", "kept" if path.aside else "none", path.aside))
        return
    fate, aside = "kept" if path.aside else "none", path.aside
    diverged = has_diverged(path)
    if diverged:
        plan.warnings.append(_warn_of_divergence(path))
    if path.current.real:
        fate, aside = get_out_of_the_way(path, plan)
    if path.mounter == BY_UNIT:  # its mount is gone, and would come back at the next boot
        plan.steps.append(RemoveUnit(path.spec))
    plan.steps.append(MakeLink(path.spec, place))
    if path.mounter:
        plan.steps.append(ForgetMount(path.spec))
    if path.removing or path.litter or (path.overlay and path.current.real):
        plan.steps.append(Clear(path.spec))
    plan.paths.append(result(path, "linked", fate, aside, diverged))


def _plan_bind(path, place, plan):
    if path.bound:
        if not path.mounter:
            plan.steps.append(NoteMount(path.spec, BY_START))
        elif path.mounter == BY_UNIT and path.unit and not path.unit.current:
            plan.steps.append(BindByUnit(path.spec, place, path.unit))
        plan.paths.append(result(path, "already", "kept"))
        return
    if path.current.kind == LINK:
        raise LinkError(
            path.spec.path, "it is a symbolic link into the store", "Unlink it first (state: unlinked), then choose bind."
        )
    if not path.may_mount and not path.unit:
        raise LinkError(
            path.spec.path,
            "this process may not mount the store over it",
            "Give the container the capability SYS_ADMIN, or use the method symlink.",
        )
    if path.current.kind == NONE:
        plan.steps.append(MakeMountPoint(path.spec, place))
    # Where there is a unit, it has to be known until it is removed, whoever mounts this time.
    plan.steps.append(NoteMount(path.spec, BY_UNIT if path.unit or path.mounter == BY_UNIT else BY_START))
    plan.steps.append(BindByUnit(path.spec, place, path.unit) if path.unit else Bind(path.spec, place))
    plan.paths.append(result(path, "linked", "kept" if path.current.real else "none"))


def _warn_of_divergence(path):
    what = "something replaced the link by content of its own" if path.aside else "what stands there is not what was seeded"
    if path.difference is not None:
        where = "the top" if path.difference.path == b"." else printable(path.difference.path)
        what += " (first: {} {})".format(where, path.difference.found)
    return "{}: {}; it is kept at {}, and the store's is used.".format(
        printable(path.spec.path), what, printable(path.free_aside)
    )


def _fast(path):
    if any(manifest.of_image for manifest in path.manifests):
        return "where it is as the image's list says, nothing is copied (make the list anew, by container/build, with the image)"
    if path.manifests:
        return "where it is as it was seeded, as in a container that is new from the same image, nothing is copied"
    return "where container/Containerfile has listed what the image holds, nothing is copied"
