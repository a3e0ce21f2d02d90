# SPDX-License-Identifier: Apache-2.0
"""The users and groups of an image, by name and number.

They come from the image's own files (passwd(5), group(5)), not from the name service: a number on a volume is one that the image
assigned, and when a container starts no other service answers yet.
"""

import contextlib
import os
from typing import Dict, NamedTuple

FILES = ("etc/passwd", "etc/group")  # of users and of groups, below the root directory
LONGEST = 4 << 20  # bytes of either file
NAMELESS = ":"  # before a number that stands for a name; passwd(5) and group(5) have no such name


class Accounts(NamedTuple):
    """The number of each name."""

    users: Dict[str, int]
    groups: Dict[str, int]


def by_number(numbers: Dict[str, int]) -> Dict[int, bytes]:
    """The name of each number of users or groups, or what stands for it; of several names the first counts."""
    return {number: os.fsencode(name.lstrip(NAMELESS)) for name, number in reversed(list(numbers.items()))}


def read_accounts(root: str = "/") -> Accounts:
    """The accounts of the image with this root directory; a file that does not exist has none."""
    users_and_groups = []
    for name in FILES:
        numbers = {}
        with contextlib.suppress(FileNotFoundError), open(os.path.join(root, name), "rb") as file:
            numbers = read_numbers(file)
        users_and_groups.append(numbers)
    return Accounts(*users_and_groups)


def read_numbers(file) -> Dict[str, int]:
    """The number of each name in one of the FILES, which is open as a binary file."""
    numbers = {}
    for line in file.read(LONGEST).split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[0] and fields[2].isdigit():
            numbers.setdefault(os.fsdecode(fields[0]), int(fields[2]))
    return numbers
