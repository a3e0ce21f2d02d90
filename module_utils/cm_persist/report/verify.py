# SPDX-License-Identifier: Apache-2.0
"""What the manifest of a state path, as it was seeded, shows: which files an image has newer, and what became of the files.
Nothing is changed."""

import errno
import os
from typing import List, NamedTuple, Optional, Tuple

from ..fs.accounts import Accounts
from ..fs.node import ParentDir
from ..host.mounts import Mount, mounts_at_or_below, real_path
from ..link.seen import LinkSeen
from ..original.pristine import path_in_list
from ..paths import StatePath
from ..store.store import Store
from ..tree.compare import from_tree, same, side_by_side, some_of
from ..upgrade.base import listed_entries, read_base, seeded_entries
from ..upgrade.three_way import hidden

NAMED = 10  # files that are named


class ImageList(NamedTuple):
    """The list that was made when the image was built, and what is needed to read it."""

    path: str  # it may be missing
    accounts: Accounts  # the image's
    mounts: List[Mount]

    def part_of(self, parent: ParentDir, seen: LinkSeen) -> Optional[bytes]:
        """What part of the list a state path is; None if it is not listed, or something was mounted over it."""
        laid_over = mounts_at_or_below(seen.spec.path, self.mounts)
        if not os.path.isfile(self.path) or (laid_over and not (seen.mount.bound and laid_over == [real_path(seen.spec.path)])):
            return None
        within = os.fsencode(path_in_list(parent))
        first = next(listed_entries(self.path, within, self.accounts), None)
        # If it is listed as a link, the list was made after a start, and does not say what the image had.
        return within if first is not None and first.fields[0] in (b"d", b"f") else None


class SeededPath(NamedTuple):
    """A state path in an open store, with its entry in the record, which has a manifest.

    Its methods raise StoreError if the manifest is lost or broken.
    """

    store: Store
    spec: StatePath
    entry: dict

    def find_hidden(self, parent: ParentDir, seen: LinkSeen, image_list: ImageList) -> Optional[Tuple[int, Tuple[bytes, ...]]]:
        """How many files the image has newer than what was seeded, and the first of them; None if the image has no list of the
        path, and does not show it."""
        within = image_list.part_of(parent, seen)
        if within is not None:
            own = listed_entries(image_list.path, within, image_list.accounts)
        elif seen.notes.doubtful or seen.mount.bound or not seen.current.real:
            return None
        else:
            own = from_tree(parent.fd, parent.name, image_list.accounts)
        return some_of(hidden(read_base(self.store, self.entry).entries, own), NAMED)

    def compare(self, accounts: Accounts) -> dict:
        """How many files of the store are changed, missing and added since: the metadata of all, the content of small ones. Of
        directories only a change of mode or owner counts. accounts are the names of the owners in the store.

        Raises OSError if something cannot be read, or came or went meanwhile.
        """
        count = {"changed": 0, "missing": 0, "added": 0}
        with self.store.parent_of(self.spec.relative) as (parent, name):
            own = from_tree(parent, name, accounts)
            for old, now in side_by_side(seeded_entries(self.store, self.entry), own):
                if now is None:
                    count["missing"] += not old.is_directory
                elif old is None:
                    count["added"] += not now.is_directory
                else:
                    count["changed"] += not _is_same(old, now)
        return count


def _is_same(old, now) -> bool:
    try:
        return same(old, now)
    except OSError as error:
        if error.errno == errno.ESTALE:  # it is being written to
            return False
        raise
