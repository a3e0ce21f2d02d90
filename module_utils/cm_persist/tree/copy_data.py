# SPDX-License-Identifier: Apache-2.0
"""Copy the data of one regular file: by sharing its blocks if the file system can, otherwise in the kernel. Holes stay holes."""

import errno
import os
from typing import Iterator, Tuple

from ..errors import CopyError
from ..fs import syscalls
from . import progress
from .manifest import digest_of, is_hashed

CHUNK = 8 << 20  # bytes per copy_file_range: large, but a signal does not wait long, and the progress is visible
BUFFER = 1 << 20  # bytes per read and write
# Two file systems, or one without the call. EINVAL: the kernel is too old to know the pair of file systems.
NO_SHORTCUT = (errno.EXDEV, *syscalls.UNAVAILABLE)
NO_CLONE_AT_ALL = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


class FileData:
    """Copies the data of files, and remembers which shortcuts their two file systems refused."""

    def __init__(self):
        self._clone, self._range = True, True

    def copy(self, source_fd: int, target_fd: int, status: os.stat_result, path) -> str:
        """Copy all data of one file into an empty one. A source that changes meanwhile is a CopyError at its path (str or Where).

        status is that of the source, from before it was read. Returns the digest of the data, as in a manifest; '' for a file
        that has none there.
        """
        size, digest, data = status.st_size, "", b""
        if is_hashed(status):
            data = os.pread(source_fd, size, 0)
            if len(data) != size:
                raise changed(path)
            digest = digest_of(data)
        if not size or self._cloned(source_fd, target_fd):
            progress.add(0, size)
        elif os.lseek(source_fd, 0, os.SEEK_HOLE) < size:  # st_blocks counts attributes and reserved blocks as well
            os.ftruncate(target_fd, size)
            self._copy_ranges(source_fd, target_fd, data_ranges(source_fd, size), path)
        elif data:  # it is read already
            progress.add(0, _write(target_fd, data, 0))
        else:
            self._copy_ranges(source_fd, target_fd, [(0, size)], path)
        after = os.fstat(source_fd)
        if (after.st_size, after.st_mtime_ns) != (size, status.st_mtime_ns):
            raise changed(path)
        return digest

    def _cloned(self, source_fd, target_fd):
        if not self._clone:
            return False
        try:
            syscalls.clone(source_fd, target_fd)
            return True
        except OSError as error:
            if error.errno in NO_CLONE_AT_ALL:
                self._clone = False
            elif error.errno not in (errno.EINVAL, errno.ETXTBSY, errno.EPERM):  # this one file cannot share
                raise
            return False

    def _copy_ranges(self, source_fd, target_fd, ranges, path):
        for start, end in ranges:
            while start < end:
                end_of_part = self._copy_part(source_fd, target_fd, start, end)
                if end_of_part == start:
                    raise changed(path)
                progress.add(0, end_of_part - start)
                start = end_of_part

    def _copy_part(self, source_fd, target_fd, start, end):
        """Copy some bytes from start on; the offset after the last of them, which is start at the end of the source."""
        if self._range:
            try:
                return start + syscalls.copy_file_range(source_fd, target_fd, min(CHUNK, end - start), start)
            except OSError as error:
                if error.errno not in NO_SHORTCUT:
                    raise
                self._range = False
        return _write(target_fd, os.pread(source_fd, min(BUFFER, end - start), start), start)


def _write(fd, data, start):
    """Write all data from an offset on; the offset after it."""
    while data:
        written = os.pwrite(fd, data, start)
        start, data = start + written, data[written:]
    return start


def data_ranges(fd: int, size: int) -> Iterator[Tuple[int, int]]:
    """The start and end, in bytes, of each part of a file that is not a hole: lseek(2), SEEK_DATA."""
    start = 0
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end
        start = end


def changed(path) -> CopyError:
    """The error for a file (its path a str or Where) that a program wrote to while it was copied."""
    return CopyError(path, "it changed while it was copied", "Stop the service that writes it, then start again.")
