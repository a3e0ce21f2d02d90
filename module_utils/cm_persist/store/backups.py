# SPDX-License-Identifier: Apache-2.0
"""Replaced trees are kept for some generations: <store>/.cm_persist/backups/<label>/<number>. Each holds a tree, its
manifests, and the tree's entry in the record with how it was replaced."""

import contextlib
import os
from typing import List, NamedTuple, Optional

from ..errors import StoreError, printable
from ..fs.atomic import INVALID, read_json, write_json
from ..fs.dirfd import Opened, list_names, lstat, open_directory, same_mount
from ..fs.node import NONE, look
from ..fs.rmtree import remove_tree
from .layout import BACKUPS, LARGEST, LISTS, MANIFESTS, STAGING, TREE, label
from .record import check_entry
from .swap import NOTE, OLD, ROLLBACK_SUFFIX, open_swap, read_note

KEPT = b"kept.json"  # the entry of the tree in a generation


class KeepOld(NamedTuple):
    """Move a replaced tree, in a directory of that name in staging, to the generations; most is how many stay."""

    name: str
    most: int

    @property
    def label(self) -> str:
        """The label of the state path."""
        return self.name.rpartition("-")[0]

    def describe(self):
        if not self.most:
            return "remove what was replaced of {}".format(printable(self.label))
        return "keep what was replaced in .cm_persist/backups/{}".format(printable(self.label))

    def execute(self, run):
        # After the record is written. A run that was killed may have done a part of this. Also a tree that is not to stay becomes
        # a generation first: pruning one is safe at any moment, and what is left in staging is a swap to complete.
        store = run.store
        with open_swap(store, self.name) as private:
            _prepare(store, private, self.name.endswith(ROLLBACK_SUFFIX))
        with store.private_dir(BACKUPS) as backups, contextlib.suppress(FileExistsError):
            os.mkdir(self.label, 0o700, dir_fd=backups)
            os.fsync(backups)
            os.fsync(store.state_fd)
        with _open_generations(store, self.label) as generations, store.private_dir(STAGING) as staging:
            number = b"%d" % (max(map(int, numbers(generations)), default=0) + 1)
            os.rename(os.fsencode(self.name), number, src_dir_fd=staging, dst_dir_fd=generations)
            os.fsync(generations)
            os.fsync(staging)
        prune(store, self.label, self.most)


def numbers(generations_fd: int) -> List[bytes]:
    """The generations in an open directory, the newest first."""
    return sorted((name for name in list_names(generations_fd) if name.isdigit()), key=int, reverse=True)


class Replaced(NamedTuple):
    """How a tree was replaced: by a rollback, or by a merge; the image whose tree took its place, as the record has it, None if
    that is not known; and when that tree was made, by its entry."""

    by_rollback: bool
    successor: Optional[dict]
    successor_at: int


class Generation(NamedTuple):
    """A tree that is kept: its number, where it is, its entry in the record, and how it was replaced."""

    number: bytes
    path: str
    entry: dict
    replaced: Replaced


def count_kept(store, path: str) -> int:
    """How many generations are kept of a state path."""
    try:
        with _open_generations(store, label(path)) as fd:
            return len(numbers(fd))
    except FileNotFoundError:
        return 0


def list_kept(store, path: str) -> List[Generation]:
    """The generations of a state path, the newest first. Raises StoreError if one does not say what it is."""
    name, found = label(path), []
    with contextlib.suppress(FileNotFoundError), _open_generations(store, name) as fd:
        for number in numbers(fd):
            with _open_own(store, fd, number) as private:
                where = os.path.join(name, os.fsdecode(number))
                entry = _kept_entry(store, private, where)
                if entry is not None:
                    tree = os.path.join(store.state_path, os.fsdecode(BACKUPS), where, os.fsdecode(TREE))
                    found.append(Generation(number, tree, entry, _read_replaced(private)))
    return found


def find_replaced_by(store, path: str, entry: dict) -> Optional[Generation]:
    """The generation of a state path that its present tree replaced; entry is that tree's in the record. None if it is not kept.
    Raises StoreError if a generation does not say what it is."""
    return next((kept for kept in list_kept(store, path) if kept.replaced.successor_at == entry["at"]), None)


def take(store, path: str, number: bytes, name: str):
    """Move a generation of a state path to a name in staging, without the note of the swap that brought it there."""
    with _open_generations(store, label(path)) as generations, store.private_dir(STAGING) as staging:
        with _open_own(store, generations, number) as private:
            remove_tree(private, NOTE)
            os.fsync(private)
        os.rename(number, os.fsencode(name), src_dir_fd=generations, dst_dir_fd=staging)
        os.fsync(staging)
        os.fsync(store.state_fd)
        os.fsync(generations)


def prune(store, name: str, most: int):
    """Remove all but the newest generations of the state path with that label; most is how many stay. Those that a rollback put
    away are not counted and stay: they hold what was written after the merge."""
    with contextlib.suppress(FileNotFoundError), _open_generations(store, name) as generations:
        merged = [number for number in numbers(generations) if not _was_put_away(store, generations, number)]
        for number in merged[most:]:
            with _open_own(store, generations, number) as private, contextlib.suppress(FileNotFoundError):
                # The tree first, so that nobody takes a generation whose removal has started for a whole one.
                os.rename(TREE, OLD, src_dir_fd=private, dst_dir_fd=private)
                os.fsync(private)
            remove_tree(generations, number)


def _prepare(store, private, by_rollback):
    """Turn a swap that is done, or was never started, into the content of a generation: tree, manifests, and the tree's entry."""
    note = read_note(private)
    if note is None:  # a generation that was taken out, and not put in again
        return
    if lstat(TREE, private) is None:
        os.rename(OLD, TREE, src_dir_fd=private, dst_dir_fd=private)
    entry, replaced = note.previous, Replaced(by_rollback, note.entry["image"], note.entry["at"])
    if lstat(TREE, private).st_ino == note.new:  # never started: the way back of a tree that was kept before
        entry, replaced = note.entry, _read_replaced(private)
    write_json(private, KEPT, dict(entry, replaced=replaced._asdict()))
    with store.private_dir(MANIFESTS) as manifests:
        for field, name in LISTS:
            if entry[field] and lstat(name, private) is None:
                with contextlib.suppress(FileNotFoundError):  # an earlier run came so far
                    os.rename(os.fsencode(entry[field]), name, src_dir_fd=manifests, dst_dir_fd=private)
        os.fsync(private)
        os.fsync(manifests)


def _was_put_away(store, generations, number) -> bool:
    with _open_own(store, generations, number) as private:
        return _read_replaced(private).by_rollback


def _read_replaced(private) -> Replaced:
    """How the tree of a generation was replaced; if that cannot be read it counts as put away by a rollback."""
    try:
        replaced = read_json(private, KEPT, LARGEST)["replaced"]
        successor = replaced["successor"] and {part: str(replaced["successor"][part]) for part in ("id", "name")}
        return Replaced(bool(replaced["by_rollback"]), successor, int(replaced["successor_at"]))
    except INVALID:
        return Replaced(lstat(OLD, private) is None, None, -1)  # but for one whose removal has started


def _kept_entry(store, private, where):
    try:
        kind = look(private, TREE).kind
        if kind == NONE:
            return None  # its removal has started
        entry = check_entry(read_json(private, KEPT, LARGEST))
        entry.pop("replaced", None)
        if kind != entry["kind"]:
            raise ValueError(entry["kind"])
        return entry
    except INVALID as error:
        path = os.path.join(store.state_path, os.fsdecode(BACKUPS), where)
        raise StoreError(path, "what is kept there does not say what it is", "Look at it, and move it away.") from error


def _open_generations(store, name):
    return _open_own(store, store.state_fd, BACKUPS + b"/" + os.fsencode(name))


def _open_own(store, top_fd, relative):
    """A directory of the volume itself, open for the length of a with block: a mount in its place is refused."""
    fd = open_directory(top_fd, relative, store.state_path)
    if not same_mount(fd, store.state_fd):
        os.close(fd)
        where = os.path.join(store.state_path, os.fsdecode(BACKUPS))
        raise StoreError(where, "something is mounted in it, at {}".format(printable(relative)), "Unmount it, then start again.")
    return Opened(fd)
