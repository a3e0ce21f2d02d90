# SPDX-License-Identifier: Apache-2.0
"""One act of cm_persist: undisturbed; or in a child process that is killed before one of its changes, or in which one fails."""

import contextlib
import errno
import json
import os
import signal
import sys
import traceback
from typing import NamedTuple, Tuple
from unittest import mock

from module_utils.cm_persist.errors import PersistError
from module_utils.cm_persist.tree import workers as pool
from tests.kill import arm, end

DONE, REFUSED, KILLED, HUNG, CRASHED = "done", "refused", "killed", "hung", "crashed"
PATIENCE = 3  # seconds of the processor, for what takes some hundredths of one
KILL = "kill"
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EINTR")


class Trouble(NamedTuple):
    """What disturbs an act, before its change of that number: KILL, or the name of an error; lasting: later changes fail too."""

    what: str = ""
    at: int = 0
    lasting: bool = False

    def __str__(self):
        if not self.what:
            return ""
        return ", {} {} change {}".format(self.what, "from" if self.lasting else "before", self.at)


QUIET = Trouble()


class Deed(NamedTuple):
    """What an act did: how it ended (DONE …), whether it changed anything, what its log says, its steps, the state of each path.

    said has the warnings, the errors, and where originals are kept.
    """

    how: str
    changed: bool = False
    said: Tuple[str, ...] = ()
    steps: Tuple[str, ...] = ()
    states: dict = {}

    @property
    def done(self):
        """bool: whether it came to its end."""
        return self.how == DONE


def perform(acts, trouble=QUIET):
    """Deed: of calls (list of callable, each gives an Outcome) that are made one after the other, as long as none fails."""
    return _in_a_child(acts, trouble) if trouble.what else _attempt(acts)


def _in_a_child(acts, trouble):
    reader, writer = os.pipe()
    child, write = os.fork(), os.write  # before it is armed
    if not child:
        arm(trouble.at, _strike(trouble))
        told = json.dumps(_attempt(acts)._asdict()).encode()
        while told:
            told = told[write(writer, told) :]
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        told = file.read()
    os.waitpid(child, 0)
    if not told:
        return Deed(KILLED)
    return Deed(**{key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(told).items()})


class _Hung(BaseException):
    """It took longer than our patience."""


def _attempt(acts):
    outcomes, how, said = [], DONE, []
    try:
        with _alarm():
            for act in acts:
                outcomes.append(act())
    except PersistError as error:
        how, said = REFUSED, [str(error), *error.warnings]
    except _Hung:
        how = HUNG
    except Exception:
        how, said = CRASHED, [traceback.format_exc()]
    paths = [path for outcome in outcomes for path in outcome.paths]
    asides = [path["aside"] for path in paths if path.get("aside")]
    return Deed(
        how,
        any(outcome.changed for outcome in outcomes),
        tuple([text for outcome in outcomes for text in outcome.warnings] + said + asides),
        tuple(step for outcome in outcomes for step in outcome.steps),
        {path["path"]: path["state"] for path in reversed(paths)},
    )


@contextlib.contextmanager
def _alarm():
    def ring(*_unused):
        raise _Hung

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def nobody_else():
    """In a with block nobody uses the files of a scratch machine, and all is done in one process: so a run takes no time."""
    with contextlib.ExitStack() as stack:
        for module in [module for name, module in sys.modules.items() if name.startswith("module_utils.cm_persist")]:
            if hasattr(module, "find_process_using"):
                stack.enter_context(mock.patch.object(module, "find_process_using", lambda *_paths, **_options: None))
        stack.enter_context(mock.patch.object(pool, "wanted", lambda *_load: 0))
        yield


def _strike(trouble):
    if trouble.what == KILL:
        return end
    struck = []

    def fail():
        if trouble.lasting or not struck:
            struck.append(trouble)
            number = getattr(errno, trouble.what)
            raise OSError(number, os.strerror(number))

    return fail
