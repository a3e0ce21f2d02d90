# SPDX-License-Identifier: Apache-2.0
"""Numbers and lists as people read them."""

from typing import List

from .errors import printable


def size(count: float, byte: str = "bytes") -> str:
    """A number of bytes with its unit; byte is the word for the smallest one."""
    if count < 1000:
        return "1 byte" if count == 1 and byte == "bytes" else "{} {}".format(round(count), byte)
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return "{:.1f} {}".format(count, unit)
    return "{:.1f} TB".format(count / 1000)


def files(count: int) -> str:
    """A number of files."""
    return "1 file" if count == 1 else "{:,} files".format(count)


def some(names: List[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = "" if len(names) <= most else " and {} more".format(len(names) - most)
    return ", ".join(printable(name) for name in names[:most]) + more
