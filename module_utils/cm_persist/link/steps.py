# SPDX-License-Identifier: Apache-2.0
"""The operations that point a state path at the store. A plan is a list of them; each can tell what it does, and do it.

No instruction turns a directory into a link at once (and on overlayfs a directory of the image cannot even be
renamed), so each operation leaves a state that the next start recognises, with the store as the truth:

    original              ->  set aside or discarded, then linked
    original and a note   ->  its removal had begun: removed to the end, then linked
    nothing               ->  linked
    the link and a note   ->  the note is removed
    the link              ->  nothing to do

Mounts in the place of links are in bind_steps.py, the way back in restore_steps.py.
"""

import errno
import os
import stat
from typing import NamedTuple, Optional, Tuple

from ..errors import LinkError, because, printable
from ..fs import syscalls
from ..fs.dirfd import lstat, open_directory
from ..fs.mkdirs import make_parents
from ..fs.node import DIRECTORY, FILE, ParentDir
from ..fs.rmtree import remove_tree
from ..original.notes import copy_name, read_removal, remove_notes, write_removal
from ..original.pristine import Manifest, difference, find_proof
from ..paths import StatePath
from ..store.layout import MANIFEST, TREE
from .copy_aside import copy_beside

NO_MANIFEST = Manifest("")  # which equals nothing
COPIED = "{}: the original had to be copied to {}, as it cannot be renamed; {}."


class LinkRun:
    """What the operations of one run share.

    Attributes:
        store (Store): open; None for operations that need none.
        release (str): the kernel's release.
        systemd (Systemd): manages mount units.
        fates (dict): state path to ("kept", where) or ("discarded", None), as it turned out.
        warnings (list of str): what turned up on the way.
    """

    def __init__(self, store, release, systemd):
        self.store, self.release, self.systemd, self.fates, self.warnings = store, release, systemd, {}, []


class Discard(NamedTuple):
    """Remove an original that the image has: for where that is overlayfs, which can only copy it to get it out of the way."""

    spec: StatePath
    manifest: Manifest

    def describe(self):
        """str: what will be done."""
        return "remove the original {}: it is as in the image, which keeps it".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            _discard(self.spec, self.manifest, image, run)


class SetAside(NamedTuple):
    """Get an original out of the way of its link by a rename; where overlayfs cannot, by removing what is proved to be elsewhere;
    else by a copy.

    manifests are those that list the original, or, as long as a mount hides it, that may; empty says that there is nothing in
    it; uncovered that a mount hid it, and that it may be no more than a mount point; fast what would spare the copy.
    """

    spec: StatePath
    aside: str
    overlay: bool
    manifests: Tuple[Manifest, ...] = ()
    empty: bool = False
    uncovered: bool = False
    fast: str = ""

    def describe(self):
        """str: what will be done."""
        keep = "rename the original {} to {}".format(printable(self.spec.path), printable(self.aside))
        if not self.overlay:
            return keep
        if self.empty:
            return keep + "; where overlayfs cannot, remove it, as it is empty"
        if self.manifests:
            return keep + "; where overlayfs cannot, remove it, if it is as it was seeded or as in the image"
        return keep + "; where overlayfs cannot, copy it there"

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            if self.uncovered and remove_empty(image):
                run.fates[self.spec.path] = ("none", None)
                return
            try:
                syscalls.rename_noreplace(image.name, os.fsencode(os.path.basename(self.aside)), image.fd, image.fd)
            except OSError as error:
                if error.errno != errno.EXDEV:  # overlayfs, for what lies in a lower layer
                    raise
            else:
                os.fsync(image.fd)
                run.fates[self.spec.path] = ("kept", self.aside)
                return
            # Elsewhere than on overlayfs (a project quota, say) no image has what would be removed here.
            proof = find_proof(self.manifests, image)[0] if self.overlay else None
            if proof is not None or (self.overlay and image.look_inside().empty):
                _discard(self.spec, proof, image, run)
            else:
                _copy_aside(self.spec, self.aside, image, run)
                run.warnings.append(COPIED.format(printable(self.spec.path), printable(self.aside), self.fast))
                remove_original(image)


class FinishRemoval(NamedTuple):
    """Go on with the removal of an original that a killed run began."""

    spec: StatePath
    aside: str

    def describe(self):
        """str: what will be done."""
        return "remove the rest of the original {}, which an earlier run began".format(printable(self.spec.path))

    def execute(self, run):
        """Do it; should something have been put there since, that is kept."""
        with ParentDir(self.spec.path) as image:
            manifest, kept = read_removal(image)
            published = not kept or _publish_aside(image, kept)
            if published and difference(manifest, image, removal_begun=True) is None:
                run.fates[self.spec.path] = ("kept", kept) if kept else ("discarded", None)
            else:
                _copy_aside(self.spec, self.aside, image, run)
                why = "something changed it while it was removed"
                run.warnings.append(COPIED.format(printable(self.spec.path), printable(self.aside), why))
            remove_original(image)


class MakeLink(NamedTuple):
    """Make the symbolic link."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "link {} to {}".format(printable(self.spec.path), printable(self.place))

    def execute(self, run):
        """Do it. symlink(2) replaces nothing."""
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as image:
            os.symlink(self.place, image.name, dir_fd=image.fd)
            os.fsync(image.fd)


class Clear(NamedTuple):
    """Remove what a killed run left beside a state path, once nothing of it is needed."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "remove the notes beside {} by which a killed run is finished".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            remove_notes(image)


def execute(steps, run):
    """Execute a plan.

    Raises:
        PersistError: a step failed; a new start goes on from what it left.
    """
    for step in steps:
        try:
            step.execute(run)
        except OSError as error:
            hint = "Mend the cause and start again."
            if error.errno == errno.EBUSY:
                hint = "It is in use or a mount point: stop what uses it, or unmount it."
            elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                hint = "Run as root (become: true), on a writable file system."
            elif error.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "Free some space there, then start again."
            elif error.errno == errno.EXDEV:
                hint = "It lies in a layer of the image: re-create the container, or restore what the store has."
            raise LinkError(step.spec.path, "cannot {}: {}".format(step.describe(), because(error)), hint) from error


def as_in_store(step):
    """callable: the owner and mode, as make_parents() asks for them, of the same directory in the store.

    Args:
        step (tuple): an operation with a spec and its place in the store.
    """
    store = step.place[: -len(step.spec.path)]

    def model(path):
        status = os.stat(store + path)
        return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)

    return model


def remove_original(image):
    """Remove what stands at a state path, once it is noted what that is.

    The note stays until the link is made: without a store, nothing at the path must not look like no persistence.
    """
    remove_tree(image.fd, image.name)
    os.fsync(image.fd)


def remove_empty(image):
    """bool: whether an empty directory or file stood at a state path (image is its ParentDir), which is now removed."""
    place = image.look_inside()
    if place.kind == FILE and not os.stat(image.name, dir_fd=image.fd, follow_symlinks=False).st_size:
        os.unlink(image.name, dir_fd=image.fd)
    elif place.kind == DIRECTORY and place.empty:
        os.rmdir(image.name, dir_fd=image.fd)
    else:
        return False
    os.fsync(image.fd)
    return True


def _discard(spec, manifest: Optional[Manifest], image, run):
    # Once more, now that nothing comes between: what was planned may be some time ago. Without a manifest it is empty, and
    # removing a directory that is not fails.
    if manifest is not None:
        found = difference(manifest, image)
        if found is not None:
            where = "it" if found.path == b"." else printable(found.path) + " in it"
            raise LinkError(
                spec.path, "{} is {} since a moment ago".format(where, found.found), "Stop what writes there, then start again."
            )
    write_removal(image, manifest or NO_MANIFEST, None)
    run.fates[spec.path] = ("discarded", None)
    if manifest is None:
        os.rmdir(image.name, dir_fd=image.fd)
    remove_original(image)


def _copy_aside(spec, aside, image, run):
    private, warnings = copy_beside(image.fd, image, spec.path, run.release)
    os.close(private)
    run.warnings.extend(warnings)
    # The note before the name: from here on a killed run is finished, not begun again. The copy's manifest stays with
    # it until the original is gone: it says what may be removed.
    copied = os.path.join(image.directory, *map(os.fsdecode, (copy_name(image.name), MANIFEST)))
    write_removal(image, Manifest(copied), aside)
    if not _publish_aside(image, aside):
        raise LinkError(aside, "something was put there just now", "Find out by whom, then start again.")
    run.fates[spec.path] = ("kept", aside)


def _publish_aside(image, aside):
    """bool: whether the copy is where its note says: now, or since before. Not where someone else took that name."""
    name = os.fsencode(os.path.basename(aside))
    try:
        private = open_directory(image.fd, copy_name(image.name), image.directory)
    except FileNotFoundError:
        return lstat(name, image.fd) is not None
    try:
        if lstat(TREE, private) is None:
            return lstat(name, image.fd) is not None
        syscalls.rename_noreplace(TREE, name, private, image.fd)
        os.fsync(image.fd)
        return True
    except FileExistsError:
        return False
    finally:
        os.close(private)
