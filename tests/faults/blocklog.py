# SPDX-License-Identifier: Apache-2.0
"""A file that remembers, in order, what was written to it and when it was flushed: the disk below a loop device.

A FUSE file system whose root is that one file, spoken to the kernel directly (linux/fuse.h, protocol 7), so that no
library is needed. The server is a process of its own: a test that waits for the disk cannot be the disk.

usage: blocklog.py FUSE-DESCRIPTOR BACKING LOG
"""

import contextlib
import errno
import os
import struct
import subprocess
import sys
import time
from typing import NamedTuple

GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH = 3, 4, 14, 15, 16, 17, 18, 20, 25
INIT, FORGET, INTERRUPT, DESTROY, BATCH_FORGET = 26, 2, 36, 38, 42
REQUEST = struct.Struct("<IIQQIIII")  # length, operation, unique, node, uid, gid, pid, extensions
ANSWER = struct.Struct("<IiQ")  # length, -errno, unique
TRANSFER = struct.Struct("<QQI")  # handle, offset, size: how a read and a write begin
WRITE_HEADER = 40
DIRECT_IO, BIG_WRITES, LARGEST = 1, 1 << 5, 128 << 10
ENTRY = struct.Struct("<cQI")  # in the log: what, offset, length; the data of a write follows
WRITTEN, FLUSHED = b"W", b"F"


class Event(NamedTuple):
    """What happened to the disk: data written at an offset, or a flush, whose data is None."""

    offset: int
    data: bytes


class BlockLog:
    """A file at path, as long as its backing file, that writes its log into another; a context manager.

    Args:
        path (str): where the file is to be.
        backing (str): the file that holds its content.
        log (str): takes the log.
        delay (float): seconds that each write takes.
    """

    def __init__(self, path, backing, log, delay=0.0):
        self.path, self._backing, self._log, self._delay = path, backing, log, delay
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            open(self.path, "wb").close()
            open(self._log, "wb").close()
            fuse = os.open("/dev/fuse", os.O_RDWR)
            try:
                options = "fd={},rootmode=100000,user_id=0,group_id=0".format(fuse)
                subprocess.run(["mount", "-i", "-t", "fuse", "-o", options, "blocklog", self.path], pass_fds=[fuse], check=True)
                stack.callback(subprocess.run, ["umount", "--lazy", self.path], check=False)
                command = [sys.executable, "-B", __file__, str(fuse), self._backing, self._log, str(self._delay)]
                self._server = subprocess.Popen(command, pass_fds=[fuse])
            finally:
                os.close(fuse)
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_unused):
        self._stack.close()

    def position(self):
        """int: how many events are in the log; all that was on its way has been answered after it was logged."""
        return len(self.events())

    def events(self):
        """list of Event: the log so far."""
        with open(self._log, "rb") as file:
            return list(_read(file))

    def _end(self):
        self._server.kill()
        self._server.wait()


def _read(file):
    while True:
        head = file.read(ENTRY.size)
        if len(head) < ENTRY.size:
            return
        kind, offset, length = ENTRY.unpack(head)
        yield Event(offset, file.read(length) if kind == WRITTEN else None)


class Server:
    """Answers the kernel's requests, one after another."""

    def __init__(self, fuse, backing, log, delay):
        self._delay = float(delay)
        self._fuse, self._log = fuse, os.open(log, os.O_WRONLY | os.O_APPEND)
        self._file = os.open(backing, os.O_RDWR)
        self._answers = {
            INIT: self._init, GETATTR: self._attributes, SETATTR: self._attributes, OPEN: self._open, READ: self._read,
            WRITE: self._write, FSYNC: self._fsync, FLUSH: self._nothing, RELEASE: self._nothing, DESTROY: self._nothing,
            STATFS: self._statfs,
        }  # fmt: skip

    def serve(self):
        """Answer until the file system is unmounted."""
        while True:
            try:
                request = os.read(self._fuse, LARGEST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno not in (errno.ENOENT, errno.EINTR):  # a request that was taken back
                    raise
                continue
            _length, operation, unique = REQUEST.unpack_from(request)[:3]
            if operation in (FORGET, BATCH_FORGET, INTERRUPT):  # these want no answer
                continue
            answer = self._answers.get(operation)
            body, code = (answer(request[REQUEST.size :]), 0) if answer else (b"", errno.ENOSYS)
            os.write(self._fuse, ANSWER.pack(ANSWER.size + len(body), -code, unique) + body)

    def _init(self, body):
        _major, _minor, readahead, _flags = struct.unpack_from("<IIII", body)
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, readahead, BIG_WRITES, 12, 9, LARGEST, 1, 0, 0, 0)

    def _attributes(self, _body):
        size = os.fstat(self._file).st_size
        times_and_their_parts = (0,) * 6
        attributes = struct.pack("<QQQ3Q3I", 1, size, size >> 9, *times_and_their_parts)
        return struct.pack("<QII", 0, 0, 0) + attributes + struct.pack("<IIIIIII", 0o100600, 1, 0, 0, 0, 4096, 0)

    def _open(self, _body):
        return struct.pack("<QII", 0, DIRECT_IO, 0)

    def _read(self, body):
        _handle, offset, size = TRANSFER.unpack_from(body)
        return os.pread(self._file, size, offset)

    def _write(self, body):
        _handle, offset, size = TRANSFER.unpack_from(body)
        data = body[WRITE_HEADER : WRITE_HEADER + size]
        time.sleep(self._delay)
        os.pwrite(self._file, data, offset)
        os.write(self._log, ENTRY.pack(WRITTEN, offset, size) + data)
        return struct.pack("<II", size, 0)

    def _fsync(self, _body):
        os.write(self._log, ENTRY.pack(FLUSHED, 0, 0))
        return b""

    def _statfs(self, _body):
        return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)

    def _nothing(self, _body):
        return b""


if __name__ == "__main__":
    Server(int(sys.argv[1]), *sys.argv[2:]).serve()
