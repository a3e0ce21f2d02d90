# SPDX-License-Identifier: Apache-2.0
"""A tree of a manager's size and shape, the same each time: 14,000 files, 500 MB."""

import os
import random

SMALL, PAGES, LOGS = 12_984, 1_000, 16  # files of source and configuration, of database pages, of write-ahead log
BUILT = 1_530_000_000  # seconds since the epoch


def make(top):
    """Make it.

    Args:
        top (str): a directory that is not there yet.

    Returns:
        tuple: (int, int), files and bytes.
    """
    content = random.Random(9)
    block = content.randbytes(1 << 20)
    sizes = [content.randrange(200, 12_000) for _ in range(SMALL)] + [8192 * content.randrange(1, 36) for _ in range(PAGES)]
    for number, size in enumerate(sizes + [16 << 20] * LOGS):
        directory = os.path.join(top, "part-{}".format(number % 300))
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "file-{}".format(number)), "wb") as file:
            while size > 0:
                size -= file.write(block[: min(size, len(block))])
    count = total = 0
    for above, _directories, names in os.walk(top, topdown=False):
        for name in names:
            status = os.stat(os.path.join(above, name))
            count, total = count + 1, total + status.st_size
            os.utime(os.path.join(above, name), (BUILT, BUILT))
        os.utime(above, (BUILT, BUILT))
    return count, total


def make_small(top, count, part=1000):
    """Make a tree of many (count, an int) files of 100 bytes, so many (part) to a directory; top (str) is not there yet."""
    for number in range(count):
        directory = os.path.join(top, str(number // part))
        if number % part == 0:
            os.makedirs(directory)
        with open(os.path.join(directory, str(number)), "wb") as file:
            file.write(b"%099d\n" % number)
