# SPDX-License-Identifier: Apache-2.0
"""Find out whether a state path in the store meets another image, and what that image changed. Changes nothing."""

import itertools
import os
from typing import List, NamedTuple, Optional, Tuple

from ..errors import CopyError, StoreError, because
from ..fs.accounts import Accounts
from ..fs.node import Node, ParentDir
from ..host.applications import DATABASE_FILES
from ..host.mounts import Mount, mounts_at_or_below
from ..host.postgresql import Database, find_databases
from ..host.processes import Process, find_process_using
from ..original.notes import read_notes
from ..original.pristine import path_in_list
from ..tree.compare import from_tree, same, side_by_side, some_of
from ..tree.scan import ScanResult, scan
from ..tree.walk import LEAVE, walk
from .image import Image, fingerprint, identify, image_of
from .three_way import ADD, CHANGE, REMOVE, REPLACE, Tally, actions_of, hidden, listed_entries, newer, seeded_entries, tally

KEEP, MERGE, FAIL = "keep", "merge", "fail"
NAMED = 10  # files that a report names


class ImageContext(NamedTuple):
    """What is known of the running image.

    image: which one it is, None if only its paths can be looked at. listed: path of its list, '' if that is not what identifies
    it. accounts: its users and groups; store_accounts: those of the store's owners. mounts: the mount table. followed: the users
    and groups as the manager will know them, the image's but where the store has the file that names them.
    """

    image: Optional[Image]
    listed: str
    accounts: Accounts
    store_accounts: Accounts
    mounts: List[Mount]
    followed: Accounts

    def at(self, parent: ParentDir, original: Node) -> Image:
        """The image as it is known at a state path, where the original is."""
        return self.image or fingerprint(parent, original)


def image_context(settings, store_accounts: Optional[Accounts], machine) -> ImageContext:
    """The image of this machine; settings have image and image_manifest, store_accounts is None if nobody wrote them yet."""
    image, own = identify(settings.image, settings.image_manifest), machine.accounts()
    listed = settings.image_manifest if image and not settings.image else ""
    return ImageContext(image, listed, own, own if store_accounts is None else store_accounts, machine.mounts(), own)


class ImageChange(NamedTuple):
    """What a new image means for a state path that the store has.

    old: the image that it was seeded from or merged with, None if unknown; seen: the one that it last met; new: the running one.
    policy: what is done, KEEP, MERGE or FAIL; reason: why that is not what the user asked for. hidden: how many files the image
    has newer, names: some of them; removed: how many it no longer has. tally: what a merge does; scan: what it writes. databases:
    the store's and the image's, if their versions differ. used_by: a process that uses the store's copy.
    """

    old: Optional[Image]
    seen: Optional[Image]
    new: Image
    policy: str = KEEP
    reason: str = ""
    hidden: int = 0
    removed: int = 0
    names: Tuple[bytes, ...] = ()
    tally: Tally = Tally()
    databases: Tuple[Database, ...] = ()
    scan: ScanResult = ScanResult()
    used_by: Optional[Process] = None

    @property
    def differs(self) -> bool:
        """True if the image has anything else at the path than before."""
        return bool(self.hidden or self.removed)


def find_change(store, path, parent: ParentDir, context: ImageContext) -> Optional[ImageChange]:
    """What another image means for a state path (PathSeen, without an entry if its content is about to be adopted).

    None if there is nothing to do or to report. parent is the image's directory that holds the path.
    """
    return _Finder(store, path, parent, context).change()


def comes_from_image(store, path, parent: ParentDir, context: ImageContext, relative: bytes) -> bool:
    """True if a file of a state path, at this path below it, will be the image's, or gone with it, once the path is merged."""
    if path.change is None or path.change.policy != MERGE:
        return False
    accounts = context.store_accounts, context.accounts
    with store.parent_of(path.spec.relative) as tree:
        actions = actions_of(seeded_entries(store, path.entry), tree, parent, accounts)
        return any(action.path == relative and action.what in (ADD, CHANGE, REPLACE, REMOVE) for action in actions)


class _Finder:
    """Compares one state path of an open store with the image."""

    def __init__(self, store, path, parent, context):
        self._store, self._parent, self._context = store, parent, context
        self._spec, self._original, self._stored, self._entry = path.spec, path.original, path.stored, path.entry

    def change(self):
        if not self._original.real or not self._stored.real or read_notes(self._parent).doubtful:
            return None
        new = self._context.at(self._parent, self._original)
        old, seen = (image_of(self._entry[key]) for key in ("image", "seen")) if self._entry else (None, None)
        met = seen is not None and seen.id == new.id
        if met and (self._spec.on_image_change == KEEP or old is None or old.id == new.id):
            return None
        change = ImageChange(old, seen, new, databases=self._other_versions())
        if change.databases:
            return change
        try:
            change = self._compared(change)
        except OSError as error:
            found = "it cannot be compared: {}".format(because(error))
            raise CopyError(self._spec.path, found, "Fix that, then start again.") from error
        # An earlier start with this policy has already reported why it is not merged.
        reported = met and self._entry["seen"].get("policy") == self._spec.on_image_change and change.policy == KEEP
        return None if reported and self._was_seeded() else change

    def _was_seeded(self):
        return self._entry is not None and bool(self._entry["manifest"])

    def _compared(self, change):
        if not self._was_seeded():
            asked = self._spec.on_image_change != KEEP and self._entry is not None
            reason = "nobody knows what it was before it was adopted" if asked else ""
            return self._by_age(change._replace(reason=reason))
        try:
            return self._by_list(change)
        except StoreError as error:  # the manifest is lost
            return self._by_age(change._replace(reason=str(error)))

    def _by_list(self, change):
        """Compare with what the path was when it was seeded."""
        policy, reason = self._spec.on_image_change, ""
        if policy == MERGE:
            reason = self._why_not(change)
            if not reason:
                return self._merged(change)
            policy = KEEP
        count, names = some_of(hidden(self._seeded(), self._image()), NAMED)
        gone = sum(image is None and not old.is_directory for old, image in side_by_side(self._seeded(), self._image()))
        return change._replace(policy=policy, reason=reason, hidden=count, names=names, removed=gone)

    def _merged(self, change):
        if all(same(old, image) for old, image in side_by_side(self._seeded(), self._image())):
            return change
        accounts = self._context.store_accounts, self._context.accounts
        with self._store.parent_of(self._spec.relative) as tree:
            counts = tally(actions_of(self._seeded(), tree, self._parent, accounts))
            stored = scan(*tree, self._store.place(self._spec.path), 0)
        image = scan(self._parent.fd, self._parent.name, self._spec.path, 0)
        both = ScanResult(*(one + other for one, other in zip(stored, image)))
        process = find_process_using(self._store.place(self._spec.path))
        return change._replace(policy=MERGE, tally=counts, scan=both, used_by=process)

    def _by_age(self, change):
        """Compare with what the store has now: for a path of which nobody knows what it was."""
        if self._original.kind != self._store.look(self._spec.relative).kind:
            return change
        with self._store.parent_of(self._spec.relative) as (fd, name):
            if _database(fd, name):  # two programs' database files cannot be compared
                return change
            own = from_tree(fd, name, self._context.store_accounts)
            count, names = some_of(newer(own, self._image_tree()), NAMED)
        return change._replace(hidden=count, names=names)

    def _why_not(self, change):
        """Why the path is not merged, '' if it can be."""
        if not change.new.known:
            return "nothing says which image this is: name it in cm_persist_image, or build it with container/build"
        if self._original.kind != self._stored.kind:
            return "the image has a {} there, the store a {}".format(self._original.kind, self._stored.kind)
        if self._parent.look_inside().empty:
            return "the image has nothing there"
        mounts = mounts_at_or_below(self._spec.path, self._context.mounts)
        if mounts:
            return "something is mounted at {}".format(mounts[0])
        if self._store.other_mount(self._spec.relative):
            return "its directory in the store is another mount"
        with self._store.parent_of(self._spec.relative) as tree:
            database = _database(*tree) or _database(self._parent.fd, self._parent.name)
        return "it holds a database ({})".format(os.fsdecode(database)) if database else ""

    def _seeded(self):
        return seeded_entries(self._store, self._entry)

    def _image(self):
        # The list that was made with the image is read faster than the image; not if something is mounted over the path.
        context = self._context
        if context.listed and not mounts_at_or_below(self._spec.path, context.mounts):
            entries = listed_entries(context.listed, os.fsencode(path_in_list(self._parent)), context.accounts)
            top = next(entries, None)
            if top is not None:
                return itertools.chain([top], entries)
        return self._image_tree()  # not listed, as below /run, or the list is of no use

    def _image_tree(self):
        return from_tree(self._parent.fd, self._parent.name, self._context.accounts)

    def _other_versions(self):
        """The store's and the image's database, if their versions differ."""
        with self._store.parent_of(self._spec.relative) as (fd, name):
            stored = find_databases(fd, name, self._store.place(self._spec.path))
        if not stored:
            return ()
        by_path = {database.directory[len(self._store.path) :]: database for database in stored}
        for database in find_databases(self._parent.fd, self._parent.name, self._spec.path):
            own = by_path.get(database.directory, stored[0])
            if own.version != database.version:
                return own, database
        return ()


def _database(fd, name):
    return next((visit.path for visit in walk(fd, name) if visit.event != LEAVE and visit.name in DATABASE_FILES), None)
