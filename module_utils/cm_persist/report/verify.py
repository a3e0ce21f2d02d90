# SPDX-License-Identifier: Apache-2.0
"""What the list of a state path, as it was seeded, tells: what an image has newer, what became of the files, and whether a
database lost what makes it one. Nothing is changed.
"""

import errno
import os

from ..fs.dirfd import lstat, open_directory, open_regular
from ..fs.node import NONE
from ..host.applications import VERSION
from ..host.mounts import mounts_at_or_below, real_path
from ..original.notes import aside_name, bound_name
from ..tree.compare import from_manifest, from_tree, same, side_by_side, some_of
from ..upgrade.three_way import hidden, seeded_entries

NAMED = 10  # files that are named


def find_hidden(look, spec, image, seen, entry):
    """Count the files that the image has newer than what was seeded.

    Args:
        look (Look): of info_paths.py.
        spec (StatePath): the path.
        image (ParentDir): of it.
        seen (LinkSeen): what stands there.
        entry (dict): its part of the record, with a manifest.

    Returns:
        tuple: (int, tuple of bytes), how many, and the first of them; None where the image has no list of the path, and does not
        show it.
    """
    listed = _listed(look, spec, image, seen)
    if listed is not None:
        with open(open_regular(look.image_manifest), "rb") as file:
            entries = from_manifest(file, look.image_manifest, listed, look.accounts)
            return some_of(hidden(seeded_entries(look.store, entry), entries), NAMED)
    # What an earlier start left half removed, or a program put there, is not what the image holds.
    others = any(image.look(name(image.name)).kind != NONE for name in (aside_name, bound_name)) if image.fd is not None else True
    if others or seen.removing or seen.bound or not seen.current.real:
        return None
    return some_of(hidden(seeded_entries(look.store, entry), from_tree(image.fd, image.name, look.accounts)), NAMED)


def _listed(look, spec, image, seen):
    """bytes: what part of the image's list the path is; None where it has no such part, or something was laid over the path."""
    laid_over = mounts_at_or_below(spec.path, look.mounts)
    if not os.path.isfile(look.image_manifest) or (laid_over and not (seen.bound and laid_over == [real_path(spec.path)])):
        return None
    within = os.fsencode(os.path.join(os.path.realpath(image.directory), os.fsdecode(image.name))).lstrip(b"/")
    with open(open_regular(look.image_manifest), "rb") as file:
        first = next(from_manifest(file, look.image_manifest, within, look.accounts), None)
    # Listed as a link it was after a start: what the image had, that list does not tell.
    return within if first is not None and first.fields[0] in (b"d", b"f") else None


def compare_with_seeded(look, spec, entry):
    """Compare what the store has with what was seeded: the metadata of every file, and the content of small ones.

    Args:
        look (Look): of info_paths.py.
        spec (StatePath): the path, which the store has.
        entry (dict): its part of the record, with a manifest.

    Returns:
        dict: changed, missing and added, in files; of directories only a change of mode or owner counts.

    Raises:
        StoreError: the manifest is lost or broken.
        OSError: something cannot be read, or came or went meanwhile.
    """
    count = {"changed": 0, "missing": 0, "added": 0}
    parent = look.store.open_parent(spec.relative)
    try:
        own = from_tree(parent, os.path.basename(spec.relative), look.store_accounts)
        for old, now in side_by_side(seeded_entries(look.store, entry), own):
            if now is None:
                count["missing"] += not old.is_directory
            elif old is None:
                count["added"] += not now.is_directory
            else:
                count["changed"] += not _is_same(old, now)
    finally:
        os.close(parent)
    return count


def _is_same(old, now):
    try:
        return same(old, now)
    except OSError as error:
        if error.errno == errno.ESTALE:  # it is being written to
            return False
        raise


def lost_databases(store, spec, entry):
    """Look for directories that lost the file by which PostgreSQL knows its own.

    A directory that is gone as a whole is none of them: a newer PostgreSQL may have taken over from it. Neither are those of a
    cluster's single databases, which have such a file each and may be dropped.

    Args:
        store (Store): open.
        spec (StatePath): the path, which the store has as a directory.
        entry (dict): its part of the record, with a manifest.

    Returns:
        list of bytes: the directories, relative to the path.

    Raises:
        StoreError: the manifest is lost or broken.
    """
    names = [each.key for each in seeded_entries(store, entry) if each.key[-1:] == (VERSION,)]
    clusters = []
    for key in sorted((key[:-1] for key in names), key=len):
        if not any(key[: len(above)] == above for above in clusters):
            clusters.append(key)
    return [b"/".join(key) for key in sorted(clusters) if _lacks_version(store, spec, key)]


def _lacks_version(store, spec, key):
    try:
        fd = open_directory(store.fd, b"/".join((spec.relative, *key)), store.path)
    except FileNotFoundError:
        return False
    try:
        return lstat(VERSION, fd) is None
    finally:
        os.close(fd)
