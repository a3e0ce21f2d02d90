# SPDX-License-Identifier: Apache-2.0
"""What a start refuses of a state path that it is to link. The report of the status asks the same. Pure: no disk is touched."""

from ..errors import LinkError
from ..fs.node import LINK, NONE
from .seen import LinkSeen

MAY_MOUNT = "Give the container the capability SYS_ADMIN, or use the method symlink."


def refuse_stored(path: LinkSeen, stored_path: str):
    """Refuse anything in the store that is neither a directory nor a file. Raises LinkError."""
    if path.stored.kind != NONE and not path.stored.real:
        found = "the store has a {} there".format(path.stored.kind)
        raise LinkError(stored_path, found, "Remove it, after a look at where it came from.")


def refuse_current(path: LinkSeen, stored_path: str):
    """Refuse a state path that is neither content of its own nor the link into the store. Raises LinkError."""
    if path.current.kind == LINK and path.current.target != stored_path:
        found = "it is a symbolic link to {}".format(path.current.target)
        raise LinkError(path.spec.path, found, "Name the path that it leads to, or remove the link.")
    if path.current.kind not in (NONE, LINK) and not path.current.real:
        raise LinkError(path.spec.path, "it is a {}".format(path.current.kind), "Name a directory or a file.")


def refuse_nothing_stored(path: LinkSeen, stored_path: str):
    """Refuse a state path that the store does not have: no link is ever made to nothing. Raises LinkError."""
    if path.stored.kind == NONE:
        raise LinkError(path.spec.path, "the store has nothing to link to at {}".format(stored_path), how_to_begin_again(path))


def refuse_mismatch(path: LinkSeen):
    """Refuse content at a state path that the store's copy cannot take the place of. Raises LinkError."""
    if path.current.real and path.current.kind != path.stored.kind:
        found = "it is a {}, but a {} in the store".format(path.current.kind, path.stored.kind)
        raise LinkError(path.spec.path, found, "Mount the right volume, or move it away.")
    if path.at_path.is_store_copy:
        found = "it is the store's own copy already, as its directory leads into the store"
        raise LinkError(path.spec.path, found, "Take it out of cm_persist_paths, or unmount that directory.")
    if path.mount.others and not path.mount.bound:
        hint = "Unmount it, or, as it outlives the container by itself, take the path out of cm_persist_paths."
        raise LinkError(path.spec.path, "something is mounted at {}".format(", ".join(path.mount.others)), hint)


def refuse_unmountable(path: LinkSeen):
    """Refuse to mount the store's copy where that is impossible, or would hide what is mounted in the store. Raises LinkError."""
    if path.current.kind == LINK:
        hint = "Restore it first (restore.yml), then choose bind."
        raise LinkError(path.spec.path, "it is a symbolic link into the store", hint)
    if not path.mount.may_mount and not path.mount.unit:
        raise LinkError(path.spec.path, "this process may not mount the store over it", MAY_MOUNT)
    if path.mount.hidden:
        found = "something is mounted in the store at {}, which a bind mount does not show".format(", ".join(path.mount.hidden))
        raise LinkError(path.spec.path, found, "Unmount it, or use the method symlink.")


def has_diverged(path: LinkSeen) -> bool:
    """True if nothing proves that the content at a state path is what was seeded or what the image has.

    It may be newer than the store's: an application may have replaced the link, or have worked there without the store.
    """
    if not path.current.real or path.mount.bound or path.notes.removal_begun:
        return False
    evidence = path.evidence
    return evidence.proof is None and (evidence.compared or bool(path.aside or evidence.difference))


def how_to_begin_again(path: LinkSeen) -> str:
    """What to do where the store does not have what a state path needs: a hint."""
    mount = "Mount the volume that holds it; or, to begin again, "
    if path.aside:
        return mount + "remove the link and move {} back to {}.".format(path.aside, path.spec.path)
    if path.current.kind == LINK:
        return mount + "re-create the container from its image."
    return "Run persist_seed first."
