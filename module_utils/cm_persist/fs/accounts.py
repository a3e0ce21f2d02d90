# SPDX-License-Identifier: Apache-2.0
"""The users and groups of an image, by name and number: what an owner is called stays when an image numbers it anew.

Read from the image's own files (passwd(5), group(5)), not through the name service: a number on a volume is one that the image
gave out, and at container start nothing answers questions of another service yet.
"""

import os
from typing import Dict, NamedTuple

LONGEST = 4 << 20  # bytes of either file


class Accounts(NamedTuple):
    """Names (str) to numbers (int)."""

    users: Dict[str, int]
    groups: Dict[str, int]

    def user(self, number):
        """str: what a user is called, or '' where it has no name."""
        return next((name for name, own in self.users.items() if own == number), "")

    def group(self, number):
        """str: what a group is called, or '' where it has no name."""
        return next((name for name, own in self.groups.items() if own == number), "")


def read_accounts(root="/"):
    """Accounts: those of the image whose root directory this is (str); of a file that is not there, none."""
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
