# SPDX-License-Identifier: Apache-2.0
"""Kill a run before any one of its changes: a child process ends itself there, without a word to its own code."""

import os
import sys
import traceback

from module_utils.cm_persist.fs import syscalls

CHANGES = (
    "mkdir", "rename", "unlink", "rmdir", "symlink", "link", "mknod", "chmod", "chown", "fchown", "fchmod", "utime",
    "setxattr", "removexattr", "ftruncate", "write", "pwrite", "fsync",
)  # fmt: skip
KILLED, FINISHED, FAILED = 137, 0, 1


def killed_before_change(number, act):
    """bool: whether an act was killed, which it is before its change of that number (from 0); else it finished."""
    return _killed(lambda: arm(number), act)


def killed_in(step, number, act):
    """bool: the same, with changes counted from where the first step of a kind (its class) is executed."""

    def arm_there():
        execute = step.execute
        step.execute = lambda own, run: (arm(number), execute(own, run))

    return _killed(arm_there, act)


def _killed(prepare, act):
    child = os.fork()
    if not child:
        prepare()
        try:
            act()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(FAILED)
        os._exit(FINISHED)
    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    assert code in (KILLED, FINISHED), "the run failed by itself"
    return code == KILLED


def end():
    """Kill this process."""
    os._exit(KILLED)


def arm(number, strike=end):
    """Call strike() before the change of that number (from 0) of this process, and before each later one."""
    left = [number]

    def count():
        left[0] -= 1
        if left[0] < 0:
            strike()

    def armed(function):
        def change(*arguments, **options):
            count()
            return function(*arguments, **options)

        return change

    for name in CHANGES:
        setattr(os, name, armed(getattr(os, name)))
    syscalls._call = armed(syscalls._call)
    opened = os.open

    def open_file(path, flags, *arguments, **options):
        if flags & os.O_CREAT:
            count()
        return opened(path, flags, *arguments, **options)

    os.open = open_file
