# SPDX-License-Identifier: Apache-2.0
"""The operations on a store. A plan is a list of them; each can tell what it does, and do it.

Their order is the crash safety: everything of a copy is in private staging and on disk before the one rename that
publishes it, and an entry beside it tells the next start what was published should the record not be written.
"""

import contextlib
import os
import stat
from typing import NamedTuple, Optional, Tuple

from ..errors import StoreError, because, printable
from ..fs.atomic import sync_tree
from ..fs.dirfd import DIRECTORY as OPEN_DIRECTORY
from ..fs.dirfd import make_directories, open_directory, remove_tree
from ..fs.node import DIRECTORY, ImageParent, Place, label, look
from ..paths import StatePath
from ..store.record import write_record
from ..store.staging import MANIFEST, TREE, Unfinished, new_manifest, write_unfinished
from ..store.store import MANIFESTS, STAGING, writable_hint
from ..tree import progress
from ..tree.manifest import write_manifest
from ..upgrade.image import Image


class Run:
    """What the operations of one run share.

    Attributes:
        store (Store): open, with its lock held.
        record (dict): the entries as they will be written.
        begun (list of str): names in staging that this run made.
        publishing (bool): whether some of them may have been published.
        staged (dict): state path to the name in staging.
        seconds (dict): state path to the time that its copy took.
        stamps (dict): state path, as the record spells it, to what tells whether the store's copy was written to since.
        warnings (list of str): what turned up on the way.
        clock (module): as time.
        release (str): the kernel's release.
        fs_type (str): the store's file system.
        selinux (Selinux): this machine's.
        context (ImageContext): what is known of the image.
    """

    def __init__(self, store, record, clock, release, fs_type, selinux=None, context=None):
        self.store, self.record, self.clock, self.release = store, dict(record or {}), clock, release
        self.fs_type, self.selinux, self.context = fs_type, selinux, context
        self.begun, self.publishing, self.staged, self.seconds, self.stamps, self.warnings = [], False, {}, {}, {}, []

    def note(self, spec, kind, origin, files, size, manifest, image, top):
        """dict: the entry of a state path, noted for the record; image (Image) is the one that is there, top (Place) its top."""
        seen = image.note() if image else None
        self.record[spec.key] = {
            "origin": origin, "kind": kind, "files": files, "bytes": size, "manifest": manifest, "at": int(self.clock.time()),
            "image": seen if manifest else None, "seen": seen, "top": {"uid": top.uid, "gid": top.gid, "mode": top.mode},
        }  # fmt: skip
        return self.record[spec.key]

    @contextlib.contextmanager
    def staging_for(self, spec):
        """Make a private directory in staging for the copy of a state path, which is then to be published.

        Yields:
            tuple: (str, int), its name, and the open directory.
        """
        name = label(spec.path)
        with self.private(name) as private:
            yield name, private
        self.staged[spec.path] = name

    @contextlib.contextmanager
    def private(self, name):
        """Make a private directory of that name (str) in staging. Yields: int, the open directory."""
        staging = self.open_staging()
        try:
            os.mkdir(name, 0o700, dir_fd=staging)
            self.begun.append(name)  # not before: what is there already is another's
            private = open_directory(staging, os.fsencode(name), self.store.state_path)
        finally:
            os.close(staging)
        try:
            yield private
        finally:
            os.close(private)

    def open_staging(self):
        """int: the staging directory, the caller's to close."""
        return self.store.open_private(STAGING)


class ClearStaging(NamedTuple):
    """Remove what a killed run left in staging."""

    names: Tuple[str, ...]

    def describe(self):
        """str: what will be done."""
        return "remove what an earlier, interrupted run left in staging: {}".format(", ".join(map(printable, self.names)))

    def execute(self, run):
        """Do it."""
        staging = run.open_staging()
        try:
            for name in self.names:
                remove_tree(staging, os.fsencode(name))
        finally:
            os.close(staging)


class Complete(NamedTuple):
    """Record a copy that an earlier run published and could not record."""

    spec: StatePath
    store: str
    unfinished: Unfinished

    def describe(self):
        """str: what will be done."""
        return "record {}{}, which an earlier run copied completely".format(self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it. That the rename is on disk is not known yet."""
        parent = run.store.open_parent(self.spec.relative)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
        run.record[self.spec.key] = self.unfinished.entry


class Adopt(NamedTuple):
    """Take over content that an earlier tool put in the store."""

    spec: StatePath
    store: str
    kind: str
    files: int
    data: int
    image: Optional[Image]
    top: Place

    def describe(self):
        """str: what will be done."""
        return "adopt {}{} as it is, {} files".format(self.store, printable(self.spec.path), self.files)

    def execute(self, run):
        """Do it."""
        run.note(self.spec, self.kind, "adopted", self.files, self.data, None, self.image, self.top)


class RemoveEmpty(NamedTuple):
    """Make room for a copy where the store has an empty directory."""

    spec: StatePath
    store: str

    def describe(self):
        """str: what will be done."""
        return "remove the empty directory {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it: rmdir refuses should it have got content since."""
        parent = run.store.open_parent(self.spec.relative)
        try:
            os.rmdir(os.path.basename(self.spec.relative), dir_fd=parent)
        finally:
            os.close(parent)


class Copy(NamedTuple):
    """Copy an original into private staging; files and bytes are how many that will be."""

    spec: StatePath
    store: str
    files: int
    bytes: int

    def describe(self):
        """str: what will be done."""
        return "copy {} to {}{}".format(printable(self.spec.path), self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        from ..tree.copy_tree import copy_tree

        begin, path = run.clock.monotonic(), self.spec.path
        progress.begin(path, self.files, self.bytes)
        with run.staging_for(self.spec) as (name, private):
            with ImageParent(path) as image, new_manifest(private) as manifest:
                copied = copy_tree(image.fd, image.name, path, private, TREE, manifest, run.context.accounts)
                this = run.context.at(image, image.look())
            top = look(private, TREE)
            kind = "directory" if top.kind == DIRECTORY else "file"
            entry = run.note(self.spec, kind, "seeded", copied.files, copied.data, name, this, top)
            write_unfinished(private, self.spec.key, Unfinished(name, entry))
        run.seconds[path] = run.clock.monotonic() - begin
        run.warnings.extend(copied.warnings(path))


class Make(NamedTuple):
    """Make an empty directory in private staging, for what a program will only make when it runs."""

    spec: StatePath
    store: str

    def describe(self):
        """str: what will be done."""
        return "make an empty directory for {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it, with the owner and mode of the directory that it will stand in."""
        with run.staging_for(self.spec) as (name, private):
            with ImageParent(self.spec.path) as image:
                above = os.fstat(image.fd)
            with new_manifest(private) as manifest:
                os.mkdir(TREE, 0o700, dir_fd=private)
                made = os.open(TREE, OPEN_DIRECTORY, dir_fd=private)
                try:
                    if not os.geteuid():
                        os.fchown(made, above.st_uid, above.st_gid)
                    os.fchmod(made, stat.S_IMODE(above.st_mode))
                finally:
                    os.close(made)
                write_manifest(manifest, private, TREE, run.context.accounts)
            entry = run.note(self.spec, DIRECTORY, "seeded", 0, 0, name, run.context.image, look(private, TREE))
            write_unfinished(private, self.spec.key, Unfinished(name, entry))


class Sync(NamedTuple):
    """Put all that was copied on disk."""

    store: str

    def describe(self):
        """str: what will be done."""
        return "write the copies to disk"

    def execute(self, run):
        """Do it."""
        progress.begin()
        sync_tree(run.store.state_fd, STAGING, run.release, run.fs_type)


class Publish(NamedTuple):
    """Give a complete copy its name in the store, by one rename that never replaces anything."""

    spec: StatePath
    store: str

    def describe(self):
        """str: what will be done."""
        return "publish {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        from ..fs.syscalls import rename_noreplace

        run.publishing = True
        name = run.staged[self.spec.path]
        staging = run.open_staging()
        private = open_directory(staging, os.fsencode(name), run.store.state_path)
        manifests = run.store.open_private(MANIFESTS)
        relative = self.spec.relative
        parent = make_directories(run.store.fd, os.path.dirname(relative), run.store.path, _image_directory)
        try:
            os.rename(MANIFEST, os.fsencode(name), src_dir_fd=private, dst_dir_fd=manifests)
            os.fsync(manifests)
            os.fsync(run.store.state_fd)
            rename_noreplace(TREE, os.path.basename(relative), private, parent)
            os.fsync(parent)
        except FileExistsError as error:
            raise StoreError(
                run.store.place(self.spec.path),
                "something was put there while it was copied",
                "Find out by whom, then start again.",
            ) from error
        finally:
            for fd in (parent, manifests, private, staging):
                os.close(fd)


class NoteImage(NamedTuple):
    """Note for the record that a state path has met an image; follows says that it has what the image has there."""

    spec: StatePath
    image: Image
    follows: bool

    def describe(self):
        """str: what will be done."""
        return "note that {} has met {}".format(printable(self.spec.path), self.image.describe())

    def execute(self, run):
        """Do it."""
        seen = dict(self.image.note(), policy=self.spec.on_image_change)
        entry = dict(run.record[self.spec.key], seen=seen)
        run.record[self.spec.key] = dict(entry, image=self.image.note()) if self.follows else entry


class WriteRecord(NamedTuple):
    """Write down what the store holds."""

    store: str

    def describe(self):
        """str: what will be done."""
        return "write the record {}/.cm_persist/record.json".format(self.store)

    def execute(self, run):
        """Do it."""
        write_record(run.store.state_fd, run.record)


class RemoveStaging(NamedTuple):
    """Remove what is left in staging once the record is written."""

    def describe(self):
        """str: what will be done."""
        return "remove the staging directory"

    def execute(self, run):
        """Do it."""
        remove_tree(run.store.state_fd, STAGING)


def _image_directory(relative):
    # The directories above a copy get the image's owner and mode, so what is private there is private in the store.
    status = os.stat(b"/" + relative)
    uid, gid = (status.st_uid, status.st_gid) if os.geteuid() == 0 else (-1, -1)
    return uid, gid, status.st_mode & 0o7777


def execute(steps, run):
    """Execute a plan.

    Raises:
        PersistError: a step failed; what is in staging is removed, now or at the next start.
    """
    try:
        for step in steps:
            step.execute(run)
    except OSError as error:
        _clean_up(run)
        raise StoreError(run.store.path, "cannot {}: {}".format(step.describe(), because(error)), writable_hint(error)) from error
    except Exception:
        _clean_up(run)
        raise


def _clean_up(run):
    if run.publishing:
        return  # what is published stays known by its entry in staging; the next start completes it
    for name in run.begun:
        try:
            staging = run.open_staging()
            remove_tree(staging, os.fsencode(name))
            os.close(staging)
        except (OSError, StoreError) as error:
            # Only to give a full volume its room back: the first error tells more, and the next start removes it too.
            run.warnings.append("{}: left in staging: {}".format(name, error))
