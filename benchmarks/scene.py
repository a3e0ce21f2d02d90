# SPDX-License-Identifier: Apache-2.0
"""Where is measured: volumes, and containers' file systems. All need root, to mount."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

from tests.site import is_mounted, run

from .measure import QUIET, ROOT

DISK = "3G"  # of a file that plays a disk
MKFS = {"ext4": ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "xfs": ["-q"], "btrfs": ["-q"]}
SYSTEM_PYTHON = "/usr/bin/python3"  # which Debian's python3-fusepy is for


@contextlib.contextmanager
def tmpfs(point, size="3g"):
    """Mount a tmpfs of a size at a directory, which is made."""
    os.makedirs(point)
    run("mount", "-t", "tmpfs", "-o", "nr_inodes=5000000,size=" + size, "tmpfs", point)
    try:
        yield point
    finally:
        run("umount", point)


@contextlib.contextmanager
def disk(kind, file, point):
    """Mount a new file system of a kind (ext4, xfs or btrfs), in a file, at a directory, which is made."""
    run("truncate", "--size", DISK, file)
    run("mkfs." + kind, *MKFS[kind], file)
    os.makedirs(point)
    run("mount", "-t", kind, "-o", "loop", file, point)
    try:
        assert is_mounted(point)  # else it would be this machine's own disk that is measured
        yield point
    finally:
        run("umount", point)
        os.unlink(file)


@contextlib.contextmanager
def far(below, point):
    """Mount a directory once more, as a volume that takes a millisecond for each operation."""
    os.makedirs(point)
    command = [SYSTEM_PYTHON, "-B", os.path.join(ROOT, "benchmarks", "far_volume.py"), below, point]
    server = subprocess.Popen(command)
    try:
        for _attempt in range(100):
            if is_mounted(point):
                break
            time.sleep(0.05)
        else:
            sys.exit("bench: the volume with latency did not come up; see benchmarks/setup")
        yield point
    finally:
        subprocess.run(["umount", point], check=False, **QUIET)
        server.wait(30)


class Container:
    """A container's file system, made anew each time: an overlayfs at a directory whose lower layer is the image."""

    def __init__(self, top, image):
        self._image, self._layers = image, {name: os.path.join(top, name) for name in ("lower", "upper", "work")}

    def __enter__(self):
        for name in ("upper", "work"):
            os.mkdir(self._layers[name])
        options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**self._layers)
        run("mount", "-t", "overlay", "overlay", "-o", options, self._image)
        return self

    def __exit__(self, *_unused):
        run("umount", self._image)
        for name in ("upper", "work"):
            shutil.rmtree(self._layers[name])

    def held(self):
        """int: bytes of files in the container's own layer."""
        files = [os.path.join(above, name) for above, _directories, names in os.walk(self._layers["upper"]) for name in names]
        return sum(os.lstat(file).st_size for file in files if not os.path.islink(file))
