# SPDX-License-Identifier: Apache-2.0
"""The data of one regular file: shared blocks where the file system can, copied in the kernel elsewhere, holes kept."""

import errno
import os

from ..errors import CopyError
from ..fs import syscalls
from . import progress
from .manifest import digest_of, is_hashed

CHUNK = 8 << 20  # bytes per copy_file_range: large, but a signal is served soon, and who watches sees it go on
BUFFER = 1 << 20  # bytes per read and write
# Two file systems, or one without the call. EINVAL: the kernel is too old to know the pair of file systems.
NO_SHORTCUT = (errno.EXDEV, *syscalls.UNAVAILABLE)
NO_CLONE_AT_ALL = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


class FileData:
    """Copies the data of files, and remembers which shortcuts their two file systems refused."""

    def __init__(self):
        self._clone, self._range = True, True

    def copy(self, source_fd, target_fd, status, path):
        """Copy all data of one file.

        Args:
            source_fd (int): the source, open for reading.
            target_fd (int): an empty file, open for writing.
            status (os.stat_result): of the source, from before.
            path (str or Where): the source, for errors.

        Returns:
            str: the digest of the data, as a manifest has it; '' for none.

        Raises:
            CopyError: the source ended early or changed while it was read.
            OSError: reading or writing failed.
        """
        size, digest, data = status.st_size, "", b""
        if is_hashed(status):
            data = os.pread(source_fd, size, 0)
            if len(data) != size:
                raise changed(path)
            digest = digest_of(data)
        if size and not self._cloned(source_fd, target_fd):
            if os.lseek(source_fd, 0, os.SEEK_HOLE) < size:  # st_blocks counts attributes and reserved blocks as well
                os.ftruncate(target_fd, size)
                for start, end in data_ranges(source_fd, size):
                    self._copy_range(source_fd, target_fd, start, end, path)
            elif data:  # it is read already
                progress.add(0, _write(target_fd, data, 0))
            else:
                self._copy_range(source_fd, target_fd, 0, size, path)
        else:
            progress.add(0, size)
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

    def _copy_range(self, source_fd, target_fd, start, end, path):
        while start < end and self._range:
            try:
                count = syscalls.copy_file_range(source_fd, target_fd, min(CHUNK, end - start), start)
            except OSError as error:
                if error.errno not in NO_SHORTCUT:
                    raise
                self._range = False
                break
            if not count:
                raise changed(path)
            progress.add(0, count)
            start += count
        while start < end:
            data = os.pread(source_fd, min(BUFFER, end - start), start)
            if not data:
                raise changed(path)
            start = _write(target_fd, data, start)
            progress.add(0, len(data))


def _write(fd, data, start):
    """int: where the data (bytes), written from an offset on, ends."""
    while data:
        written = os.pwrite(fd, data, start)
        start, data = start + written, data[written:]
    return start


def data_ranges(fd, size):
    """Yield (start, end) in bytes of each part of a file that is not a hole: lseek(2), SEEK_DATA."""
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


def changed(path):
    """CopyError: the error for a file that was written to while it was copied."""
    return CopyError(path, "it changed while it was copied", "Stop the service that writes it, then start again.")
