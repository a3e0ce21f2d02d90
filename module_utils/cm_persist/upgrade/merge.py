# SPDX-License-Identifier: Apache-2.0
"""Let a state path in the store follow a new image: a merged tree is built beside, in staging, and then takes the place of the
one that is there, which is kept.
"""

import errno
import itertools
import os
import stat
from typing import NamedTuple

from ..errors import CopyError, Where, because, printable
from ..fs.accounts import Accounts
from ..fs.dirfd import lstat, open_directory
from ..fs.node import ParentDir
from ..fs.rmtree import remove_tree
from ..paths import StatePath
from ..store.layout import TREE, other_manifest, swap_name
from ..store.staging import new_manifest
from ..store.swap import MERGE_SUFFIX, SwapNote, stamp, write_note
from ..tree import metadata, progress
from ..tree.copy_data import changed
from ..tree.copy_files import Source, Target
from ..tree.copy_tree import copy_tree
from ..tree.scan import ScanResult, scan
from .image import Image
from .three_way import ADD, ASIDE, BESIDE, CHANGE, HIDDEN, REMOVE, REPLACE, actions_of

NEW = b"new"  # what is taken from the image, until it has its place


class Merge(NamedTuple):
    """Build the merged tree of a state path in private staging; image is the one that it then follows, size what both are."""

    spec: StatePath
    store: str
    image: Image
    accounts: Accounts
    size: ScanResult

    def describe(self):
        """str: what will be done."""
        return "merge what {} has at {} into a copy of {}{}".format(
            self.image.describe(), self.spec.path, self.store, self.spec.path
        )

    def execute(self, run):
        """Do it."""
        begin, path, entry = run.clock.monotonic(), self.spec.path, run.record[self.spec.key]
        name, where = swap_name(path, MERGE_SUFFIX), self.store + path
        progress.begin(path, self.size.files, self.size.data)
        with run.private(name) as private, ParentDir(path) as image:
            parent = run.store.open_parent(self.spec.relative)
            try:
                run.stamps[self.spec.key] = stamp(parent, os.path.basename(self.spec.relative))
                with open(os.devnull, "wb") as nowhere:
                    copied = copy_tree(
                        Source(parent, os.path.basename(self.spec.relative), where), Target(private, TREE), nowhere
                    )
            finally:
                os.close(parent)
            actions = list(actions_of(run.store, self.spec, entry, image, (self.accounts, self.accounts), (private, TREE)))
            taken = {action.path for action in actions if action.what not in (REMOVE, HIDDEN) and not action.is_directory}
            with new_manifest(private) as manifest:
                found = copy_tree(Source(image.fd, image.name, path), Target(private, NEW), manifest, self.accounts, taken)
            if found.files != len(taken):
                raise changed(path)
            _apply(actions, private, where)
            remove_tree(private, NEW)
            counted = scan(private, TREE, where, 0)
            merged = dict(
                entry,
                image=self.image.note(),
                seen=self.image.note(),
                manifest=other_manifest(path, entry),
                files=counted.files,
                bytes=counted.data,
                at=int(run.clock.time()),
            )
            there = run.store.look(self.spec.relative)
            write_note(private, SwapNote(self.spec.key, lstat(TREE, private).st_ino, there.inode, merged, entry))
        run.seconds[path] = run.clock.monotonic() - begin
        run.warnings.extend(copied.warnings(where))


def _apply(actions, private, where):
    """Do to the copy what was decided; the image's files are in NEW. where (str) is the tree's path, for errors."""
    emptied, done = [], None
    for action in actions:
        path = b"" if action.path == b"." else action.path
        if done is not None and path.startswith(done):
            continue  # came with the directory that holds it
        try:
            if action.what == REMOVE and action.is_directory:
                emptied.append(path)
            elif action.what == REMOVE:
                _at(private, TREE, path, lambda fd, name: os.unlink(name, dir_fd=fd))
            elif action.what == CHANGE and action.is_directory:
                _change_directory(private, path, where)
            elif action.what in (ADD, CHANGE, REPLACE, ASIDE):
                _take(private, path, action)
                done = path + b"/" if action.is_directory else None
        except OSError as error:
            raise CopyError(
                Where(where, action.path),
                "the image's change cannot be made in its copy: {}".format(because(error)),
                "Clear what forbids it there (chattr -ia), or say on_image_change: keep.",
            ) from error
    for path in reversed(emptied):
        try:
            _at(private, TREE, path, lambda fd, name: os.rmdir(name, dir_fd=fd))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # it holds something that nobody removes
                raise


def _take(private, path, action):
    def place(fd, name):
        target = name + BESIDE if action.what == ASIDE else name
        if action.what == REPLACE:
            remove_tree(fd, target)
        elif action.what == ASIDE:
            _make_room(fd, target, action.before)
        _at(private, NEW, path, lambda new, own: os.rename(own, target, src_dir_fd=new, dst_dir_fd=fd))

    _at(private, TREE, path, place)


def _make_room(fd, name, before):
    """Take away what an earlier merge has put beside, or, if somebody has written to it since, give it another name."""
    status = lstat(name, fd)
    if status is None:
        return
    if stat.S_ISREG(status.st_mode) and before == (b"%d" % status.st_size, b"%d" % status.st_mtime_ns):
        os.unlink(name, dir_fd=fd)
        return
    number = next(number for number in itertools.count(1) if lstat(name + b".%d" % number, fd) is None)
    os.rename(name, name + b".%d" % number, src_dir_fd=fd, dst_dir_fd=fd)


def _change_directory(private, path, where):
    fds = [open_directory(private, os.path.join(top, path), where) for top in (NEW, TREE)]
    try:
        metadata.copy_metadata(fds[0], fds[1], os.fstat(fds[0]), where)
    finally:
        for fd in fds:
            os.close(fd)


def _at(private, top, path, act):
    """Act on what is at a path below a top: act(open directory, name)."""
    directory, name = os.path.split(top + b"/" + path if path else top)
    fd = open_directory(private, directory, "staging")
    try:
        act(fd, name)
    finally:
        os.close(fd)


class NoteImage(NamedTuple):
    """SwapNote for the record that a state path has met an image; follows says that it has what the image has there."""

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
