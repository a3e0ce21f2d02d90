# SPDX-License-Identifier: Apache-2.0
"""The steps that point a state path at the store, and the run that they share.

No system call turns a directory into a link at once (and on overlayfs a directory of the image cannot even be renamed), so each
step leaves a state that the next start recognises, with the store as the truth:

    original              ->  kept under another name or removed, then linked
    original and a note   ->  its removal was interrupted: the rest is removed, then linked
    nothing               ->  linked
    the link and a note   ->  the note is removed
    the link              ->  nothing to do

Mounts instead of links are in bind.py, the way back is in restore_plan.py and restore_steps.py.
"""

import errno
import os
import stat
from typing import NamedTuple, Optional, Tuple

from ..errors import LinkError, because, printable
from ..fs import syscalls
from ..fs.dirfd import Opened, lstat, open_directory
from ..fs.mkdirs import make_parents
from ..fs.node import DIRECTORY, FILE, ParentDir
from ..fs.rmtree import remove_tree
from ..original.notes import copy_name, kept_name, path_next_to, read_removal, remove_notes, write_kept, write_removal
from ..original.pristine import Manifest, difference, find_proof
from ..paths import StatePath
from ..store.layout import MANIFEST, TREE
from ..tree.manifest import OTHER_CONTENT, Scrutiny
from .copy_aside import copied_next_to

NO_MANIFEST = Manifest("")  # which equals nothing
COPIED = "{}: the original had to be copied to {}, as it cannot be renamed; {}."
AS_ROOT_TO_WRITE = "Run as root (become: true), on a writable file system."
MAKE_ROOM = "Free some space there, then start again."
HINTS = {
    errno.EBUSY: "It is in use or a mount point: stop what uses it, or unmount it.",
    errno.EACCES: AS_ROOT_TO_WRITE,
    errno.EPERM: AS_ROOT_TO_WRITE,
    errno.EROFS: AS_ROOT_TO_WRITE,
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EXDEV: "It lies in a layer of the image: re-create the container, or restore what the store has.",
}


class LinkRun:
    """What the steps of one run share. fates maps a state path to ("kept", where), ("discarded", None) or ("none", None), as it
    really happened; store is None where no step needs it."""

    def __init__(self, store, machine):
        self.store, self.release, self.systemd = store, machine.release, machine.systemd
        self.fates, self.warnings = {}, []

    def failed(self, step, error: OSError) -> LinkError:
        """The error for a step that failed; the next run starts from what the step left."""
        hint = HINTS.get(error.errno, "Fix the cause, then start again.")
        return LinkError(step.spec.path, "cannot {}: {}".format(step.describe(), because(error)), hint)

    def abandon(self):
        """Keep what a failed run left: the next one recognises it."""

    def with_fate(self, result: dict) -> dict:
        """The result of a state path, with what became of its original as it turned out."""
        fate, where = self.fates.get(result["path"], (None, None))
        return dict(result, original=fate, aside=where) if fate else result


class Discard(NamedTuple):
    """Remove an original that the image has: only on overlayfs, which could not get it out of the way without a copy. If its
    content turns out to be another, keep it at the path aside, by a copy."""

    spec: StatePath
    manifest: Manifest
    aside: str
    avoid_copy: str

    def describe(self):
        return "remove the original {}: it is as in the image, which keeps it".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            _remove_or_copy(self, (self.manifest,), parent, run)


class SetAside(NamedTuple):
    """Get an original out of the way of its link: by a rename; where overlayfs refuses that, by removing it if it is proved to
    exist elsewhere; otherwise by a copy."""

    spec: StatePath
    aside: str  # the path to keep it at
    overlay: bool
    manifests: Tuple[Manifest, ...] = ()  # those that list the original or, while a mount hides it, that might
    empty: bool = False  # it holds nothing
    uncovered: bool = False  # a mount hid it: it may be no more than a mount point
    avoid_copy: str = ""  # how a copy could be avoided, for the warning

    def describe(self):
        keep = "rename the original {} to {}".format(printable(self.spec.path), printable(self.aside))
        if not self.overlay:
            return keep
        if self.empty:
            return keep + "; where overlayfs cannot, remove it, as it is empty"
        if self.manifests:
            return keep + "; where overlayfs cannot, remove it, if it is as it was seeded or as in the image"
        return keep + "; where overlayfs cannot, copy it there"

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            if self.uncovered and remove_empty(parent):
                run.fates[self.spec.path] = ("none", None)
            elif self._rename(parent):
                run.fates[self.spec.path] = ("kept", self.aside)
            else:
                # EXDEV also comes from project quotas: there no layer of an image has the content, so it must not be removed.
                _remove_or_copy(self, self.manifests if self.overlay else (), parent, run)

    def _rename(self, parent) -> bool:
        try:
            syscalls.rename_noreplace(parent.name, os.fsencode(os.path.basename(self.aside)), parent.fd, parent.fd)
        except OSError as error:
            if error.errno != errno.EXDEV:  # overlayfs, for what lies in a lower layer
                raise
            return False
        os.fsync(parent.fd)
        return True


class FinishRemoval(NamedTuple):
    """Complete the removal of an original that a killed run left; content that was put there since is kept."""

    spec: StatePath
    aside: str

    def describe(self):
        return "remove the rest of the original {}, which an earlier run left".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            manifest, kept = read_removal(parent)
            published = not kept or _publish_aside(parent, kept)
            left = Scrutiny(removal_begun=True, content=True)
            if published and difference(manifest, (parent.fd, parent.name), left) is None:
                run.fates[self.spec.path] = ("kept", kept) if kept else ("discarded", None)
            else:
                _copy_aside(self.spec, self.aside, parent, run)
                why = "something changed it while it was removed"
                run.warnings.append(COPIED.format(printable(self.spec.path), printable(self.aside), why))
            remove_original(parent)


class MakeLink(NamedTuple):
    """Make the symbolic link."""

    spec: StatePath
    stored_path: str

    def describe(self):
        return "link {} to {}".format(printable(self.spec.path), printable(self.stored_path))

    def execute(self, run):
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as parent:
            os.symlink(self.stored_path, parent.name, dir_fd=parent.fd)  # which replaces nothing
            os.fsync(parent.fd)


class NoteKept(NamedTuple):
    """Note that content which may be newer is being moved aside: should this run be killed, the next one says so."""

    spec: StatePath

    def describe(self):
        return "note next to {} that its content is kept".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            write_kept(parent)


class ForgetKept(NamedTuple):
    """Remove the note of kept content, after all other steps: this run says what was kept."""

    spec: StatePath

    def describe(self):
        return "remove the note next to {} that its content is kept".format(printable(self.spec.path))

    def execute(self, run):
        # The last change of all, and not synced: should the note come back, the next run says it once more.
        with ParentDir(self.spec.path) as parent:
            remove_tree(parent.fd, kept_name(parent.name))


class Clear(NamedTuple):
    """Remove what a killed run left next to a state path, once nothing of it is needed."""

    spec: StatePath

    def describe(self):
        return "remove the notes next to {} that complete an interrupted run".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            remove_notes(parent)


def as_in_store(step):
    """A function for make_parents(), which gives the owner and mode that the same directory has in the store. The step has spec
    and stored_path."""
    store_path = step.stored_path[: -len(step.spec.path)]

    def model(path):
        status = os.stat(store_path + path)
        return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)

    return model


def remove_original(parent: ParentDir):
    """Remove the content of a state path, after its caller has written the note of the removal. The note stays until the link is
    made: without a store, an empty path must not look like one that was never linked."""
    remove_tree(parent.fd, parent.name)
    os.fsync(parent.fd)


def remove_empty(parent: ParentDir) -> bool:
    """Remove an empty directory or file at a state path; True if there was one."""
    node = parent.look_inside()
    if node.kind == FILE and not os.stat(parent.name, dir_fd=parent.fd, follow_symlinks=False).st_size:
        os.unlink(parent.name, dir_fd=parent.fd)
    elif node.kind == DIRECTORY and node.empty:
        os.rmdir(parent.name, dir_fd=parent.fd)
    else:
        return False
    os.fsync(parent.fd)
    return True


def _remove_or_copy(step, manifests: Tuple[Manifest, ...], parent, run):
    """Remove an original that one of the manifests lists, content included, or that is empty; otherwise copy it aside first."""
    proof, found = find_proof(manifests, parent, content=True)
    if proof is not None or parent.look_inside().empty:
        _discard(step.spec, proof, parent, run)
        return
    _copy_aside(step.spec, step.aside, parent, run)
    why = step.avoid_copy
    if found is not None and found.found == OTHER_CONTENT:
        where = "it" if found.path == b"." else printable(found.path) + " in it"
        why = "size and time of {} are as listed, and its content is another, or too large for a proof".format(where)
    run.warnings.append(COPIED.format(printable(step.spec.path), printable(step.aside), why))
    remove_original(parent)


def _discard(spec, manifest: Optional[Manifest], parent, run):
    write_removal(parent, manifest or NO_MANIFEST, None)
    run.fates[spec.path] = ("discarded", None)
    if manifest is None:  # it should be empty: rmdir(2) fails if it is not
        os.rmdir(parent.name, dir_fd=parent.fd)
    remove_original(parent)


def _copy_aside(spec, aside, parent, run):
    with copied_next_to(parent, parent.fd, spec.path, run.release) as (_private, warnings):
        run.warnings.extend(warnings)
    # The note before the name: from here on a killed run is completed, not started over. The copy's manifest stays with it until
    # the original is gone: it says what may be removed.
    copied = os.path.join(path_next_to(parent, copy_name(parent.name)), os.fsdecode(MANIFEST))
    write_removal(parent, Manifest(copied), aside)
    if not _publish_aside(parent, aside):
        raise LinkError(aside, "something was put there just now", "Find out by whom, then start again.")
    run.fates[spec.path] = ("kept", aside)


def _publish_aside(parent, aside) -> bool:
    """True if the copy is where its note says: now, or since before. False if another program took that name."""
    name = os.fsencode(os.path.basename(aside))
    try:
        private = open_directory(parent.fd, copy_name(parent.name), parent.directory)
    except FileNotFoundError:
        return lstat(name, parent.fd) is not None
    with Opened(private) as fd:
        if lstat(TREE, fd) is None:
            return lstat(name, parent.fd) is not None
        try:
            syscalls.rename_noreplace(TREE, name, fd, parent.fd)
        except FileExistsError:
            return False
        os.fsync(parent.fd)
        return True
