# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after the power failed: any part of its log, less any of the writes that were not flushed yet."""

import bisect
import contextlib
import os
import random
import subprocess
import time
from typing import NamedTuple, Optional

from tests.site import is_mounted, run

SECTOR = 4096  # a longer write may be torn between these
# The lazy ways of mkfs leave work to the kernel, which does it at moments of its own; blocks as large as the scratch disk's,
# as the oracle compares holes; nothing is discarded, as a discard is neither a write nor a flush.
MKFS = {
    "ext4": ("32M", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("320M", "-f", "-K"),
    "btrfs": ("128M", "-f", "-K"),
}
# Somebody's new mount namespace may hold a copy of the mount before; btrfs numbers such a twin anew by itself.
OPTIONS = {"ext4": "loop", "xfs": "loop,nouuid", "btrfs": "loop"}


class Image(NamedTuple):
    """A disk after a power loss: how many events it saw, and which half of those since the last flush it lost (None: none)."""

    length: int
    seed: Optional[int] = None


class Replay:
    """Builds images.

    Args:
        base (str): the file that the disk was before the first event.
        events (list of Event): its log.
    """

    def __init__(self, base, events):
        self._base, self.events = base, events

    def images(self, losses):
        """list of Image: every prefix that differs from the one before, by length; each with that many different losses too."""
        images = [Image(self._with_flushes(0))]
        for length in (number for number, event in enumerate(self.events, 1) if event.data is not None):
            images += [*(Image(length, seed) for seed in range(losses)), Image(self._with_flushes(length))]
        return images

    def build(self, image, path):
        """Make an image.

        Args:
            image (Image): which.
            path (str): where; it is replaced.
        """
        # Not over the old one: should a loop device still be about to let go of it, it keeps what it has.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        run("cp", "--sparse=always", self._base, path)
        flushed = self._flushed_before(image.length)
        chance = random.Random("{} {}".format(image.length, image.seed))
        with open(path, "r+b") as disk:
            for number, event in enumerate(self.events[: image.length]):
                safe = image.seed is None or number < flushed
                for offset, data in _sectors(event):
                    if safe or chance.random() < 0.5:
                        disk.seek(offset)
                        disk.write(data)

    def _with_flushes(self, length):
        # The same content, of which more is promised.
        while length < len(self.events) and self.events[length].data is None:
            length += 1
        return length

    def _flushed_before(self, length):
        return max((number for number in range(length) if self.events[number].data is None), default=0)


def _sectors(event):
    data = event.data or b""
    return [(event.offset + at, data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)]


def make_disk(kind, path):
    """Make a fresh file system (kind is ext4, xfs or btrfs) in a file at path."""
    size, *options = MKFS[kind]
    run("truncate", "--size", size, path)
    run("mkfs." + kind, "-q", *options, path)


@contextlib.contextmanager
def mounted(kind, disk, point):
    """Mount a file at a point; a journal is replayed, as at any mount after a crash."""
    run("mount", "-t", kind, "-o", OPTIONS[kind], disk, point)
    try:
        assert is_mounted(point)  # else the machine's own disk would be written to
        yield
    finally:
        _unmount(point)
        # btrfs remembers a disk by its number and refuses an older state of it.
        subprocess.run(["btrfs", "device", "scan", "--forget"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _unmount(point):
    # A child that another thread has forked holds our descriptors until it has executed its program. Were the mount left to
    # end by itself then, the next one would meet a file system of the same number.
    deadline = time.monotonic() + 60
    while subprocess.run(["umount", "--quiet", point], check=False, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > deadline:
            run("umount", "--lazy", point)
            raise AssertionError("{} stayed busy".format(point))


def around(images, lengths, reach=2):
    """set of int: which images lie next to some lengths, that many on both sides."""
    firsts = [bisect.bisect_left(images, length, key=lambda image: image.length) for length in lengths]
    return {number for first in firsts for number in range(max(first - reach, 0), min(first + reach, len(images)))}
