# SPDX-License-Identifier: Apache-2.0
"""The operations on state paths. A plan is a list of them; each can tell what it does, and do it.

No instruction turns a directory into a link at once (and on overlayfs a directory of the image cannot even be
renamed), so each operation leaves a state that the next start recognises, with the store as the truth:

    original              ->  set aside or discarded, then linked
    original and a note   ->  its removal had begun: removed to the end, then linked
    nothing               ->  linked
    the link and a note   ->  the note is removed
    the link              ->  nothing to do
"""

import errno
import json
import os
import stat
from typing import NamedTuple

from . import syscalls
from .directories import lstat, remove_tree
from .durable import sync_tree, write_file
from .errors import CopyError, LinkError, StoreError, because, printable
from .manifest import compare
from .places import ImageParent, aside_name, look, make_parents, removal_name
from .spec import StatePath
from .treecopy import copy_tree

TREE, MANIFEST = b"tree", b"manifest"


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
            aside = os.fsencode(os.path.basename(self.aside))
            try:
                syscalls.rename_noreplace(image.name, aside, image.fd, image.fd)
                os.fsync(image.fd)
                run.fates[self.spec.path] = ("kept", self.aside)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:  # overlayfs, for what lies in a lower layer
                    raise
            if self._is_as_seeded(image, run):
                _write_note(image, self.manifest, None)
                run.fates[self.spec.path] = ("discarded", None)
            else:
                _copy_aside(self, image, aside, run)
            _remove_original(image)

    def _is_as_seeded(self, image, run):
        if image.look_inside().empty:
            return True
        if not self.manifest:
            return False
        with open(self.manifest, "rb") as file:
            difference = compare(file, image.fd, image.name)
        if difference is None:
            return True
        run.warnings.append(
            "{}: the original is not what was seeded (first: {} {}), so it was kept at {}.".format(
                printable(self.spec.path), printable(difference.path), difference.found, printable(self.aside)
            )
        )
        return False


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
            note = _read_note(image)
            try:
                with open(note["manifest"], "rb") as file:
                    difference = compare(file, image.fd, image.name, begun=True)
            except OSError as error:
                difference = error
            if difference is None:
                run.fates[self.spec.path] = ("kept", note["aside"]) if note["aside"] else ("discarded", None)
            else:
                _copy_aside(self, image, os.fsencode(os.path.basename(self.aside)), run)
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


class ClearNote(NamedTuple):
    """Remove the note of a removal that is through."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "remove the note of the removal of {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ImageParent(self.spec.path) as image:
            _clear_note(image)


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
            raise LinkError(
                self.spec.path,
                "the store cannot be mounted over it: {}".format(because(error)),
                "Give the container the capability SYS_ADMIN, or use the method symlink.",
            ) from error
        run.fates[self.spec.path] = ("kept", None)


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
                private = _copy_beside(stored, image, self.place, run)
            finally:
                os.close(stored)
            try:
                if image.look().kind != "none":
                    os.unlink(image.name, dir_fd=image.fd)
                syscalls.rename_noreplace(TREE, image.name, private, image.fd)
                os.fsync(image.fd)
            finally:
                os.close(private)
            remove_tree(image.fd, _private_name(image))


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


def _copy_aside(step, image, aside, run):
    private = _copy_beside(image.fd, image, step.spec.path, run)
    try:
        syscalls.rename_noreplace(TREE, aside, private, image.fd)
        os.fsync(image.fd)
    finally:
        os.close(private)
    # The copy's manifest stays until the original is gone: it says what may be removed.
    manifest = os.path.join(image.directory, os.fsdecode(_private_name(image)), os.fsdecode(MANIFEST))
    _write_note(image, manifest, step.aside)
    run.fates[step.spec.path] = ("kept", step.aside)
    run.warnings.append(
        "{}: the original had to be copied to {}, as overlayfs cannot rename it; it is as it was seeded in a container "
        "that is re-created from the image, and is then not copied.".format(printable(step.spec.path), printable(step.aside))
    )


def _copy_beside(source_fd, image, path, run):
    """int: an open private directory beside the state path that holds a copy, on disk, and its manifest."""
    name = _private_name(image)
    remove_tree(image.fd, name)
    os.mkdir(name, 0o700, dir_fd=image.fd)
    private = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=image.fd)
    try:
        file = os.open(MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private)
        with open(file, "wb") as manifest:
            copied = copy_tree(source_fd, image.name, path, private, TREE, manifest)
        if copied.top_flags:
            raise CopyError(path, "it is immutable or append-only itself", "Clear that flag with chattr -ia, then start again.")
        sync_tree(image.fd, name, run.release)
    except BaseException:
        os.close(private)
        raise
    return private


def _remove_original(image):
    remove_tree(image.fd, image.name)
    os.fsync(image.fd)
    _clear_note(image)


def _write_note(image, manifest, aside):
    note = {"manifest": manifest, "aside": aside}
    write_file(image.fd, removal_name(image.name), json.dumps(note).encode("ascii"))


def _read_note(image):
    try:
        fd = os.open(removal_name(image.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=image.fd)
        with open(fd, "rb") as file:
            note = json.loads(file.read().decode("ascii"))
        return {"manifest": str(note["manifest"]), "aside": note["aside"]}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            os.path.join(image.directory, os.fsdecode(removal_name(image.name))),
            "the note of a removal is broken",
            "Re-create the container from its image; or look at what is left of {} and remove the note.".format(
                printable(image.path)
            ),
        ) from error


def _clear_note(image):
    remove_tree(image.fd, _private_name(image))
    if lstat(removal_name(image.name), image.fd) is not None:
        os.unlink(removal_name(image.name), dir_fd=image.fd)
    os.fsync(image.fd)


def _private_name(image):
    return b"." + image.name + b".cm_persist-copy"


def _as_in_store(step):
    # A directory that the image does not have gets the owner and mode of the same one in the store.
    store = step.place[: -len(step.spec.path)]

    def model(path):
        status = os.stat(store + path)
        return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)

    return model


def free_aside(image):
    """bytes: the first name beside a state path at which nothing is kept yet."""
    number = 0
    while look(image.fd, aside_name(image.name, number)).kind != "none":
        number += 1
    return aside_name(image.name, number)
