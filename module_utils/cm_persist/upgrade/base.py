# SPDX-License-Identifier: Apache-2.0
"""The base of a merge: what the image had at a state path that it was seeded from, or merged with last.

The list that was made with the image says so. Without a list, the base is what was found there at that time: an application may
have written it, so nothing of it is proven to be the image's.
"""

import itertools
import os
from typing import Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..errors import StoreError, because
from ..fs.accounts import Accounts
from ..fs.dirfd import open_regular
from ..fs.node import DIRECTORY, FILE, ParentDir
from ..host.mounts import Mount
from ..original.pristine import path_in_list
from ..paths import StatePath
from ..store.layout import BASE
from ..store.staging import new_manifest
from ..tree.compare import Entry, from_manifest
from ..tree.manifest import copy_part
from .image import Image, fingerprint

KINDS = {DIRECTORY: b"d", FILE: b"f"}


class ImageContext(NamedTuple):
    """What is known of the running image.

    image: which one it is, None if only its paths can be looked at. list: the path of its list, '' without one; identified: the
    list says which image this is, so that it can be read in place of the image. accounts: its users and groups; store_accounts:
    those of the store's owners. mounts: the mount table. followed: the users and groups as the manager will know them, which are
    the image's unless the store has the file that names them. specs: all state paths.
    """

    image: Optional[Image]
    list: str
    identified: bool
    accounts: Accounts
    store_accounts: Accounts
    mounts: List[Mount]
    followed: Accounts
    specs: Tuple[StatePath, ...] = ()

    def at(self, parent: ParentDir, original) -> Image:
        """The image as it is known at a state path, where the original (Node) is."""
        return self.image or fingerprint(parent, original)

    def entries(self, parent: ParentDir, kind: str) -> Optional[Iterator[Entry]]:
        """The files of a state path as the list of the image has them; None if it does not list a node of that kind there."""
        if not self.list:
            return None
        entries = listed_entries(self.list, os.fsencode(path_in_list(parent)), self.accounts)
        # If it is listed as a link, the list was made after a start, and does not say what the image had.
        top = next(entries, None)
        return itertools.chain([top], entries) if top is not None and top.fields[0] == KINDS.get(kind) else None


class Base(NamedTuple):
    """The files of a base, and whether the list of the image has them. Without a list nobody knows that a file is untouched."""

    entries: Iterable[Entry]
    listed: bool


def write_base(private_fd: int, context: ImageContext, parent: ParentDir, kind: str) -> bool:
    """Write the part of the image's list that has a state path, as BASE into a private directory; False if it is not listed as a
    node of that kind."""
    if context.entries(parent, kind) is None:
        return False
    with new_manifest(private_fd, BASE) as file, open(open_regular(context.list), "rb") as whole:
        copy_part(whole, os.fsencode(path_in_list(parent)), file, context.accounts)
    return True


def read_base(store, entry: dict) -> Base:
    """The base of a state path; entry is the record's. Its entries raise StoreError if the file is lost or broken."""
    return Base(_entries(store, entry["base"] or entry["manifest"]), entry["listed"])


def seeded_entries(store, entry: dict) -> Iterator[Entry]:
    """The files of a state path as it was seeded or merged last. Raises StoreError if its manifest is lost or broken."""
    return _entries(store, entry["manifest"] or entry["base"])


def listed_entries(path: str, within: bytes, accounts: Accounts) -> Iterator[Entry]:
    """The files of a part of an image's list, none if it is not listed; accounts are the image's, path is the list's."""
    with open(open_regular(path), "rb") as file:
        yield from from_manifest(file, path, within, accounts)


def _entries(store, name) -> Iterator[Entry]:
    path = store.manifest_path(name)
    try:
        fd = open_regular(path)
    except OSError as error:
        hint = "Restore it from a backup; without it nothing can be merged."
        raise StoreError(path, "the manifest cannot be opened: {}".format(because(error)), hint) from error
    with open(fd, "rb") as file:
        yield from from_manifest(file, path)
