# SPDX-License-Identifier: Apache-2.0
"""Which image is running: found out without a walk, so that a start knows at once whether a volume meets another one."""

import os
import re
import stat
from hashlib import sha256
from typing import Dict, NamedTuple, Optional

from ..errors import StoreError
from ..fs.dirfd import OPEN_DIRECTORY, Opened, list_names, lstat, open_quietly
from ..fs.node import DIRECTORY, Node, ParentDir
from ..tree.manifest import DIGITS, read_identity

FINGERPRINT = "fingerprint "  # prefix of the id of an image that nobody names


class Image(NamedTuple):
    """An image: its id; and its name for people, with a version after the last colon, or ''."""

    id: str
    name: str = ""

    @property
    def known(self) -> bool:
        """True if the id is the image's own, not only the fingerprint of a path in it."""
        return not self.id.startswith(FINGERPRINT)

    def describe(self) -> str:
        """The image as messages name it."""
        return self.name or ("image {}".format(self.id[:12]) if self.known else "one without a name")

    def note(self) -> Dict[str, str]:
        """The image as the record has it."""
        return {"id": self.id, "name": self.name}


def image_of(note: Optional[dict]) -> Optional[Image]:
    """The image of a note in the record."""
    return None if note is None else Image(note["id"], note["name"])


def identify(given: str, image_manifest: str) -> Optional[Image]:
    """The running image, None if only its paths can be looked at. given is what the user calls it, '' for nothing; the list of
    the image may be missing."""
    if given:
        return Image(given, given)
    identity = read_identity(image_manifest)
    return None if identity is None else Image(*identity)


def fingerprint(parent: ParentDir, original: Node) -> Image:
    """An image known by one path in it: the original itself, and its first level. Changes in deeper levels do not alter it."""
    lines = [_trait(parent.name, parent.fd)]
    if original.kind == DIRECTORY:
        with Opened(open_quietly(parent.name, OPEN_DIRECTORY, parent.fd)) as fd:
            lines.extend(_trait(name, fd) for name in list_names(fd))
    return Image(FINGERPRINT + sha256("\n".join(lines).encode("ascii")).hexdigest()[:DIGITS])


def refuse_older(image: Optional[Image], entries: Dict[str, dict]):
    """Refuse the running image if it is older than the one the store was last used with, and both names are versions of one
    image. entries are the record's, by state path. Raises StoreError."""
    for path, entry in sorted(entries.items()):
        seen = image_of(entry["seen"])
        if image and seen and is_older(image.name, seen.name):
            found = "the store was last used with {}, and this is {}: an older image may not read what a newer one wrote"
            hint = (
                "Start {} or a later one. Or, once it is as the older one can read it (rollback.yml, a backup of yours), set "
                "cm_persist_allow_downgrade for one start."
            )
            raise StoreError(path, found.format(seen.name, image.name), hint.format(seen.name))


def is_older(name: str, other: str) -> bool:
    """True if a name is an older version of what the other names; False if that cannot be determined."""
    one, two = _version(name), _version(other)
    return bool(one and two and one[0] == two[0] and one[1] < two[1])


def _version(name):
    # "registry:5000/manager:18.9.23-persist@sha256:…": the tag follows the colon after the last slash.
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
    # Whole seconds, as layers keep no more. Not the inode's number: it differs between containers.
    fields = os.fsencode(name).hex(), status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns // 10**9
    return " ".join(map(str, fields))
