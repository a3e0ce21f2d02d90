# SPDX-License-Identifier: Apache-2.0
"""The users and groups of an image, by name and number.

They come from the image's own files (passwd(5), group(5)), not from the name service: a number on a volume is one that the image
assigned, and when a container starts no other service answers yet.
"""

import os
from typing import Dict, NamedTuple

LONGEST = 4 << 20  # bytes of either file


class Accounts(NamedTuple):
    """The number of each name."""

    users: Dict[str, int]
    groups: Dict[str, int]

    def user(self, number: int) -> str:
        """The name of a user, or '' if it has none."""
        return next((name for name, own in self.users.items() if own == number), "")

    def group(self, number: int) -> str:
        """The name of a group, or '' if it has none."""
        return next((name for name, own in self.groups.items() if own == number), "")


def read_accounts(root: str = "/") -> Accounts:
    """The accounts of the image with this root directory; a file that does not exist has none."""
    return Accounts(_read(os.path.join(root, "etc/passwd")), _read(os.path.join(root, "etc/group")))


def _read(path):
    numbers = {}
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST)
    except FileNotFoundError:
        return numbers
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[0] and fields[2].isdigit():
            numbers.setdefault(os.fsdecode(fields[0]), int(fields[2]))
    return numbers
