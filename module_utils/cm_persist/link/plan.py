# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to link them. Pure: no disk is touched."""

from typing import NamedTuple, Optional, Tuple

from ..errors import LinkError, printable
from ..fs.node import DIRECTORY, LINK, NONE, Node
from ..host.processes import Process
from ..host.systemd import Unit
from ..original.notes import BY_START, BY_UNIT
from ..original.pristine import Manifest
from ..paths import StatePath
from ..plan import ListPlan
from ..tree.manifest import Difference
from ..tree.scan import ScanResult
from .bind import Bind, BindByUnit, ForgetMount, MakeMountPoint, NoteMount, RemoveUnit
from .steps import Clear, Discard, FinishRemoval, MakeLink, SetAside

BOOKKEEPING = (Clear, ForgetMount, NoteMount, RemoveUnit)  # steps that do nothing to what stands at the path


class LinkSeen(NamedTuple):
    """One state path as it was found.

    Attributes:
        spec (StatePath): the path.
        current, stored (Node): what stands there, and what the store has.
        manifests (tuple of Manifest): those that may list what stands there.
        proof (Manifest): the one that lists exactly that; difference (Difference): else how it differs. Both None: not compared.
        aside, last_aside (str): where an original is kept, and what was kept last; '' for none. free_aside: the next name.
        removing, leftover_copy (bool): the removal of an original has begun; a copy was being made beside it.
        bound (bool): the store's copy is mounted there. mounter (str): who mounts it, or did before the machine stopped.
        mounts, hidden (tuple of str): mounts there or below, other than that; mounts in the store, which that would not show.
        same (bool): the store's own copy stands there, reached through its directory.
        unit (Unit): where systemd is to mount it.
        overlay, may_mount, writable (bool): renaming may be impossible; this process may mount; it may change the directory.
        empty, fixed (bool): what stands there holds nothing; what the store has is itself immutable or append-only.
        unwritten (bool): aside was seeded last, and the store still has exactly that. False: it has not, or nobody has looked.
        scan (ScanResult), room (device, free bytes, free inodes or None): what a copy back needs, and has. None: not counted.
        user (Process): a process that has something of it open. None: there is none, or nobody has looked.
    """

    spec: StatePath
    current: Node
    stored: Node
    manifests: Tuple[Manifest, ...] = ()
    proof: Optional[Manifest] = None
    difference: Optional[Difference] = None
    aside: str = ""
    last_aside: str = ""
    free_aside: str = ""
    removing: bool = False
    leftover_copy: bool = False
    bound: bool = False
    mounter: str = ""
    mounts: Tuple[str, ...] = ()
    unit: Optional[Unit] = None
    overlay: bool = False
    may_mount: bool = True
    writable: bool = True
    same: bool = False
    hidden: Tuple[str, ...] = ()
    empty: bool = False
    fixed: bool = False
    unwritten: bool = False
    scan: ScanResult = ScanResult()
    room: Optional[Tuple[int, int, Optional[int]]] = None
    user: Optional[Process] = None


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
    plan = ListPlan([], [], [])
    for path in paths:
        place = store_path + path.spec.path
        if path.stored.kind == NONE and path.current.kind == NONE:
            if path.spec.missing != "ignore":
                plan.warnings.append("{}: neither the image nor the store has it; not linked.".format(printable(path.spec.path)))
            plan.paths.append(result(path, "missing"))
            continue
        _refuse(path, place)
        if path.spec.method == "bind":
            _plan_bind(path, place, plan)
        else:
            _plan_symlink(path, place, plan)
    refuse_untouchable(paths, plan)
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
    empty = path.empty and path.current.kind == DIRECTORY and not path.bound
    uncovered = path.bound or bool(path.mounter)
    proofs = proofs if path.overlay else ()
    plan.steps.append(SetAside(spec, path.free_aside, path.overlay, proofs, empty, uncovered, _fast(path)))
    if path.overlay and (empty or (path.proof is not None and path.current.kind == DIRECTORY)):
        return "discarded", ""
    return "kept", path.free_aside


def has_diverged(path):
    """bool: whether what stands at a state path is neither what was seeded nor what the image has, as far as that is known.

    It may be newer than the store's: an application may have replaced the link.
    """
    return path.current.real and not (path.bound or path.removing) and path.proof is None and bool(path.aside or path.difference)


def refuse_untouchable(paths, plan):
    """Refuse a plan that would change a directory which this process may not change, or what is in use. Raises LinkError."""
    touched = {step.spec.path for step in plan.steps}
    moved = {step.spec.path for step in plan.steps if not isinstance(step, BOOKKEEPING)}
    for path in paths:
        if path.user and path.spec.path in moved:
            raise LinkError(path.spec.path, "it is in use: {}".format(path.user.describe()), path.user.hint)
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
    if path.same:
        raise LinkError(
            path.spec.path,
            "it is the store's own copy already, as its directory leads into the store",
            "Take it out of cm_persist_paths, or unmount that directory.",
        )
    if path.mounts and not path.bound:
        raise LinkError(
            path.spec.path,
            "something is mounted at {}".format(", ".join(path.mounts)),
            "Unmount it, or, as it outlives the container by itself, take the path out of cm_persist_paths.",
        )


def _plan_symlink(path, place, plan):
    if path.bound:
        raise LinkError(
            path.spec.path, "the store is mounted there (bind)", "Restore it first (restore.yml), or keep the method bind."
        )
    if path.mounter == BY_UNIT:  # its mount is gone, and would come back at the next boot
        plan.steps.append(RemoveUnit(path.spec))
    if path.current.kind == LINK:
        if path.mounter:
            plan.steps.append(ForgetMount(path.spec))
        if path.removing or path.leftover_copy:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(result(path, "already", "kept" if path.aside else "none", path.aside))
        return
    fate, aside, diverged = _what_stood_there(path, plan)
    if path.current.real:
        fate, aside = get_out_of_the_way(path, plan)
    plan.steps.append(MakeLink(path.spec, place))
    if path.mounter:
        plan.steps.append(ForgetMount(path.spec))
    if path.removing or path.leftover_copy or (path.overlay and path.current.real):
        plan.steps.append(Clear(path.spec))
    plan.paths.append(result(path, "linked", fate, aside, diverged))


def _plan_bind(path, place, plan):
    if path.bound:
        if not path.mounter:
            plan.steps.append(NoteMount(path.spec, place, BY_START))
        elif path.mounter == BY_UNIT and path.unit and not path.unit.current:
            plan.steps.append(BindByUnit(path.spec, place, path.unit, False))
        if path.removing or path.leftover_copy:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(result(path, "already", "kept"))
        return
    if path.current.kind == LINK:
        raise LinkError(
            path.spec.path, "it is a symbolic link into the store", "Restore it first (restore.yml), then choose bind."
        )
    if not path.may_mount and not path.unit:
        raise LinkError(
            path.spec.path,
            "this process may not mount the store over it",
            "Give the container the capability SYS_ADMIN, or use the method symlink.",
        )
    if path.hidden:
        raise LinkError(
            path.spec.path,
            "something is mounted in the store at {}, which a bind mount does not show".format(", ".join(path.hidden)),
            "Unmount it, or use the method symlink.",
        )
    # Where there is a unit, it has to be known until it is removed, whoever mounts this time.
    plan.steps.append(NoteMount(path.spec, place, BY_UNIT if path.unit or path.mounter == BY_UNIT else BY_START))
    # What may be newer is not left where the mount hides it, unless that takes a copy; half an original never is.
    diverged = has_diverged(path) and not path.empty
    stays = path.current.real and not path.removing and (path.overlay or not diverged)
    if stays:
        fate, aside = "kept", ""
        if diverged:
            plan.warnings.append(_warn_of_divergence(path, "it stays under the mount"))
    else:
        fate, aside, diverged = _what_stood_there(path, plan)
        if path.current.real:
            fate, aside = get_out_of_the_way(path, plan)
        plan.steps.append(MakeMountPoint(path.spec, place))
    new = stays and not path.mounter
    plan.steps.append(BindByUnit(path.spec, place, path.unit, new) if path.unit else Bind(path.spec, place, new))
    if path.removing or path.leftover_copy:
        plan.steps.append(Clear(path.spec))
    plan.paths.append(result(path, "linked", fate, aside, diverged))


def _what_stood_there(path, plan):
    """tuple: (str, str, bool), the fate of what an earlier run kept, where that is, and whether something may be newer than the
    store's; if so, plan gets a warning."""
    if has_diverged(path):
        plan.warnings.append(_warn_of_divergence(path, "it is kept at {}".format(printable(path.free_aside))))
        return "kept", path.free_aside, True
    if path.current.kind == NONE and path.last_aside:
        newer = path.difference is not None or path.last_aside != path.aside
        if newer:
            text = "{}: an earlier run kept what stood there at {}; it may be newer than the store's, which is used."
            plan.warnings.append(text.format(printable(path.spec.path), printable(path.last_aside)))
        return "kept", path.last_aside, newer
    return ("kept", path.aside, False) if path.aside else ("none", "", False)


def _warn_of_divergence(path, fate):
    what = "something replaced the link by content of its own" if path.aside else "what stands there is not what was seeded"
    if path.difference is not None:
        where = "it" if path.difference.path == b"." else printable(path.difference.path) + " in it"
        what += " (first difference: {} is {})".format(where, path.difference.found)
    return "{}: {}; {}, and the store's is used.".format(printable(path.spec.path), what, fate)


def _fast(path):
    if any(manifest.of_image for manifest in path.manifests):
        return "where it is as the image's list says, nothing is copied (make the list anew, by container/build, with the image)"
    if path.manifests:
        return "where it is as it was seeded, as in a container that is new from the same image, nothing is copied"
    return "where container/Containerfile has listed what the image holds, nothing is copied"
