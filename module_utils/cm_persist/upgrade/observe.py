# SPDX-License-Identifier: Apache-2.0
"""Find out whether a state path in the store meets another image, and what that image changed. Changes nothing."""

from typing import List, NamedTuple, Optional, Tuple

from ..errors import CopyError, StoreError, because, printable
from ..fs.accounts import Accounts
from ..fs.node import ParentDir
from ..host.mounts import mounts_at_or_below
from ..host.postgresql import Database, find_databases
from ..original.links_out import describe, find_links_out
from ..original.notes import read_notes
from ..original.pristine import Manifest, difference, path_in_list
from ..paths import StatePath
from ..store.uses import Use, find_use, mounts_of
from ..tree.compare import from_tree, same, side_by_side, some_of
from ..tree.manifest import read_identity
from ..tree.scan import ScanResult, scan
from .base import ImageContext, read_base
from .databases import find_by_content, find_by_name
from .image import Image, identify, image_of
from .three_way import ADD, CHANGE, REMOVE, REPLACE, Tally, actions_of, hidden, newer, tally

KEEP, MERGE, MERGE_AGAIN, FAIL = "keep", "merge", "merge_again", "fail"
NAMED = 10  # files that a report names


def image_context(settings, specs: List[StatePath], store_accounts: Optional[Accounts], machine) -> ImageContext:
    """The image of this machine; settings have image and image_manifest, store_accounts is None if nobody wrote them yet."""
    image, own = identify(settings.image, settings.image_manifest), machine.accounts()
    return ImageContext(
        image=image,
        list=settings.image_manifest if read_identity(settings.image_manifest) else "",
        identified=image is not None and not settings.image,
        accounts=own,
        store_accounts=own if store_accounts is None else store_accounts,
        mounts=machine.mounts(),
        followed=own,
        specs=tuple(specs),
    )


class ImageChange(NamedTuple):
    """What a new image means for a state path that the store has.

    old: the image that it was seeded from or merged with, None if unknown; seen: the one that it last met; new: the running one.
    policy: what is done, KEEP, MERGE or FAIL; reason: why that is not what the user asked for, and whether
    that is lasting as long as this image runs. hidden: how many files the image
    has newer, names: some of them; removed: how many it no longer has. tally: what a merge does; scan: what it writes. databases:
    the store's and the image's, if their versions differ. used_by: what uses the store's copy.
    """

    old: Optional[Image]
    seen: Optional[Image]
    new: Image
    policy: str = KEEP
    reason: str = ""
    lasting: bool = False
    hidden: int = 0
    removed: int = 0
    names: Tuple[bytes, ...] = ()
    tally: Tally = Tally()
    databases: Tuple[Database, ...] = ()
    scan: ScanResult = ScanResult()
    used_by: Use = None

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
        actions = actions_of(read_base(store, path.entry), tree, parent, accounts)
        return any(action.path == relative and action.what in (ADD, CHANGE, REPLACE, REMOVE) for action in actions)


class _Finder:
    """Compares one state path of an open store with the image."""

    def __init__(self, store, path, parent, context):
        self._store, self._parent, self._context = store, parent, context
        self._spec, self._original, self._stored, self._entry = path.spec, path.original, path.stored, path.entry

    def change(self):
        if not self._original.real or not self._stored.real or read_notes(self._parent, self._context.list).doubtful:
            return None
        new = self._context.at(self._parent, self._original)
        old, seen = (image_of(self._entry[key]) for key in ("image", "seen")) if self._entry else (None, None)
        met = seen is not None and seen.id == new.id
        if met and (self._spec.on_image_change == KEEP or old is None or old.id == new.id or self._is_settled()):
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

    def _is_settled(self):
        """True if an earlier start with this image and this policy found a lasting reason not to merge: nothing is read again."""
        seen = self._entry["seen"]
        return bool(seen.get("lasting")) and seen.get("policy") == self._spec.on_image_change

    def _was_seeded(self):
        return self._entry is not None and bool(self._entry["manifest"] or self._entry["base"])

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
        if policy in (MERGE, MERGE_AGAIN):
            reason = self._why_not(change)
            if not reason and self._is_unchanged():
                return change
            image = scan(self._parent.fd, self._parent.name, self._spec.path, 0)
            why = reason or self._why_never(image)
            if not why:
                return self._merged(change, image)
            policy, change, reason = KEEP, change._replace(lasting=not reason), why
        count, names = some_of(hidden(self._seeded(), self._image()), NAMED)
        gone = sum(image is None and not old.is_directory for old, image in side_by_side(self._seeded(), self._image()))
        return change._replace(policy=policy, reason=reason, hidden=count, names=names, removed=gone)

    def _is_unchanged(self):
        return all(same(old, image) for old, image in side_by_side(self._seeded(), self._image()))

    def _brings_links_out(self, image):
        """A reason, as below, if the image, as it was scanned, has links that would lead nowhere from the store."""
        links = find_links_out(self._spec, self._context.specs, self._store.path, image.leading_out)
        text = "in the image, relative links lead out of it, to where the store has nothing: {}"
        return text.format(describe(links)) if links else ""

    def _merged(self, change, image):
        accounts = self._context.store_accounts, self._context.accounts
        with self._store.parent_of(self._spec.relative) as tree:
            counts = tally(actions_of(read_base(self._store, self._entry), tree, self._parent, accounts))
            stored = scan(*tree, self._store.place(self._spec.path), 0)
        both = ScanResult(*(one + other for one, other in zip(stored, image)))
        return change._replace(policy=MERGE, tally=counts, scan=both, used_by=find_use(self._store, self._spec.path))

    def _by_age(self, change):
        """Compare with what the store has now: for a path of which nobody knows what it was."""
        if self._original.kind != self._store.look(self._spec.relative).kind:
            return change
        with self._store.parent_of(self._spec.relative) as (fd, name):
            if find_by_name(fd, name):  # two programs' database files cannot be compared
                return change
            own = from_tree(fd, name, self._context.store_accounts)
            count, names = some_of(newer(own, self._image_tree()), NAMED)
        return change._replace(hidden=count, names=names)

    def _why_left(self):
        """Why the image is not merged once more, '' if it may be."""
        left, new = image_of(self._entry["left"]), self._context.at(self._parent, self._original)
        if self._spec.on_image_change == MERGE_AGAIN or left is None or left.id != new.id:
            return ""
        return "a rollback has taken the merge of this image back; to merge it once more, say on_image_change: merge_again"

    def _why_not(self, change):
        """Why the path is not merged, '' if it can be."""
        if not change.new.known:
            return "nothing says which image this is: name it in cm_persist_image, or build it with container/build"
        if self._original.kind != self._stored.kind:
            return "the image has a {} there, the store a {}".format(self._original.kind, self._stored.kind)
        if self._parent.look_inside().empty:
            return "the image has nothing there"
        mounts = mounts_at_or_below(self._spec.path, self._context.mounts)
        mounts += mounts_of(self._store, self._spec.path, self._context.mounts)
        if mounts:
            return "something is mounted at {}".format(mounts[0])
        if self._store.other_mount(self._spec.relative):
            return "its directory in the store is another mount"
        if self._context.entries(self._parent, self._original.kind) is not None:
            whole = Manifest(self._context.list, path_in_list(self._parent))
            found = difference(whole, (self._parent.fd, self._parent.name))
            if found is not None:
                text = "the path has something else than the image's list says: {} is {}"
                return text.format(printable(found.path), found.found)
        return ""

    def _why_never(self, image):
        """Why the path is not merged with this image, whatever else changes; '' if it can be. image is its scan."""
        by_name = self._why_left() or self._holds_database(find_by_name)
        # Which reads each file: only where a merge would be made.
        return by_name or self._holds_database(find_by_content) or self._brings_links_out(image)

    def _holds_database(self, find):
        """A reason, as above, if one of the two trees holds a database, which find() finds."""
        with self._store.parent_of(self._spec.relative) as tree:
            database = find(*tree) or find(self._parent.fd, self._parent.name)
        return "it holds a database ({})".format(printable(database)) if database else ""

    def _seeded(self):
        return read_base(self._store, self._entry).entries

    def _image(self):
        # The list that was made with the image is read faster than the image; not if something is mounted over the path.
        context, entries = self._context, None
        if context.identified and not mounts_at_or_below(self._spec.path, context.mounts):
            entries = context.entries(self._parent, self._original.kind)
        return self._image_tree() if entries is None else entries

    def _image_tree(self):
        return from_tree(self._parent.fd, self._parent.name, self._context.accounts)

    def _other_versions(self):
        """The store's and the image's database, if their versions differ. One of the image at a place where the store has none
        must have the version of any that the store has."""
        with self._store.parent_of(self._spec.relative) as (fd, name):
            stored = find_databases(fd, name, self._store.place(self._spec.path))
        if not stored:
            return ()
        by_path = {database.directory[len(self._store.path) :]: database for database in stored}
        for database in find_databases(self._parent.fd, self._parent.name, self._spec.path):
            same_place = by_path.get(database.directory)
            compared = stored if same_place is None else (same_place,)
            if database.version not in [each.version for each in compared]:
                return compared[0], database
        return ()
