# SPDX-License-Identifier: Apache-2.0
"""What the steps of one run on a store share, and the steps that every plan may have."""

import contextlib
import os
from typing import Iterator, NamedTuple, Optional, Tuple

from ..errors import StoreError, because, printable, writable_hint
from ..fs.dirfd import Opened, open_directory
from ..fs.node import Node
from ..fs.rmtree import remove_tree
from ..host.machine import Machine
from ..paths import StatePath, relative_of
from ..tree import progress
from ..tree.sync import sync_tree
from .layout import STAGING, label
from .record import write_record


class Content(NamedTuple):
    """What the store has of a state path: its top, files (directories not counted), bytes of data, the names in manifests/ of its
    manifest and of its base, and the directories of databases, relative to the path."""

    top: Node
    files: int
    bytes: int
    manifest: Optional[str] = None
    base: Optional[str] = None
    databases: Tuple[str, ...] = ()


class Run:
    """What the steps of one run share; plan.execute() passes it to each.

    store is open, with its lock held; record has the entries as they will be written; image is the ImageContext. staged maps a
    state path to its name in staging, seconds to the time of its copy, stamps its key to a digest of the store's copy as it was
    read. warnings grows by what turns up on the way.
    """

    def __init__(self, store, record: Optional[dict], machine: Machine, fs_type: str = "", image=None):
        self.store, self.record, self.machine, self.fs_type, self.image = store, dict(record or {}), machine, fs_type, image
        self.clock, self.selinux = machine.clock, machine.selinux
        self.staged, self.seconds, self.stamps, self.warnings = {}, {}, {}, []
        self.publishing = False  # True once something may have been published
        self._made = []  # names in staging that this run made

    def note(self, spec: StatePath, origin: str, content: Content, image) -> dict:
        """The entry of a state path, which the record now has; image (Image) is the running one, None if unknown."""
        top, seen = content.top, image.note() if image else None
        self.record[spec.key] = {
            "origin": origin,
            "kind": top.kind,
            "files": content.files,
            "bytes": content.bytes,
            "manifest": content.manifest,
            "base": content.base,
            "listed": content.base is not None,
            "at": int(self.clock.time()),
            "image": seen if content.manifest else None,
            "seen": seen,
            "left": None,
            "databases": list(content.databases),
            "top": {"uid": top.uid, "gid": top.gid, "mode": top.mode},
        }
        return self.record[spec.key]

    @contextlib.contextmanager
    def staging_for(self, spec: StatePath) -> Iterator[Tuple[str, int]]:
        """Make the private directory for a state path's copy; gives its name and descriptor. Publish expects it there."""
        name = label(spec.path)
        with self.private(name) as private:
            yield name, private
        self.staged[spec.path] = name

    @contextlib.contextmanager
    def private(self, name: str) -> Iterator[int]:
        """Make a private directory of that name in staging, and open it."""
        with self.store.private_dir(STAGING) as staging:
            os.mkdir(name, 0o700, dir_fd=staging)
            self._made.append(name)  # not before: a directory that exists already is another run's
            private = open_directory(staging, os.fsencode(name), self.store.state_path)
        with Opened(private):
            yield private

    def sync(self, dir_fd: int, name: bytes):
        """Write a tree on the store, at a name in an open directory, to disk."""
        sync_tree(dir_fd, name, self.machine.release, self.fs_type)

    def failed(self, step, error: OSError) -> StoreError:
        """The error for a step that failed."""
        return StoreError(self.store.path, "cannot {}: {}".format(step.describe(), because(error)), writable_hint(error))

    def abandon(self):
        """Remove this run's copies from staging, unless something may be published: then the next run completes it."""
        if self.publishing:
            return
        for name in self._made:
            try:
                with self.store.private_dir(STAGING) as staging:
                    remove_tree(staging, os.fsencode(name))
            except (OSError, StoreError) as error:
                # Only to give a full volume its room back: the first error says more, and the next run removes it too.
                self.warnings.append("{}: left in staging: {}".format(name, error))


class ClearStaging(NamedTuple):
    """Remove what an interrupted run left in staging."""

    names: Tuple[str, ...]

    def describe(self):
        return "remove what an earlier, interrupted run left in staging: {}".format(", ".join(map(printable, self.names)))

    def execute(self, run):
        with run.store.private_dir(STAGING) as staging:
            for name in self.names:
                remove_tree(staging, os.fsencode(name))


class RecordPublished(NamedTuple):
    """Record a copy that an interrupted run published; path is its state path, as the record spells it."""

    path: str
    store: str
    entry: dict

    def describe(self):
        return "record {}{}, which an earlier run copied completely".format(self.store, printable(self.path))

    def execute(self, run):
        # The killed run may not have synced its rename.
        with run.store.parent_of(relative_of(self.path)) as (parent, _name):
            os.fsync(parent)
        run.record[self.path] = self.entry


class Sync(NamedTuple):
    """Write everything that was copied to disk."""

    def describe(self):
        return "write the copies to disk"

    def execute(self, run):
        progress.begin()
        run.sync(run.store.state_fd, STAGING)


class WriteRecord(NamedTuple):
    """Write the record."""

    store: str

    def describe(self):
        return "write the record {}/.cm_persist/record.json".format(self.store)

    def execute(self, run):
        write_record(run.store.state_fd, run.record)


class RemoveStaging(NamedTuple):
    """Remove staging, once the record is written."""

    def describe(self):
        return "remove the staging directory"

    def execute(self, run):
        remove_tree(run.store.state_fd, STAGING)
