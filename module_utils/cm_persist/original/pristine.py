# SPDX-License-Identifier: Apache-2.0
"""What proves that an original can be had again: a manifest, of the image or of the seed, that lists exactly what is there."""

import os
from typing import NamedTuple

from ..errors import because
from ..fs.dirfd import open_regular
from ..store.layout import MANIFESTS
from ..tree.manifest import Difference, compare

IMAGE_MANIFEST = "/opt/cm_persist/image.manifest"  # where container/Containerfile writes it


class Manifest(NamedTuple):
    """A file (str) that lists a tree, and which part of it is meant: within (str) is a path in it, '' for the whole."""

    file: str
    within: str = ""

    @property
    def of_image(self):
        """bool: whether it lists what the image holds, everything; that of a seed lists what one path was."""
        return bool(self.within)


def difference(manifest, image, name=None, begun=False):
    """Compare what stands beside a state path, or at it, with a manifest.

    Args:
        manifest (Manifest): what it should be.
        image (ParentDir): of the state path.
        name (bytes): its name; None for the state path itself.
        begun (bool): its removal has begun, as for manifest.compare().

    Returns:
        Difference: the first; None where there is none.
    """
    return _compare(manifest, image.fd, name or image.name, begun)


def is_as_seeded(store, spec, name):
    """bool: whether the store's copy of a state path is, throughout, what was seeded: nobody has written to it since.

    Args:
        store (Store): open.
        spec (StatePath): the path.
        name (str): its manifest's, in the store; None where it has none.
    """
    if name is None:
        return False
    try:
        parent = store.open_parent(spec.relative)
    except FileNotFoundError:
        return False
    try:
        manifest = Manifest(os.path.join(store.state_path, os.fsdecode(MANIFESTS), name))
        return _compare(manifest, parent, os.path.basename(spec.relative), False) is None
    finally:
        os.close(parent)


def _compare(manifest, dir_fd, name, begun):
    try:
        # Not blocking: what stands there on a hostile volume may be a FIFO, which then has nothing to say.
        with open(open_regular(manifest.file), "rb") as file:
            return compare(file, dir_fd, name, begun, os.fsencode(manifest.within))
    except OSError as error:
        # Whatever cannot be compared is not provably the same.
        return Difference(b".", "cannot be compared, {}".format(because(error)))


def find_proof(manifests, image, name=None):
    """Find a manifest that lists exactly what stands there.

    Args:
        manifests (iterable of Manifest): those that may.
        image, name: as difference() takes them.

    Returns:
        tuple: (Manifest or None, Difference or None), the first that does; else how it differs from the last.
    """
    found = None
    for manifest in manifests:
        found = difference(manifest, image, name)
        if found is None:
            return manifest, None
    return None, found


def manifests_of(image, image_manifest, seed_manifest):
    """tuple of Manifest: what lists the original of a state path (image is its ParentDir), the image's first.

    Args:
        image_manifest (str): path of the image's; it may be missing.
        seed_manifest (str): path of the one that was written when the path was seeded; '' for none.
    """
    known = []
    if os.path.isfile(image_manifest):
        within = os.path.join(os.path.realpath(image.directory), os.fsdecode(image.name))
        known.append(Manifest(image_manifest, within.lstrip("/")))
    if seed_manifest:
        known.append(Manifest(seed_manifest))
    return tuple(known)
