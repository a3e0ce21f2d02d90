# SPDX-License-Identifier: Apache-2.0
"""Hold a process, and those that it forks, right before a chosen system call, so that no moment is left to chance.

A call is known by its name and the places that it names, and by how often the same came before: that does not change
with the order in which several processes are served. A seccomp filter picks the calls, ptrace(2) stops at them.
"""

import collections
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from typing import NamedTuple, Tuple

SEIZE, CONTINUE, LISTEN, SYSCALL_INFO = 0x4206, 7, 0x4208, 0x420E
OPTIONS = 0x100000 | 0x2 | 0x4 | 0x8 | 0x80  # EXITKILL, TRACEFORK, TRACEVFORK, TRACECLONE, TRACESECCOMP
AT_CALL, EVENT_STOP, WALL = 7, 128, 0x40000000
FILTERED = """
import ctypes, os, signal, sys
library, names = ctypes.CDLL("libseccomp.so.2"), sys.argv[1].split(",")
library.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(library.seccomp_init(0x7FFF0000))
library.seccomp_attr_set(rules, 3, 0)  # set-user-ID programs stay what they are
numbers = [library.seccomp_syscall_resolve_name(name.encode()) for name in names]
wrong = [library.seccomp_rule_add(rules, 0x7FF00000, number, 0) for number in numbers if number >= 0]
if any(wrong) or library.seccomp_load(rules):
    sys.exit("no filter")
os.kill(os.getpid(), signal.SIGSTOP)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Where a call's arguments name a place: (descriptor, path) or (descriptor,) or (None, path).
CHANGES = {
    "mkdirat": ((0, 1),), "mknodat": ((0, 1),), "unlinkat": ((0, 1),), "fchownat": ((0, 1),), "fchmodat": ((0, 1),),
    "utimensat": ((0, 1),), "symlinkat": ((1, 2),), "linkat": ((0, 1), (2, 3)), "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)), "fchown": ((0,),), "fchmod": ((0,),), "ftruncate": ((0,),), "write": ((0,),),
    "pwrite64": ((0,),), "fsync": ((0,),), "syncfs": ((0,),), "flock": ((0,),), "fsetxattr": ((0,),),
    "fremovexattr": ((0,),), "copy_file_range": ((2,),), "lchown": ((None, 0),), "chown": ((None, 0),),
    "chmod": ((None, 0),), "lsetxattr": ((None, 0),), "mkdir": ((None, 0),), "rmdir": ((None, 0),), "unlink": ((None, 0),),
    "rename": ((None, 0), (None, 1)), "symlink": ((None, 1),),
}  # fmt: skip
PLACES = dict(CHANGES, openat=((0, 1),))


class Call(NamedTuple):
    """A system call that is about to be made; count tells it from those before that are otherwise the same."""

    name: str
    places: Tuple[str, ...]
    count: int = 0


class _Info(ctypes.Structure):
    _fields_ = [
        ("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6), ("more", ctypes.c_uint32),
    ]  # fmt: skip


class Held:
    """A command that runs from call to call. Only the thread that made this may use it: ptrace knows no other.

    Attributes:
        pid (int): of its first process.
        returncode (int): of that, negative for a signal; None while it runs.
        at (tuple of str): the places of the call before which it is held, as they are.

    Args:
        command (list of str), environment (dict): what to run, by its full path.
        output (str): path of a file that takes what it says.
        calls (iterable of str): names of the calls that matter, of PLACES.
        below (tuple of str): directories; only calls that name a place there matter.
        spell (callable): gives the form of a place (str) by which it is known in another scene.
    """

    def __init__(self, command, environment, output, calls, below, spell=str):
        self._output, self._below, self._spell = output, below, spell
        self._seen, self.returncode, self.at = collections.Counter(), None, ()
        self._moments = self._each_call()
        self._names = {number: name for name, number in ((name, _number(name)) for name in calls)}
        launch = [os.path.realpath(sys.executable), "-I", "-S", "-c", FILTERED, ",".join(calls), *command]
        with open(output, "w") as said:
            self._process = subprocess.Popen(
                launch, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid = self._process.pid
        _pid, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status) and not _ptrace(SEIZE, self.pid, 0, OPTIONS), self.said()
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        if self.returncode is None:
            self.kill()

    def calls(self):
        """iterator of Call: each that matters, the process held right before it; to go on is to let it be made."""
        return self._moments

    def reach(self, call):
        """bool: whether the process came to a call, before which it is then held; else it has ended."""
        return any(met == call for met in self._moments)

    def finish(self):
        """str: what the command said, once it was let go and has ended."""
        collections.deque(self._moments, maxlen=0)
        return self.said()

    def kill(self):
        """str: what the command said. Kills the first process, as a container's end does; the others must end by that."""
        os.kill(self.pid, signal.SIGKILL)
        return self.finish()

    def said(self):
        """str: what the command has said so far."""
        with open(self._output, errors="replace") as file:
            return file.read()

    def _each_call(self):
        with contextlib.suppress(ChildProcessError):  # no process is left
            while True:
                pid, status = os.waitpid(-self.pid, WALL)
                if not os.WIFSTOPPED(status):
                    self._ended(pid, status)
                    continue
                call = self._call(pid) if status >> 16 == AT_CALL else None
                if call:
                    yield call
                _go_on(pid, status)

    def _ended(self, pid, status):
        if pid == self.pid:
            self.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            self._process.returncode = self.returncode

    def _call(self, pid):
        info = _Info()
        _ptrace(SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
        name = self._names.get(info.number)
        if name is None:  # killed just now
            return None
        self.at = tuple(_place(pid, info.arguments, *where) for where in PLACES[name])
        if not any((place + "/").startswith(top + "/") for place in self.at for top in self._below):
            return None
        known = (name, tuple(map(self._spell, self.at)))
        self._seen[known] += 1
        return Call(*known, self._seen[known])


def _number(name):
    # libseccomp knows what each machine calls them.
    return ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name(name.encode())


def _go_on(pid, status):
    number, event = os.WSTOPSIG(status), status >> 16
    if event == EVENT_STOP and number != signal.SIGTRAP:  # stopped by a signal: so it stays until it is continued
        _ptrace(LISTEN, pid)
    else:
        _ptrace(CONTINUE, pid, 0, 0 if event else number)


_call_ptrace = ctypes.CDLL(None).ptrace
_call_ptrace.argtypes, _call_ptrace.restype = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_long


def _ptrace(request, pid, address=0, data=0):
    return _call_ptrace(request, pid, address, data)  # -1 for a process that was killed just now


def _place(pid, arguments, descriptor, path=None):
    named = _text(pid, arguments[path]) if path is not None else ""
    own = re.match(r"/proc/self/fd/(\d+)(.*)", named)
    if own:
        return _descriptor(pid, int(own.group(1))) + own.group(2)
    if named.startswith("/") or descriptor is None:
        return named
    above = _descriptor(pid, ctypes.c_int(arguments[descriptor]).value)
    return os.path.normpath(os.path.join(above, named)) if named else above


def _descriptor(pid, number):
    with contextlib.suppress(OSError):  # not open, or the process was killed just now
        return os.readlink("/proc/{}/{}".format(pid, "cwd" if number < 0 else "fd/{}".format(number)))
    return ""


def _text(pid, address):
    text = b""
    with contextlib.suppress(OSError), open("/proc/{}/mem".format(pid), "rb", buffering=0) as memory:
        while address and b"\0" not in text:
            memory.seek(address + len(text))
            text += memory.read(4096 - (address + len(text)) % 4096)  # never into a page that is not there
    return os.fsdecode(text.partition(b"\0")[0])
