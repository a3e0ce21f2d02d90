# SPDX-License-Identifier: Apache-2.0
"""From what was seen at the state paths to what will be done to take them off the store. Pure: no disk is touched."""

import contextlib
import os
from typing import NamedTuple

from ..errors import LinkError, printable
from ..fs import syscalls
from ..fs.mkdirs import make_parents
from ..fs.node import LINK, NONE, ParentDir
from ..fs.rmtree import remove_tree
from ..original.notes import BY_UNIT, bound_name, removal_name, remove_notes
from ..paths import StatePath
from ..plan import ListPlan
from ..store.layout import TREE
from ..tree.scan import BLOCK
from .bind import ForgetMount, RemoveUnit, Unmount
from .copy_aside import copy_beside
from .plan import begin_again, get_out_of_the_way, refuse_untouchable, result
from .steps import Clear, FinishRemoval, as_in_store, remove_empty

STORE, ASIDE, NEWEST = "store", "aside", "newest"
BOOKS_OF_A_COPY = 4  # its private directory, pool, manifest, and the note of a removal
NEXT_START = (
    "{}: a start with this store links it again, and uses the store's content; to prevent that, take it out of cm_persist_paths, "
    "or start without the store."
)


def plan_restore(store_path, paths, restore):
    """Decide how each state path gets content of its own.

    Args:
        store_path (str): the store.
        paths (list of LinkSeen): the state paths, in the user's order.
        restore (str): STORE for the store's content; ASIDE for the original that was kept aside; NEWEST for the latter if nothing
            was written to the store since, else for the former.

    Returns:
        Plan: without steps where none leads into the store.

    Raises:
        LinkError: a refusal; nothing must be changed.
    """
    plan = ListPlan([], [], [])
    copies = []
    for path in paths:
        place = store_path + path.spec.path
        linked = path.current.kind == LINK and path.current.target == place
        stale = path.bound or (path.current.real and bool(path.mounter or path.removing))
        if path.current.kind == LINK and not linked:
            raise LinkError(
                path.spec.path,
                "it is a symbolic link to {}, not to {}".format(path.current.target, place),
                "Name the store that it leads to in cm_persist_store, or take the path out of cm_persist_paths.",
            )
        if stale and path.mounts:
            raise LinkError(
                path.spec.path, "something is mounted at {}".format(", ".join(path.mounts)), "Unmount it, then start again."
            )
        if linked or stale or _cut_off(path):
            if restore == ASIDE or path.unwritten:
                _plan_return(path, place, stale, plan)
            else:
                _plan_copy_back(path, place, stale, plan)
                copies.append(path)
            plan.warnings.append(NEXT_START.format(printable(path.spec.path)))
            continue
        if path.leftover_copy:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(result(path, "missing" if path.current.kind == NONE else "already"))
    refuse_untouchable(paths, plan)
    _refuse_without_room(copies)
    return plan


def _cut_off(path):
    # Nothing there, and a trace of an earlier run, or content in the store: such a run was killed between two names.
    traces = path.stored.kind != NONE or path.aside or path.leftover_copy or path.removing or path.mounter
    return path.current.kind == NONE and bool(traces)


def _plan_copy_back(path, place, stale, plan):
    if not path.stored.real:
        raise LinkError(path.spec.path, "the store has nothing to put back at {}".format(place), begin_again(path))
    if path.fixed:
        raise LinkError(
            place,
            "it is itself immutable or append-only (lsattr), and so would its copy be",
            "Clear that with chattr -ia, on it alone.",
        )
    fate, aside = "kept" if path.aside else "none", path.aside
    if path.bound:
        plan.steps.append(Unmount(path.spec))
    if stale:
        fate, aside = get_out_of_the_way(path, plan)
    if path.mounter == BY_UNIT:
        plan.steps.append(RemoveUnit(path.spec))
    plan.steps.append(CopyBack(path.spec, place))
    plan.paths.append(result(path, "unlinked", fate, aside))


def _plan_return(path, place, stale, plan):
    if path.removing and not path.aside:
        raise LinkError(
            path.spec.path,
            "its original is removed, half or whole, as the image has it",
            "Re-create the container from its image without the volume, or restore what the store has.",
        )
    if path.bound or (stale and not path.removing):  # the original lies under the mount, or did
        if path.bound:
            plan.steps.append(Unmount(path.spec))
        if path.mounter == BY_UNIT:
            plan.steps.append(RemoveUnit(path.spec))
        if path.aside:
            plan.steps.append(ReturnUncovered(path.spec, place, path.aside))
        plan.steps.append(ForgetMount(path.spec))
        if path.leftover_copy or path.removing:
            plan.steps.append(Clear(path.spec))
        plan.paths.append(result(path, "unlinked"))
        return
    if not path.aside:
        raise LinkError(
            path.spec.path,
            "no original is kept beside it, as the image has it",
            "Re-create the container from its image without the volume, restore what the store has, or name in cm_persist_paths "
            "those alone that have one.",
        )
    if path.mounter == BY_UNIT:
        plan.steps.append(RemoveUnit(path.spec))
    if path.removing and path.current.real:
        plan.steps.append(FinishRemoval(path.spec, path.free_aside))
    plan.steps.append(ReturnAside(path.spec, place, path.aside))
    if path.mounter:
        plan.steps.append(ForgetMount(path.spec))
    if path.leftover_copy or path.removing:
        plan.steps.append(Clear(path.spec))
    if path.last_aside not in ("", path.aside):
        plan.warnings.append("{}: more is kept, last at {}.".format(printable(path.spec.path), printable(path.last_aside)))
    if path.difference is not None:
        plan.warnings.append(
            "{}: what is put back from {} is not what was seeded.".format(printable(path.spec.path), printable(path.aside))
        )
    plan.paths.append(result(path, "unlinked"))


def _refuse_without_room(copies):
    counted = [path for path in copies if path.room is not None]
    for device in {path.room[0] for path in counted}:
        there = [path for path in counted if path.room[0] == device]
        _device, free_bytes, free_inodes = there[0].room
        books = BOOKS_OF_A_COPY * len(there)
        need_bytes = sum(path.scan.space + path.scan.lines for path in there) + books * BLOCK
        need_inodes = sum(path.scan.inodes for path in there) + books
        short = []
        if need_bytes > free_bytes:
            short.append("{} bytes needed, {} free".format(need_bytes, free_bytes))
        if free_inodes is not None and need_inodes > free_inodes:
            short.append("{} inodes needed, {} free".format(need_inodes, free_inodes))
        if short:
            raise LinkError(
                there[0].spec.path,
                "its file system is too small for what the store has: {}".format("; ".join(short)),
                "Free some space there; or restore the original that is kept aside (restore: aside).",
            )


class CopyBack(NamedTuple):
    """Put a copy of the store's content, which is the newest, at the state path."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "copy {} back to {}".format(printable(self.place), printable(self.spec.path))

    def execute(self, run):
        """Do it: all of it is on disk before the link goes."""
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as image:
            stored = run.store.open_parent(self.spec.relative)
            try:
                private, warnings = copy_beside(stored, image, self.place, run.release)
            finally:
                os.close(stored)
            run.warnings.extend(warnings)
            try:
                _unlink(image, self.place)
                # Before the name: with it the notes would say of the new content what they say of the old.
                for note in (bound_name(image.name), removal_name(image.name)):
                    remove_tree(image.fd, note)
                syscalls.rename_noreplace(TREE, image.name, private, image.fd)
                os.fsync(image.fd)
            finally:
                os.close(private)
            remove_notes(image)


class ReturnAside(NamedTuple):
    """Put the original that is kept aside back at the state path, by a rename."""

    spec: StatePath
    place: str
    aside: str

    def describe(self):
        """str: what will be done."""
        return "rename {} back to {}".format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        """Do it; where it cannot be renamed the link is back, as there would be nothing at the path for good."""
        with ParentDir(self.spec.path) as image:
            was_linked = _unlink(image, self.place)
            try:
                syscalls.rename_noreplace(os.fsencode(os.path.basename(self.aside)), image.name, image.fd, image.fd)
            except OSError:
                if was_linked:
                    with contextlib.suppress(FileExistsError):  # what came meanwhile is in the way of either
                        os.symlink(self.place, image.name, dir_fd=image.fd)
                raise
            os.fsync(image.fd)


class ReturnUncovered(NamedTuple):
    """Use what a mount has hidden; where that is no more than a mount point, put the original that is kept aside there."""

    spec: StatePath
    place: str
    aside: str

    def describe(self):
        """str: what will be done."""
        text = "use what lies under the mount; if that is an empty mount point, rename {} back to {}"
        return text.format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            uncovered = remove_empty(image)
        if uncovered:
            ReturnAside(self.spec, self.place, self.aside).execute(run)


def _unlink(image, place):
    # Our link, and nothing that took its place meanwhile: that is for the rename to refuse.
    current = image.look()
    linked = current.kind == LINK and current.target == place
    if linked:
        os.unlink(image.name, dir_fd=image.fd)
    return linked
