# SPDX-License-Identifier: Apache-2.0
"""Faults by strace: which system calls a start makes, and what happens to one of them.

A call is known by its name and its number among the calls of that name of one process, as strace counts them. Both come
from a trace of the same start in a scene of the same kind, and that the fault struck is read in a second trace.
The first process is strace's child, not followed further; a worker attaches strace to itself as soon as it is forked.
"""

import compileall
import contextlib
import os
import re
import shlex
import subprocess
import tempfile
from typing import NamedTuple, Tuple

# Calls that change something, on any architecture, and those that read and can fail on a bad disk.
CHANGES = (
    "openat", "open", "creat", "mkdirat", "mkdir", "renameat2", "renameat", "rename", "unlinkat", "unlink", "rmdir", "linkat",
    "link", "symlinkat", "symlink", "mknodat", "mknod", "fchown", "fchownat", "chown", "lchown", "fchmod", "fchmodat",
    "fchmodat2", "chmod", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "utimensat",
    "ftruncate", "truncate", "fallocate", "pwrite64", "pwritev", "write", "writev", "sendfile", "copy_file_range", "ioctl",
    "fsync", "fdatasync", "syncfs", "sync_file_range", "flock", "mount", "umount2", "clone", "clone3", "fork", "vfork",
)  # fmt: skip
# Not read: how often the mount table is read depends on what else is mounted at the moment.
READS = ("getdents64", "pread64", "lseek", "flistxattr", "fgetxattr")
SCENE = "scene-"  # how the name of a scene's directory begins
NAMING = ("renameat2", "renameat", "rename", "linkat", "link", "symlinkat", "symlink")
SYNCS = ("fsync", "fdatasync", "syncfs")
FORKS = ("clone", "clone3", "fork", "vfork")
HANG = ("timeout", "--signal=KILL", "300")  # a start that hangs is a failure, not a suite that hangs
LINE = re.compile(r"(\w+)\(")
TYPED = re.compile(r"(Spec|Store|Path|Copy|Link)Error: (.+)\n")


class Variant(NamedTuple):
    """A kind of first run: on an overlay or not, with how many workers, on a kernel that lacks some calls (faults)."""

    label: str
    overlay: bool = False
    workers: int = 0
    faults: Tuple[str, ...] = ()

    @contextlib.contextmanager
    def scene(self, top):
        """Give a fresh Scene below a directory, and take it away again."""
        from .scene import Scene  # not for start.py, which imports this file as well

        scene = Scene(tempfile.mkdtemp(prefix=SCENE, dir=top), overlay=self.overlay)
        try:
            yield scene
        finally:
            scene.remove()


PLAIN = Variant("plain image, one process")
OVERLAY = Variant("overlay image, one process", overlay=True)
ONE_WORKER = Variant("plain image, one worker", workers=1)
OVERLAY_ONE_WORKER = Variant("overlay image, one worker", overlay=True, workers=1)
OLD_KERNEL = Variant(
    "plain image, old kernel", faults=("copy_file_range:error=EXDEV", "renameat2:error=EINVAL", "syncfs:error=ENOSYS")
)
VARIANTS = [PLAIN, OVERLAY, ONE_WORKER, OVERLAY_ONE_WORKER, OLD_KERNEL]


class Call(NamedTuple):
    """A system call in a trace, and which of its name it was (from 1)."""

    name: str
    number: int
    text: str


class Point(NamedTuple):
    """Where a fault goes: into which process (0 is the first, 1 the first that it forks), and which call of it."""

    who: int
    name: str
    number: int

    def __str__(self):
        return "{}{} {}".format("worker {}, ".format(self.who) if self.who else "", self.name, self.number)


class Done(NamedTuple):
    """A start that ended: its exit status, what it wrote to stderr, and if it was traced its calls and the last line."""

    code: int
    error: str
    calls: Tuple[Call, ...] = ()
    end: str = ""

    @classmethod
    def of(cls, process, *trace):
        """Done: of a subprocess.CompletedProcess."""
        return cls(process.returncode, process.stderr, *trace)

    @property
    def killed(self):
        """bool: whether SIGKILL ended it; strace and timeout end themselves in the same way, or say 137."""
        return self.code in (-9, 137)

    @property
    def typed(self):
        """str: the path and the text of a typed error, all that it said; '' if it ended in any other way."""
        told = TYPED.fullmatch(self.error)
        return told.group(2) if self.code == 1 and told else ""


def changes(call):
    """bool: whether a call changes anything but the process itself and what it prints."""
    if call.name in ("openat", "open"):
        return "O_CREAT" in call.text
    if call.name == "ioctl":
        return "FICLONE" in call.text or "FS_IOC_SETFLAGS" in call.text
    if call.name in ("write", "writev"):
        return not re.match(r"\w+\([12]<", call.text)
    return call.name in CHANGES


def changes_files(call):
    """bool: the same without what is between processes, which no disk can fail."""
    return changes(call) and call.name not in FORKS and "<pipe:" not in call.text


def start(scene, variant, who=0, faults=(), **environment):
    """Start once, with the calls of one of its processes traced.

    Args:
        scene (Scene): where.
        variant (Variant): how.
        who (int): which process.
        faults (iterable of str): as strace's --inject takes them.
        environment (str): more for the start.

    Returns:
        Done: what happened.
    """
    log = os.path.join(scene.top, "strace.log")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(log)
    words = ["-y", "-o", log, "-e", "trace=" + ",".join("?" + name for name in CHANGES + READS)]
    for fault in (*variant.faults, *faults):
        words += ["-e", "inject=" + fault]
    environment = dict({"WORKERS": str(variant.workers), "LOCK_TIMEOUT": "60"}, **environment)
    if who:
        done = scene.start(*HANG, PREPARE="trace_worker", WHO=str(who), STRACE=shlex.join(words), **environment)
    else:
        done = scene.start(*HANG, "strace", "-qq", *words, **environment)
    return Done.of(done, *_read(log))


def points(scene, variant, who=0, wanted=changes):
    """list of Point: the calls of a start, which this makes, from the first one on that has to do with the scene."""
    return _points(variant, who, _traced(scene, variant, who), wanted)


def all_points(top, variant, wanted=changes):
    """list of Point: of all processes of a first run."""
    found, who, forks = [], 0, 0
    while who <= forks:
        with variant.scene(top) as scene:
            calls = _traced(scene, variant, who)
        if not who:
            forks = sum(call.name in FORKS for call in calls)
            assert bool(forks) == bool(variant.workers), "{} processes were forked".format(forks)
        found += _points(variant, who, calls, wanted)
        who += 1
    assert found
    return found


def _traced(scene, variant, who):
    import module_utils

    compileall.compile_dir(os.environ.get("CM_PERSIST", module_utils.__path__[0]), quiet=2)  # or the count would change
    done = start(scene, variant, who)
    assert done.code == 0 and done.calls, "process {}: {}".format(who, done)
    # A worker is traced from its fork on, the first process while Python itself starts.
    first = 0 if who else next(number for number, call in enumerate(done.calls) if scene.top in call.text)
    return done.calls[first:]


def _points(variant, who, calls, wanted):
    forced = {fault.split(":")[0] for fault in variant.faults}
    return [Point(who, call.name, call.number) for call in calls if wanted(call) and call.name not in forced]


def disturb(scene, variant, point, fault, wanted=changes):
    """Start once and have a fault strike at a point.

    Args:
        scene, variant: as start() takes them.
        point (Point): where.
        fault (str): as strace's --inject takes it, without the call and the number: signal=SIGKILL, error=EIO.
        wanted (callable): what kind of call it must have struck.

    Returns:
        tuple: (Done, the calls that came after it). It has struck, or this is an AssertionError.
    """
    done = start(scene, variant, point.who, ["{}:{}:when={}".format(point.name, fault, point.number)])
    struck = [index for index, call in enumerate(done.calls) if call[:2] == point[1:] and wanted(call)]
    assert struck, "{} was not reached: {}".format(point, done[:2])
    after = done.calls[struck[0] + 1 :]
    if fault == "signal=SIGKILL":
        assert not after and done.end == "+++ killed by SIGKILL +++", "{} was not killed".format(point)
    else:
        assert done.calls[struck[0]].text.endswith("(INJECTED)"), "nothing was injected into {}".format(point)
    return done, after


def _read(log):
    calls, numbers, text = [], {}, ""
    if os.path.exists(log):
        with open(log, errors="replace") as lines:
            for text in lines:
                match = LINE.match(text)
                if match:
                    name = match.group(1)
                    numbers[name] = numbers.get(name, 0) + 1
                    calls.append(Call(name, numbers[name], text.rstrip()))
    return tuple(calls), text.rstrip()


# What start.py calls in its own process, if PREPARE names it.


def trace_worker():
    """Have one of the processes that are forked traced from then on: the one whose turn is WHO, by strace with STRACE."""
    forked = [0]

    def count():
        forked[0] += 1

    def trace():
        if forked[0] == int(os.environ["WHO"]):
            _trace_self()

    os.register_at_fork(before=count, after_in_child=trace)


def _trace_self():
    # strace keeps stdout open, and so who waits for the end of that waits for the end of the trace.
    words = ["strace", "-p", str(os.getpid()), *shlex.split(os.environ["STRACE"])]
    strace = subprocess.Popen(words, stderr=subprocess.PIPE)
    if b"attached" not in strace.stderr.readline():
        os._exit(1)
    strace.stderr.close()


def ignore_room():
    """Let a seed begin though its room does not suffice."""
    from module_utils.cm_persist.seed import plan as seed_plan

    assert callable(seed_plan.refuse_without_room)
    seed_plan.refuse_without_room = lambda *_seen: None
