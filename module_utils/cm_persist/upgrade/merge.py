# SPDX-License-Identifier: Apache-2.0
"""Let a state path in the store follow a new image: build a merged tree in staging. It is a copy of the store's to which the
image's changes are made; it then takes the place of the present one, which stays."""

import contextlib
import errno
import itertools
import os
import stat
from typing import List, NamedTuple

from ..errors import CopyError, Where, because, printable
from ..fs.accounts import Accounts
from ..fs.dirfd import Opened, lstat, open_directory
from ..fs.node import ParentDir
from ..fs.rmtree import remove_tree
from ..paths import StatePath
from ..store.layout import BASE, TREE, manifest_names, swap_name
from ..store.staging import new_manifest
from ..store.swap import MERGE_SUFFIX, SwapNote, stamp, write_note
from ..tree import metadata, progress
from ..tree.copy_data import changed
from ..tree.copy_files import Source, Target
from ..tree.copy_tree import copy_tree
from ..tree.scan import ScanResult, scan
from .base import read_base, write_base
from .image import Image
from .three_way import ADD, CHANGE, KEEP_BOTH, KEEP_OWN, NEW_SUFFIX, REMOVE, REPLACE, Action, actions_of

NEW = b"new"  # files taken from the image, until they have their place


class Merge(NamedTuple):
    """Build the merged tree of a state path in staging; image is the one that it then follows, size what both trees hold."""

    spec: StatePath
    store: str
    image: Image
    accounts: Accounts
    size: ScanResult

    def describe(self):
        text = "merge what {image} has at {path} into a copy of {store}{path}"
        return text.format(image=self.image.describe(), path=self.spec.path, store=self.store)

    def execute(self, run):
        begin, path = run.clock.monotonic(), self.spec.path
        progress.begin(path, self.size.files, self.size.data)
        name = swap_name(path, MERGE_SUFFIX)
        with run.private(name) as private, ParentDir(path) as parent:
            with run.store.parent_of(self.spec.relative) as tree, open(os.devnull, "wb") as nowhere:
                run.stamps[self.spec.key] = stamp(*tree)
                copied = copy_tree(Source(*tree, self.store + path), Target(private, TREE), nowhere)
            listed = self._apply_image(run, private, parent)
            self._write_note(run, private, listed)
        run.seconds[path] = run.clock.monotonic() - begin
        run.warnings.extend(copied.warnings(self.store + path))

    def _apply_image(self, run, private, parent) -> bool:
        """Make the image's changes in the copy; True if the list of the image has the path, and so is the base from now on."""
        path, accounts = self.spec.path, (run.image.followed, self.accounts)
        base = read_base(run.store, run.record[self.spec.key])
        actions = list(actions_of(base, (private, TREE), parent, accounts))
        taken = {action.path for action in actions if action.what not in (REMOVE, KEEP_OWN) and not action.is_directory}
        listed = write_base(private, run.image, parent, parent.look().kind)
        with open(os.devnull, "wb") if listed else new_manifest(private, BASE) as manifest:
            found = copy_tree(Source(parent.fd, parent.name, path), Target(private, NEW), manifest, self.accounts, taken)
        if found.files != len(taken):
            raise changed(path)
        _MergedTree(private, self.store + path).apply(actions)
        remove_tree(private, NEW)
        return listed

    def _write_note(self, run, private, listed):
        entry, seen = run.record[self.spec.key], self.image.note()
        counted, counted_top = scan(private, TREE, self.store + self.spec.path, 0), lstat(TREE, private)
        merged = dict(
            entry,
            image=seen,
            seen=seen,
            left=None,
            manifest=None,
            base=manifest_names(self.spec.path, entry)[0],
            listed=listed,
            files=counted.files,
            bytes=counted.data,
            at=int(run.clock.time()),
            top={"uid": counted_top.st_uid, "gid": counted_top.st_gid, "mode": stat.S_IMODE(counted_top.st_mode)},
        )
        present = run.store.look(self.spec.relative)
        write_note(private, SwapNote(self.spec.key, lstat(TREE, private).st_ino, present.inode, merged, entry))


class NoteImage(NamedTuple):
    """Note for the record that a state path met an image; follows: the path has what the image has there; lasting: why it is not
    merged will not change."""

    spec: StatePath
    image: Image
    follows: bool
    lasting: bool

    def describe(self):
        return "note that {} has met {}".format(printable(self.spec.path), self.image.describe())

    def execute(self, run):
        seen = dict(self.image.note(), policy=self.spec.on_image_change, lasting=self.lasting)
        entry = dict(run.record[self.spec.key], seen=seen)
        run.record[self.spec.key] = dict(entry, image=self.image.note()) if self.follows else entry


class _MergedTree:
    """The copy in a private directory to which the image's changes are made; the image's files are in NEW. path is for errors."""

    def __init__(self, private: int, path: str):
        self._private, self._path = private, path

    def apply(self, actions: List[Action]):
        emptied, moved = [], None
        for action in actions:
            path = b"" if action.path == b"." else action.path
            if moved is not None and path.startswith(moved):
                continue  # came with the directory that holds it
            try:
                if action.what in (ADD, REPLACE, KEEP_BOTH) or (action.what == CHANGE and not action.is_directory):
                    self._take(path, action)
                    moved = path + b"/" if action.is_directory else None
                elif action.what == CHANGE:
                    self._change_directory(path)
                elif action.what == REMOVE and action.is_directory:
                    emptied.append(path)
                elif action.what == REMOVE:
                    with self._parent(TREE, path) as (fd, name):
                        os.unlink(name, dir_fd=fd)
            except OSError as error:
                found = "the image's change cannot be made in its copy: {}".format(because(error))
                hint = "Clear what forbids it there (chattr -ia), or say on_image_change: keep."
                raise CopyError(Where(self._path, action.path), found, hint) from error
        for path in reversed(emptied):
            self._remove_if_empty(path)

    def _take(self, path, action):
        with self._parent(TREE, path) as (fd, name):
            target = name + NEW_SUFFIX if action.what == KEEP_BOTH else name
            if action.what == REPLACE:
                remove_tree(fd, target)
            elif action.what == KEEP_BOTH:
                _make_room(fd, target, action.before)
            with self._parent(NEW, path) as (new, own):
                os.rename(own, target, src_dir_fd=new, dst_dir_fd=fd)

    def _change_directory(self, path):
        with self._opened(os.path.join(NEW, path)) as new, self._opened(os.path.join(TREE, path)) as own:
            metadata.copy_metadata(new, own, os.fstat(new), self._path)

    def _remove_if_empty(self, path):
        try:
            with self._parent(TREE, path) as (fd, name):
                os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # it holds something that nobody removes
                raise

    @contextlib.contextmanager
    def _parent(self, top, path):
        directory, name = os.path.split(top + b"/" + path if path else top)
        with Opened(open_directory(self._private, directory, "staging")) as fd:
            yield fd, name

    def _opened(self, relative):
        return Opened(open_directory(self._private, relative, self._path))


def _make_room(fd, name, before):
    """Remove the version that an earlier merge put there, or, if somebody has written to it since, give it another name."""
    status = lstat(name, fd)
    if status is None:
        return
    if stat.S_ISREG(status.st_mode) and before == (b"%d" % status.st_size, b"%d" % status.st_mtime_ns):
        os.unlink(name, dir_fd=fd)
        return
    number = next(number for number in itertools.count(1) if lstat(name + b".%d" % number, fd) is None)
    os.rename(name, name + b".%d" % number, src_dir_fd=fd, dst_dir_fd=fd)
