# SPDX-License-Identifier: Apache-2.0
"""Which image this is: told in one look, so that a start knows without a walk whether a volume meets another one."""

import os
import re
import stat
from hashlib import sha256
from typing import NamedTuple

from ..errors import StoreError
from ..fs.dirfd import OPEN_DIRECTORY, list_names, lstat, open_quietly
from ..tree.manifest import DIGITS, read_identity

FINGERPRINT = "fingerprint "  # how the id of an image begins that nobody names


class Image(NamedTuple):
    """id (str) differs between images; name (str) is what people call it, with a version after its last colon, or ''."""

    id: str
    name: str = ""

    @property
    def known(self):
        """bool: whether the id is the image's own, and not only how a path in it looks."""
        return not self.id.startswith(FINGERPRINT)

    def describe(self):
        """str: what to call it."""
        return self.name or ("image {}".format(self.id[:12]) if self.known else "one without a name")

    def note(self):
        """dict: how the record has it."""
        return {"id": self.id, "name": self.name}


def image_of(note):
    """Image: of a note in the record; None of None."""
    return None if note is None else Image(note["id"], note["name"])


def identify(given, image_manifest):
    """Tell which image this is.

    Args:
        given (str): what the user calls it; '' for nothing.
        image_manifest (str): path of what lists the image; it may be missing.

    Returns:
        Image; None where only its paths can be looked at.
    """
    if given:
        return Image(given, given)
    identity = read_identity(image_manifest)
    return None if identity is None else Image(*identity)


def fingerprint(parent, original):
    """Tell an image by how a path in it looks: the path itself, and what it holds at its first level.

    Args:
        parent (ParentDir): of the state path.
        original (Node): what stands there.

    Returns:
        Image: with an id that changes in deeper levels do not alter.
    """
    text = [_trait(parent.name, parent.fd)]
    if original.kind == "directory":
        fd = open_quietly(parent.name, OPEN_DIRECTORY, parent.fd)
        try:
            text.extend(_trait(name, fd) for name in list_names(fd))
        finally:
            os.close(fd)
    return Image(FINGERPRINT + sha256("\n".join(text).encode("ascii")).hexdigest()[:DIGITS])


def refuse_older(image, entries):
    """Refuse an image that is older than the one that the store was last used with, where both are versions of one image.

    Args:
        image (Image): this one; None where it is not known.
        entries (dict): of the record, state path to entry.

    Raises:
        StoreError: it is older.
    """
    for path, entry in sorted(entries.items()):
        seen = image_of(entry["seen"])
        if image and seen and is_older(image.name, seen.name):
            raise StoreError(
                path,
                "the store was last used with {}, and this is {}: an older image may not read what a newer one wrote".format(
                    seen.name, image.name
                ),
                "Start {} or a later one. Or, once it is as the older one can read it (rollback.yml, a backup of yours), set "
                "cm_persist_allow_downgrade for one start.".format(seen.name),
            )


def is_older(name, other):
    """bool: whether a name (str) is an older version of what another names; False where that cannot be told."""
    one, two = _version(name), _version(other)
    return bool(one and two and one[0] == two[0] and one[1] < two[1])


def _version(name):
    # "registry:5000/manager:18.9.23-persist@sha256:…": the tag is what follows the colon after the last slash.
    name = name.split("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = ("", name) if "/" not in name else (name, "")
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    if not numbers:
        return None
    version = [int(number) for number in numbers.group(1).split(".")]
    while version and not version[-1]:  # 18.0 is 18
        version.pop()
    return repository, version


def _trait(name, fd):
    status = lstat(name, fd)
    if status is None:
        return ""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    # Whole seconds, as layers keep no more. Not the inode's number: it is another in each container.
    fields = os.fsencode(name).hex(), status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns // 10**9
    return " ".join(map(str, fields))
