# SPDX-License-Identifier: Apache-2.0
"""What proves that an original can be had again: a manifest, of the image or of the seed, that lists exactly what is there."""

import os
from typing import Iterable, NamedTuple, Optional, Tuple

from ..errors import because
from ..fs.dirfd import OPEN_DIRECTORY, Opened, open_regular
from ..fs.node import ParentDir
from ..fs.syscalls import birth_time
from ..tree.manifest import METADATA, Difference, Scrutiny, compare

IMAGE_MANIFEST = "/opt/cm_persist/image.manifest"  # where container/Containerfile writes it


class Manifest(NamedTuple):
    """A file that lists a tree, and which part of it is meant: a path in it, '' for the whole.

    layer_time: a file that was last changed not later than that (ctime, nanoseconds since 1970) is as a layer of the image has
    it; 0 if no such time is known.
    """

    file: str
    within: str = ""
    layer_time: int = 0

    @property
    def of_image(self) -> bool:
        """True if it lists all that the image holds; that of a seed lists one state path."""
        return bool(self.within)


def manifests_of(parent: ParentDir, image_manifest: str, seed_manifest: str, created: int = 0) -> Tuple[Manifest, ...]:
    """The manifests that list the original of a state path: the image's, which may be missing, and then the one that was written
    when the path was seeded ('' for none). created is as created_at() gives it."""
    known = []
    if os.path.isfile(image_manifest):
        # Where the container's time is not known, the list's counts: its layer is the last that an image gets.
        known.append(Manifest(image_manifest, path_in_list(parent), created or os.stat(image_manifest).st_ctime_ns))
    if seed_manifest:
        known.append(Manifest(seed_manifest, "", created))
    return tuple(known)


def created_at(overlay: str) -> int:
    """When the container with this overlayfs (its mount point) was made, in nanoseconds since 1970, 0 if that is not known: its
    top has the birth time of the container's own layer. No program in the container wrote anything before."""
    with Opened(os.open(overlay, OPEN_DIRECTORY)) as fd:
        return birth_time(fd)


def path_in_list(parent: ParentDir) -> str:
    """The path by which the list of the image has a state path: without links on the way, and relative to the root."""
    return os.path.join(os.path.realpath(parent.directory), os.fsdecode(parent.name)).lstrip("/")


def find_proof(
    manifests: Iterable[Manifest], parent: ParentDir, name: Optional[bytes] = None, content: bool = False
) -> Tuple[Optional[Manifest], Optional[Difference]]:
    """The first of these manifests that lists exactly what is at a name next to the state path, None for the state path itself;
    and None. Without such a manifest, None, and how the last one differs. content: compare the content, too."""
    found = None
    for manifest in manifests:
        found = difference(manifest, (parent.fd, name or parent.name), Scrutiny(content=content))
        if found is None:
            return manifest, None
    return None, found


def difference(manifest: Manifest, tree: Tuple[int, bytes], scrutiny: Scrutiny = METADATA) -> Optional[Difference]:
    """The first difference between a manifest and a tree (an open directory, and a name in it); None if there is none."""
    try:
        # Not blocking: on a hostile volume there may be a FIFO, from which nothing can be read.
        with open(open_regular(manifest.file), "rb") as file:
            return compare(file, tree, scrutiny._replace(layer_time=manifest.layer_time), os.fsencode(manifest.within))
    except OSError as error:
        # What cannot be compared is not provably the same.
        return Difference(b".", "cannot be compared, {}".format(because(error)))
