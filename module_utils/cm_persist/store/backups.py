# SPDX-License-Identifier: Apache-2.0
"""Trees that were replaced in the store are kept for some generations: <store>/.cm_persist/backups/<label>/<number>, each with
its manifest and with a note that has its entry in the record.
"""

import contextlib
import json
import os
from typing import NamedTuple

from ..errors import StoreError, printable
from ..fs.atomic import write_file
from ..fs.dirfd import list_names, lstat, open_directory, open_regular, same_mount
from ..fs.node import NONE, look
from ..fs.rmtree import remove_tree
from .layout import BACKUPS, LARGEST, MANIFEST, MANIFESTS, STAGING, TREE, label
from .record import check_entry
from .swap import NOTE, OLD, OpenSwap, read_note

KEPT = b"kept.json"  # the entry of what is kept


class KeepOld(NamedTuple):
    """Move what was replaced, a directory of that name in staging, to the generations that are kept; most is their number."""

    name: str
    most: int

    @property
    def label(self):
        """str: of the state path."""
        return self.name.rpartition("-")[0]

    def describe(self):
        """str: what will be done."""
        if not self.most:
            return "remove what was replaced of {}".format(printable(self.label))
        return "keep what was replaced in .cm_persist/backups/{}".format(printable(self.label))

    def execute(self, run):
        """Do it: after the record is written. Each part may have been done by a run that was killed."""
        store = run.store
        if self.most:
            with OpenSwap(store, self.name) as private:
                _prepare(store, private)
            generations = _open_generations(store, self.label, make=True)
            staging = store.open_private(STAGING)
            try:
                number = b"%d" % (max(map(int, numbers(generations)), default=0) + 1)
                os.rename(os.fsencode(self.name), number, src_dir_fd=staging, dst_dir_fd=generations)
                os.fsync(generations)
                os.fsync(staging)
            finally:
                os.close(staging)
                os.close(generations)
        prune(store, self.label, self.most)


def numbers(generations_fd):
    """list of bytes: the generations in an open directory, the newest first."""
    return sorted((name for name in list_names(generations_fd) if name.isdigit()), key=int, reverse=True)


def newest(store, path):
    """Find what was kept last of a state path.

    Args:
        store (Store): open.
        path (str): the state path.

    Returns:
        tuple: (bytes, dict), the generation and the entry of what it holds; None where nothing is kept.

    Raises:
        StoreError: what is kept does not say what it is.
    """
    try:
        generations = _open_generations(store, label(path))
    except FileNotFoundError:
        return None
    try:
        for number in numbers(generations):
            private = _open_own(store, generations, number)
            try:
                there = look(private, TREE)
                if there.kind == NONE:
                    continue  # one that was being removed
                with open(open_regular(KEPT, private, LARGEST), "rb") as file:
                    entry = check_entry(json.loads(file.read().decode("ascii")))
                if there.kind != entry["kind"]:
                    raise ValueError(entry["kind"])
                return number, entry
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise StoreError(
                    os.path.join(store.state_path, os.fsdecode(BACKUPS), label(path), os.fsdecode(number)),
                    "what is kept there does not say what it is",
                    "Look at it, and move it away.",
                ) from error
            finally:
                os.close(private)
        return None
    finally:
        os.close(generations)


def take(store, path, number, name):
    """Move a generation (bytes) of a state path (str) to a name (str) in staging, without the note of what brought it there."""
    generations, staging = _open_generations(store, label(path)), store.open_private(STAGING)
    try:
        private = _open_own(store, generations, number)
        try:
            remove_tree(private, NOTE)
            os.fsync(private)
        finally:
            os.close(private)
        os.rename(number, os.fsencode(name), src_dir_fd=generations, dst_dir_fd=staging)
        os.fsync(staging)
        os.fsync(store.state_fd)
        os.fsync(generations)
    finally:
        os.close(generations)
        os.close(staging)


def prune(store, name, most):
    """Remove all but the newest generations of a state path of that label (str); most is how many stay."""
    with contextlib.suppress(FileNotFoundError):
        generations = _open_generations(store, name)
        try:
            for number in numbers(generations)[most:]:
                private = _open_own(store, generations, number)
                try:  # the tree first, so that what is half removed is not taken for one that is whole
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(TREE, OLD, src_dir_fd=private, dst_dir_fd=private)
                        os.fsync(private)
                finally:
                    os.close(private)
                remove_tree(generations, number)
        finally:
            os.close(generations)


def _prepare(store, private):
    """Make of a swap that is done, or was never begun, what a generation holds: tree, manifest, and the tree's entry."""
    note = read_note(private)
    if note is None:  # a generation that was taken out, and not put in again
        return
    if lstat(TREE, private) is None:
        os.rename(OLD, TREE, src_dir_fd=private, dst_dir_fd=private)
    entry = note.entry if lstat(TREE, private).st_ino == note.new else note.previous
    write_file(private, KEPT, json.dumps(entry).encode("ascii"))
    if entry["manifest"] and lstat(MANIFEST, private) is None:
        manifests = store.open_private(MANIFESTS)
        try:
            with contextlib.suppress(FileNotFoundError):  # an earlier run came so far
                os.rename(os.fsencode(entry["manifest"]), MANIFEST, src_dir_fd=manifests, dst_dir_fd=private)
                os.fsync(private)
                os.fsync(manifests)
        finally:
            os.close(manifests)


def _open_generations(store, name, make=False):
    if make:
        backups = store.open_private(BACKUPS)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=backups)
                os.fsync(backups)
                os.fsync(store.state_fd)
        finally:
            os.close(backups)
    return _open_own(store, store.state_fd, BACKUPS + b"/" + os.fsencode(name))


def _open_own(store, top_fd, relative):
    fd = open_directory(top_fd, relative, store.state_path)
    if not same_mount(fd, store.state_fd):
        os.close(fd)
        where = os.path.join(store.state_path, os.fsdecode(BACKUPS))
        raise StoreError(where, "something is mounted in it, at {}".format(printable(relative)), "Unmount it, then start again.")
    return fd
