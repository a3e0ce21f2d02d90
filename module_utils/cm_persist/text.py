# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

from .errors import printable


def size(count):
    """str: a number of bytes."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return "{} bytes".format(count) if unit == "bytes" else "{:.1f} {}".format(count, unit)
        count /= 1000
    return "{:.1f} GB".format(count)


def files(count):
    """str: how many files."""
    return "1 file" if count == 1 else "{:,} files".format(count)


def some(names, most=5):
    """str: the first of some names (list of str), and how many more there are."""
    more = "" if len(names) <= most else " and {} more".format(len(names) - most)
    return ", ".join(printable(name) for name in names[:most]) + more
