# SPDX-License-Identifier: Apache-2.0
"""The operations on a store. A plan is a list of them; each can tell what it does, and do it.

Their order is the crash safety: everything of a copy is in private staging and on disk before the one rename that
publishes it, and an entry beside it tells the next start what was published should the record not be written.
"""

import os
import stat
from typing import NamedTuple, Optional

from ..errors import StoreError, printable
from ..fs.dirfd import OPEN_DIRECTORY, open_directory
from ..fs.mkdirs import make_directories
from ..fs.node import DIRECTORY, Node, ParentDir, look
from ..paths import StatePath
from ..store.layout import MANIFEST, MANIFESTS, TREE
from ..store.staging import Unfinished, new_manifest, write_unfinished
from ..tree import progress
from ..tree.manifest import write_manifest
from ..upgrade.image import Image


class Adopt(NamedTuple):
    """Take over content that an earlier tool put in the store."""

    spec: StatePath
    store: str
    kind: str
    files: int
    data: int
    image: Optional[Image]
    top: Node

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
        from ..tree.copy_files import Source, Target
        from ..tree.copy_tree import copy_tree

        begin, path = run.clock.monotonic(), self.spec.path
        progress.begin(path, self.files, self.bytes)
        with run.staging_for(self.spec) as (name, private):
            with ParentDir(path) as image, new_manifest(private) as manifest:
                copied = copy_tree(Source(image.fd, image.name, path), Target(private, TREE), manifest, run.context.accounts)
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
            with ParentDir(self.spec.path) as image:
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


def _image_directory(relative):
    # The directories above a copy get the image's owner and mode, so what is private there is private in the store.
    status = os.stat(b"/" + relative)
    uid, gid = (status.st_uid, status.st_gid) if os.geteuid() == 0 else (-1, -1)
    return uid, gid, status.st_mode & 0o7777
