# SPDX-License-Identifier: Apache-2.0
"""The steps that bring a state path into the store.

Their order is the crash safety: everything of a copy is in private staging and on disk before the one rename that publishes it.
Its entry in staging tells the next run what was published, should the record not be written.
"""

import contextlib
import os
import stat
from typing import NamedTuple, Optional, Tuple

from ..errors import StoreError, printable
from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, Opened, open_directory
from ..fs.mkdirs import make_directories
from ..fs.node import ParentDir, look
from ..host.postgresql import find_databases
from ..paths import StatePath
from ..store.layout import BASE, MANIFEST, MANIFESTS, STAGING, TREE, manifest_names
from ..store.staging import new_manifest, write_entry
from ..store.steps import Content
from ..text import files
from ..tree import progress
from ..tree.manifest import write_manifest
from ..upgrade.base import write_base
from ..upgrade.image import Image


class Adopt(NamedTuple):
    """Take over content that an earlier tool put in the store."""

    spec: StatePath
    store: str
    content: Content
    image: Optional[Image]

    def describe(self):
        return "adopt {}{} as it is, {}".format(self.store, printable(self.spec.path), files(self.content.files))

    def execute(self, run):
        databases = _databases(run.store.fd, self.spec.relative)
        run.note(self.spec, "adopted", self.content._replace(databases=databases), self.image)


class RemoveEmpty(NamedTuple):
    """Make room for a copy where the store has an empty directory."""

    spec: StatePath
    store: str

    def describe(self):
        return "remove the empty directory {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        # rmdir(2) refuses a directory that got content since.
        with run.store.parent_of(self.spec.relative) as (parent, name):
            os.rmdir(name, dir_fd=parent)


class Copy(NamedTuple):
    """Copy an original into private staging; files and bytes are how many that will be."""

    spec: StatePath
    store: str
    files: int
    bytes: int

    def describe(self):
        return "copy {} to {}{}".format(printable(self.spec.path), self.store, printable(self.spec.path))

    def execute(self, run):
        from ..tree.copy_files import Source, Target
        from ..tree.copy_tree import copy_tree

        begin, path = run.clock.monotonic(), self.spec.path
        progress.begin(path, self.files, self.bytes)
        with run.staging_for(self.spec) as (name, private):
            with ParentDir(path) as parent, new_manifest(private) as manifest:
                copied = copy_tree(Source(parent.fd, parent.name, path), Target(private, TREE), manifest, run.image.accounts)
                original = parent.look()
                seeded_from = run.image.at(parent, original)
                listed = write_base(private, run.image, parent, original.kind)
            base = manifest_names(path)[1] if listed else None
            content = Content(look(private, TREE), copied.files, copied.data, name, base, _databases(private, TREE))
            write_entry(private, self.spec.key, run.note(self.spec, "seeded", content, seeded_from))
        run.seconds[path] = run.clock.monotonic() - begin
        run.warnings.extend(copied.warnings(path))


class Make(NamedTuple):
    """Make an empty directory in private staging, for a path that a program makes only when it runs."""

    spec: StatePath
    store: str

    def describe(self):
        return "make an empty directory for {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        # With the owner and mode of the directory that will hold it.
        with run.staging_for(self.spec) as (name, private):
            with ParentDir(self.spec.path) as parent:
                above = os.fstat(parent.fd)
            with new_manifest(private) as manifest:
                os.mkdir(TREE, 0o700, dir_fd=private)
                with Opened(os.open(TREE, OPEN_DIRECTORY, dir_fd=private)) as made:
                    if not os.geteuid():
                        os.fchown(made, above.st_uid, above.st_gid)
                    os.fchmod(made, stat.S_IMODE(above.st_mode))
                write_manifest(manifest, private, TREE, run.image.accounts)
            entry = run.note(self.spec, "seeded", Content(look(private, TREE), 0, 0, name), run.image.image)
            write_entry(private, self.spec.key, entry)


class Publish(NamedTuple):
    """Give a complete copy its name in the store, by one rename that never replaces anything."""

    spec: StatePath
    store: str

    def describe(self):
        return "publish {}{}".format(self.store, printable(self.spec.path))

    def execute(self, run):
        run.publishing = True
        store, relative, name = run.store, self.spec.relative, os.fsencode(run.staged[self.spec.path])
        with contextlib.ExitStack() as stack:
            staging = stack.enter_context(store.private_dir(STAGING))
            private = stack.enter_context(Opened(open_directory(staging, name, store.state_path)))
            manifests = stack.enter_context(store.private_dir(MANIFESTS))
            directories = make_directories(store.fd, os.path.dirname(relative), store.path, _image_directory)
            parent = stack.enter_context(Opened(directories))
            os.rename(MANIFEST, name, src_dir_fd=private, dst_dir_fd=manifests)
            with contextlib.suppress(FileNotFoundError):  # the image has no list of it
                os.rename(BASE, manifest_names(self.spec.path)[1], src_dir_fd=private, dst_dir_fd=manifests)
            os.fsync(manifests)
            os.fsync(store.state_fd)
            try:
                syscalls.rename_noreplace(TREE, os.path.basename(relative), private, parent)
            except FileExistsError as error:
                found, hint = "something was put there while it was copied", "Find out by whom, then start again."
                raise StoreError(store.place(self.spec.path), found, hint) from error
            os.fsync(parent)


def _databases(top_fd, relative) -> Tuple[str, ...]:
    return tuple(database.directory.strip("/") for database in find_databases(top_fd, relative, "/"))


def _image_directory(relative):
    # The directories above a copy get the image's owner and mode: what is private there is private in the store.
    status = os.stat(b"/" + relative)
    uid, gid = (status.st_uid, status.st_gid) if os.geteuid() == 0 else (-1, -1)
    return uid, gid, status.st_mode & 0o7777
