# SPDX-License-Identifier: Apache-2.0
"""Look whether the image changed since a state path in the store last met one, and what that means. Nothing is changed."""

import contextlib
import os
from typing import NamedTuple, Optional, Tuple

from ..errors import CopyError, StoreError, because
from ..fs.accounts import Accounts, read_accounts
from ..fs.dirfd import open_regular
from ..fs.node import NONE
from ..host.applications import DATABASE_FILES
from ..host.mounts import mounts_at_or_below
from ..host.postgresql import Database, find_databases
from ..host.processes import Process, find_process_using
from ..original.notes import aside_name, bound_name, removal_name
from ..tree.compare import from_manifest, from_tree, some_of
from ..tree.scan import ScanResult, scan
from ..tree.walk import LEAVE, walk
from .image import Image, fingerprint, identify, image_of
from .three_way import Tally, actions_of, hidden, is_unchanged, newer, removed, seeded_entries, tally

KEEP, MERGE, FAIL = "keep", "merge", "fail"
NAMED = 10  # files that a report names


class ImageContext(NamedTuple):
    """What is known of the image.

    image is which one it is, None where only its paths can be looked at; listed (str) the path of what lists it, '' where that is
    not what tells which it is; accounts are its own, and store_accounts what the owners in the store are called; mounts is the
    mount table (list of Mount).
    """

    image: Optional[Image]
    listed: str
    accounts: Accounts
    store_accounts: Accounts
    mounts: list

    def at(self, parent, original):
        """Image: as it is known at a state path; parent is its ParentDir, original the Node of what stands there."""
        return self.image or fingerprint(parent, original)


def image_context(given, image_manifest, store_accounts, mounts, accounts=None):
    """ImageContext: of this machine; arguments as of identify() and ImageContext. accounts (Accounts) None reads the image's."""
    image = identify(given, image_manifest)
    own = read_accounts() if accounts is None else accounts
    listed = image_manifest if image and not given else ""
    return ImageContext(image, listed, own, own if store_accounts is None else store_accounts, mounts)


class ImageChange(NamedTuple):
    """What a new image means for a state path that the store has.

    old is the image that it was seeded from, or merged with, None where that is not known; seen the one that it last met; new
    this one. policy is what is done, KEEP, MERGE or FAIL, and reason says why that is not what was asked for. hidden counts the
    files that the image has newer, names are some of them; removed those that it no longer has; tally tells what a merge does.
    databases are (the store's, the image's) of two versions; scan what a merge writes; user is a process that uses the store's.
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
    user: Optional[Process] = None

    @property
    def differs(self):
        """bool: whether the image has anything else at the path."""
        return bool(self.hidden or self.removed)


def look_for_change(store, spec, parent, original, stored, entry, context):
    """Look whether a state path meets another image.

    Args:
        store (Store): open.
        spec (StatePath): the path.
        parent (ParentDir): of it.
        original, stored (Node): what stands there, and what the store has.
        entry (dict): its part of the record; None for what is about to be adopted.
        context (ImageContext): of the image.

    Returns:
        ImageChange; None where there is nothing to be done or said.
    """
    # What an earlier start left half removed, or a program put there, is not what the image holds.
    notes = (removal_name, bound_name, aside_name)
    if not original.real or not stored.real or any(parent.look(name(parent.name)).kind != NONE for name in notes):
        return None
    new = context.at(parent, original)
    old, seen = (image_of(entry[key]) for key in ("image", "seen")) if entry else (None, None)
    if seen is not None and seen.id == new.id and (spec.on_image_change == KEEP or old is None or old.id == new.id):
        return None
    change = ImageChange(old, seen, new, databases=_other_versions(store, spec, parent))
    if change.databases:
        return change
    try:
        if entry is None or not entry["manifest"]:
            asked = spec.on_image_change != KEEP and entry is not None
            reason = "nobody knows what it was before it was adopted" if asked else ""
            return _report_unknown(change._replace(reason=reason), store, spec, parent, original, context)
        found = _look(change, store, spec, parent, original, stored, entry, context)
        # Why it is not merged, an earlier start has said that was asked for the same.
        told = seen is not None and seen.id == new.id and entry["seen"].get("policy") == spec.on_image_change
        told = told and found.policy == KEEP
        return None if told else found
    except OSError as error:
        raise CopyError(spec.path, "it cannot be compared: {}".format(because(error)), "Mend that, then start again.") from error


def _look(change, store, spec, parent, original, stored, entry, context):
    reason = ""
    try:
        if spec.on_image_change == MERGE:
            reason = _why_not(change, store, spec, parent, original, stored, context)
            if not reason:
                if is_unchanged(seeded_entries(store, entry), _image_entries(spec, parent, context)):
                    return change
                found = tally(actions_of(store, spec, entry, parent, (context.store_accounts, context.accounts)))
                user = find_process_using(store.place(spec.path))
                return change._replace(policy=MERGE, tally=found, scan=_scan(store, spec, parent), user=user)
        count, names = some_of(hidden(seeded_entries(store, entry), _image_entries(spec, parent, context)), NAMED)
        gone, _names = some_of(removed(seeded_entries(store, entry), _image_entries(spec, parent, context)), 0)
    except StoreError as error:  # the manifest is lost
        return _report_unknown(change._replace(reason=str(error)), store, spec, parent, original, context)
    policy = FAIL if spec.on_image_change == FAIL else KEEP
    return change._replace(policy=policy, reason=reason, hidden=count, names=names, removed=gone)


def _image_entries(spec, parent, context):
    # The list that was made with the image is read faster than the image; not if something was laid over the path.
    if context.listed and not mounts_at_or_below(spec.path, context.mounts):
        within = os.fsencode(os.path.join(os.path.realpath(parent.directory), os.fsdecode(parent.name))).lstrip(b"/")
        with open(open_regular(context.listed), "rb") as file:
            entries = from_manifest(file, context.listed, within, context.accounts)
            top = next(entries, None)
            if top is not None:
                yield top
                yield from entries
                return
    yield from from_tree(parent.fd, parent.name, context.accounts)  # not listed, as below /run, or not to be relied upon


def _report_unknown(change, store, spec, parent, original, context):
    if original.kind != store.look(spec.relative).kind:
        return change
    with _stored(store, spec) as (fd, name):
        if _database(fd, name):  # its files are no two programs' to compare
            return change
        found = newer(from_tree(fd, name, context.store_accounts), from_tree(parent.fd, parent.name, context.accounts))
        count, names = some_of(found, NAMED)
    return change._replace(hidden=count, names=names)


def _why_not(change, store, spec, parent, original, stored, context):
    """str: why a path is not merged; '' where it can be."""
    if not change.new.known:
        return "nothing says which image this is: name it in cm_persist_image, or build it with container/build"
    if original.kind != stored.kind:
        return "the image has a {} there, the store a {}".format(original.kind, stored.kind)
    if parent.look_inside().empty:
        return "the image has nothing there"
    mounts = mounts_at_or_below(spec.path, context.mounts)
    if mounts:
        return "something is mounted at {}".format(mounts[0])
    if store.other_mount(spec.relative):
        return "its directory in the store is another mount"
    with _stored(store, spec) as tree:
        database = _database(*tree) or _database(parent.fd, parent.name)
    return "it holds a database ({})".format(os.fsdecode(database)) if database else ""


def _database(fd, name):
    return next((visit.path for visit in walk(fd, name) if visit.event != LEAVE and visit.name in DATABASE_FILES), None)


def _scan(store, spec, parent):
    with _stored(store, spec) as (fd, name):
        two = scan(fd, name, store.place(spec.path), 0), scan(parent.fd, parent.name, spec.path, 0)
    return ScanResult(*(one + other for one, other in zip(*two)))


def _other_versions(store, spec, parent):
    """tuple of Database: (the store's, the image's) of two versions, or () where there are none."""
    with _stored(store, spec) as (fd, name):
        stored = find_databases(fd, name, store.place(spec.path))
    if not stored:
        return ()
    there = {database.directory[len(store.path) :]: database for database in stored}
    for database in find_databases(parent.fd, parent.name, spec.path):
        own = there.get(database.directory, stored[0])
        if own.version != database.version:
            return own, database
    return ()


@contextlib.contextmanager
def _stored(store, spec):
    parent = store.open_parent(spec.relative)
    try:
        yield parent, os.path.basename(spec.relative)
    finally:
        os.close(parent)
