# SPDX-License-Identifier: Apache-2.0
"""The operations on state paths. A plan is a list of them; each can tell what it does, and do it.

No instruction turns a directory into a link at once (and on overlayfs a directory of the image cannot even be
renamed), so each operation leaves a state that the next start recognises, with the store as the truth:

    original              ->  set aside or discarded, then linked
    original and a note   ->  its removal had begun: removed to the end, then linked
    nothing               ->  linked
    the link and a note   ->  the note is removed
    the link              ->  nothing to do

Beside a mount lies a note of another kind: a path that lost its mount is told from one that was unlinked.
"""

import errno
import os
import stat
from typing import NamedTuple

from . import syscalls
from .beside import bound_name, clear, copy_beside, copy_name, read_removal, write_removal
from .directories import lstat, open_directory, open_regular, remove_tree
from .durable import write_file
from .errors import LinkError, because, printable
from .manifest import Difference, compare
from .places import LINK, ImageParent, make_parents
from .spec import StatePath
from .staging import MANIFEST, TREE


class LinkRun:
    """What the operations of one run share.

    Attributes:
        store (Store): open.
        release (str): the kernel's release.
        fates (dict): state path to ("kept", where) or ("discarded", None), as it turned out.
        warnings (list of str): what turned up on the way.
    """

    def __init__(self, store, release):
        self.store, self.release, self.fates, self.warnings = store, release, {}, []


class SetAside(NamedTuple):
    """Get an original out of the way of its link: by a rename; else by removing what is provably elsewhere; else by a copy."""

    spec: StatePath
    aside: str
    manifest: str
    overlay: bool

    def describe(self):
        """str: what will be done."""
        keep = "rename the original {} to {}".format(printable(self.spec.path), printable(self.aside))
        if not self.overlay:
            return keep
        if self.manifest:
            return keep + ", or where overlayfs cannot, remove it if it is as it was seeded, else copy it there"
        return keep + ", or copy it there where overlayfs cannot"

    def execute(self, run):
        """Do it."""
        with ImageParent(self.spec.path) as image:
            aside = os.path.basename(self.aside)
            difference = _difference(self.manifest, image)
            try:
                syscalls.rename_noreplace(image.name, os.fsencode(aside), image.fd, image.fd)
            except OSError as error:
                if error.errno != errno.EXDEV:  # overlayfs, for what lies in a lower layer
                    raise
            else:
                os.fsync(image.fd)
                run.fates[self.spec.path] = ("kept", self.aside)
                self._warn(run, difference)
                return
            # Elsewhere than on overlayfs (a project quota, say) no image has what is removed here.
            if self.overlay and (image.look_inside().empty or (self.manifest and difference is None)):
                write_removal(image, self.manifest, None)
                run.fates[self.spec.path] = ("discarded", None)
            else:
                self._warn(run, difference)
                _copy_aside(self, image, run)
            _remove_original(image)

    def _warn(self, run, difference):
        # Without a manifest nothing can be said, and where an original is kept already the plan has said it.
        if difference is not None and self.manifest and self.aside.endswith("-initial"):
            run.warnings.append(
                "{}: what stood there is not what was seeded (first: {} {}); it is kept at {}, and the store's is used.".format(
                    printable(self.spec.path),
                    "the top" if difference.path == b"." else printable(difference.path),
                    difference.found,
                    printable(self.aside),
                )
            )


class FinishRemoval(NamedTuple):
    """Go on with the removal of an original that a killed run began."""

    spec: StatePath
    aside: str
    manifest: str
    overlay: bool

    def describe(self):
        """str: what will be done."""
        return "remove the rest of the original {}, which an earlier run began".format(printable(self.spec.path))

    def execute(self, run):
        """Do it; should something have been put there since, that is kept."""
        with ImageParent(self.spec.path) as image:
            note = read_removal(image)
            if note["aside"] and not _publish_aside(image, note["aside"]):
                _copy_aside(self, image, run)
            elif _difference(note["manifest"], image, begun=True) is None:
                run.fates[self.spec.path] = ("kept", note["aside"]) if note["aside"] else ("discarded", None)
            else:
                _copy_aside(self, image, run)
            _remove_original(image)


class MakeLink(NamedTuple):
    """Make the symbolic link."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "link {} to {}".format(printable(self.spec.path), printable(self.place))

    def execute(self, run):
        """Do it. symlink(2) replaces nothing."""
        make_parents(self.spec.path, _as_in_store(self))
        with ImageParent(self.spec.path) as image:
            os.symlink(self.place, image.name, dir_fd=image.fd)
            os.fsync(image.fd)


class Clear(NamedTuple):
    """Remove what a killed run left beside a state path, once nothing of it is needed."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "remove the notes that were kept beside {} meanwhile".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ImageParent(self.spec.path) as image:
            clear(image)


class MakeMountPoint(NamedTuple):
    """Make the place that the store's copy is mounted over."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "make the mount point {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        make_parents(self.spec.path, _as_in_store(self))
        with ImageParent(self.spec.path) as image:
            if stat.S_ISDIR(os.stat(self.place).st_mode):
                os.mkdir(image.name, 0o700, dir_fd=image.fd)
            else:
                os.close(os.open(image.name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=image.fd))


class Bind(NamedTuple):
    """Mount the store's copy over the state path."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "mount {} over {}".format(printable(self.place), printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        try:
            syscalls.bind_mount(os.fsencode(self.place), os.fsencode(self.spec.path))
        except PermissionError as error:
            with ImageParent(self.spec.path) as image:
                remove_tree(image.fd, bound_name(image.name))
            raise LinkError(
                self.spec.path,
                "the store cannot be mounted over it: {}".format(because(error)),
                "Give the container the capability SYS_ADMIN, or use the method symlink.",
            ) from error
        run.fates[self.spec.path] = ("kept", None)


class NoteMount(NamedTuple):
    """Note beside the state path that it is mounted over: should the mount be lost, it is told from an unlinked path."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "note beside {} that the store is mounted there".format(printable(self.spec.path))

    def execute(self, run):
        """Do it: before the mount, so that there is no moment at which it could be lost without a trace."""
        with ImageParent(self.spec.path) as image:
            write_file(image.fd, bound_name(image.name), b"")


class Unbind(NamedTuple):
    """Unmount the store's copy from the state path."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "unmount {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it: a path in use is busy, and then nothing was changed."""
        syscalls.unmount(os.fsencode(self.spec.path))


class CopyBack(NamedTuple):
    """Put a copy of the store's content, which is the newest, at the state path."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "copy {} back to {}".format(printable(self.place), printable(self.spec.path))

    def execute(self, run):
        """Do it. Should it be cut off between unlink and rename, a new run, to either side, goes on from there."""
        make_parents(self.spec.path, _as_in_store(self))
        with ImageParent(self.spec.path) as image:
            stored = run.store.open_parent(self.spec.relative)
            try:
                private = copy_beside(stored, image, self.place, run.release)
            finally:
                os.close(stored)
            try:
                current = image.look()
                if current.kind == LINK and current.target == self.place:
                    os.unlink(image.name, dir_fd=image.fd)
                remove_tree(image.fd, bound_name(image.name))
                syscalls.rename_noreplace(TREE, image.name, private, image.fd)
                os.fsync(image.fd)
            finally:
                os.close(private)
            clear(image)


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
            raise LinkError(step.spec.path, "cannot {}: {}".format(step.describe(), because(error)), hint) from error


def _as_in_store(step):
    # A directory that the image does not have gets the owner and mode of the same one in the store.
    store = step.place[: -len(step.spec.path)]

    def model(path):
        status = os.stat(store + path)
        return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)

    return model


def _difference(manifest, image, begun=False):
    """Difference: the first between what stands at a state path and a manifest; None where there is none."""
    try:
        # Not blocking: what stands there on a hostile volume may be a FIFO, which then has nothing to say.
        with open(open_regular(manifest), "rb") as file:
            return compare(file, image.fd, image.name, begun)
    except OSError as error:
        # Whatever cannot be compared is not provably the same.
        return Difference(b".", "cannot be compared, {}".format(because(error)))


def _copy_aside(step, image, run):
    private = copy_beside(image.fd, image, step.spec.path, run.release)
    os.close(private)
    # The note before the name: from here on a killed run is finished, not begun again. The copy's manifest stays with
    # it until the original is gone: it says what may be removed.
    write_removal(image, os.path.join(image.directory, *map(os.fsdecode, (copy_name(image.name), MANIFEST))), step.aside)
    if not _publish_aside(image, step.aside):
        raise LinkError(step.aside, "something was put there just now", "Find out by whom, then start again.")
    run.fates[step.spec.path] = ("kept", step.aside)
    found = "{}: the original had to be copied to {}, as it cannot be renamed".format(
        printable(step.spec.path), printable(step.aside)
    )
    if step.manifest and step.overlay:
        found += "; where it is as it was seeded, as in a container that is new from the image, nothing is copied"
    run.warnings.append(found + ".")


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


def _remove_original(image):
    # The note stays until the link is made: without a store, nothing at the path must not look like no persistence.
    remove_tree(image.fd, image.name)
    os.fsync(image.fd)
