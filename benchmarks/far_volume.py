# SPDX-License-Identifier: Apache-2.0
"""A directory once more, where each operation takes a millisecond longer, as on a network volume; many wait at the same time.

usage: far_volume.py DIRECTORY MOUNT-POINT
"""

import os
import stat
import sys
import time

import fusepy as fuse  # Debian's python3-fusepy

LATENCY = 0.001  # seconds


class FarVolume(fuse.Operations):
    """Passes each operation on, late."""

    use_ns = True

    def __init__(self, below):
        self._below = below

    def __call__(self, operation, path, *arguments):
        """Do an operation that the kernel asks for."""
        time.sleep(LATENCY)
        return getattr(self, operation)(self._below + path, *arguments)

    def getattr(self, path, _handle=None):
        status = os.lstat(path)
        found = {
            name: getattr(status, name) for name in ("st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_blocks", "st_rdev")
        }
        return dict(found, st_atime=status.st_atime_ns, st_mtime=status.st_mtime_ns, st_ctime=status.st_ctime_ns)

    def statfs(self, path):
        status = os.statvfs(path)
        return {
            name: getattr(status, name)
            for name in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize")
        }

    def readdir(self, path, _handle):
        kinds = [(".", stat.S_IFDIR), ("..", stat.S_IFDIR)]
        kinds += [(entry.name, stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)) for entry in os.scandir(path)]
        return [(name, {"st_mode": kind}, 0) for name, kind in kinds]

    def create(self, path, mode, _info=None):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(path, flags)

    def read(self, _path, size, offset, handle):
        return os.pread(handle, size, offset)

    def write(self, _path, data, offset, handle):
        return os.pwrite(handle, data, offset)

    def fsync(self, _path, _data_only, handle):
        os.fsync(handle)

    def release(self, _path, handle):
        os.close(handle)

    def truncate(self, path, length, _handle=None):
        os.truncate(path, length)

    def mkdir(self, path, mode):
        os.mkdir(path, mode)

    def mknod(self, path, mode, device):
        os.mknod(path, mode, device)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def symlink(self, path, text):
        os.symlink(text, path)

    def readlink(self, path):
        return os.readlink(path)

    def rename(self, old, new):
        os.rename(old, self._below + new)

    def link(self, path, old):
        os.link(self._below + old, path)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        os.chown(path, uid, gid, follow_symlinks=False)

    def utimens(self, path, times=None):
        os.utime(path, ns=times, follow_symlinks=False)

    def fsyncdir(self, path, _data_only, _handle):
        directory = os.open(path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


if __name__ == "__main__":
    fuse.FUSE(FarVolume(sys.argv[1]), sys.argv[2], foreground=True, allow_other=True)
