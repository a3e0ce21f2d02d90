# SPDX-License-Identifier: Apache-2.0
"""The run, and the operations every plan shares."""

import contextlib
import os
from typing import NamedTuple, Tuple

from ..errors import StoreError, because, printable, writable_hint
from ..fs.dirfd import open_directory
from ..fs.rmtree import remove_tree
from ..paths import StatePath
from ..tree import progress
from ..tree.sync import sync_tree
from .layout import STAGING, label
from .record import write_record
from .staging import Unfinished


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
        """dict: the entry of a state path, noted for the record; image (Image) is the one that is there, top (Node) its top."""
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
