# SPDX-License-Identifier: Apache-2.0
"""No error ends a report: each becomes a problem in it."""

import contextlib
import errno

from ..errors import AS_ROOT, CopyError, PathError, PersistError, because, printable

TRIES = 5  # at a tree in which files come and go
MOVING = (errno.ENOENT, errno.ESTALE)  # errors that such a tree gives


class Problems:
    """What a report finds wrong: texts, each with its path first and what to do last, as errors read."""

    def __init__(self):
        self.texts = []

    def add(self, path: str, found: str, hint: str):
        """Add what is wrong at a path, and what to do, a whole sentence."""
        self.texts.append("{}: {}. {}".format(printable(path), found, hint))

    def guarded(self, path: str, act, otherwise=None):
        """What act() gives; after an error, which becomes a problem at the path, what otherwise says."""
        try:
            return act()
        except PersistError as error:
            self.texts.append(str(error))
        except OSError as error:
            self.add(path, "it cannot be looked at: {}".format(because(error)), _hint(error))
        except ValueError as error:  # files in .cm_persist that were tampered with, where their reader does not check
            found = "its entry in the volume's records makes no sense: {}".format(printable(str(error)))
            self.add(path, found, "Restore it from a backup.")
        return otherwise

    def refused(self, check, *values) -> bool:
        """True if a check, of those that a start makes, refuses these values; its error is then a problem."""
        try:
            check(*values)
        except PersistError as error:
            self.texts.append(str(error))
            return True
        return False


@contextlib.contextmanager
def reading(path: str):
    """Turn an OSError that nothing closer to it expected into a PathError for this path."""
    try:
        yield
    except OSError as error:
        raise PathError(path, "it cannot be looked at: {}".format(because(error)), _hint(error)) from error


def steady(act):
    """What act() gives; None if, however often it tries, files come and go meanwhile, as in a database that is busy."""
    for _try in range(TRIES):
        try:
            return act()
        except (OSError, CopyError) as error:
            met = error.__cause__ if isinstance(error, CopyError) else error
            if getattr(met, "errno", None) not in MOVING:
                raise
    return None


def _hint(error) -> str:
    return AS_ROOT if error.errno in (errno.EACCES, errno.EPERM) else "Fix that, then run again."
