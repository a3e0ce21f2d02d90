# SPDX-License-Identifier: Apache-2.0
"""What persist_info found, as lines for people. Pure: no disk is touched."""

import textwrap
import time
from typing import List, NamedTuple, Tuple

from ..errors import printable
from ..text import files, size

WIDTH = 100  # columns, where the paths leave it
LATEST = 253402300800  # seconds since 1970, where the year 10000 begins
HEADS = ("PATH", "STATE", "FILES", "SIZE", "SEEDED")
COMPARED, KEPT = ("CHANGED", "MISSING", "ADDED"), ("HIDDEN", "ASIDE", "KEPT")


class Report(NamedTuple):
    """What was found, as persist_info returns it."""

    store: dict
    absent: str  # why there is no store; '' if there is one
    image: str  # what the image is called; '' if that is not known
    paths: List[dict]
    problems: List[str]

    def lines(self, verify: bool) -> List[str]:
        """The report as lines for people; verify says whether the paths were compared with what was seeded."""
        lines = self._lines_of_store()
        if self.image:
            lines += _wrapped("image     ", self.image)
        rows = [HEADS + (COMPARED if verify else KEPT), *(_row(path, verify) for path in self.paths)]
        lines += ["", *aligned(rows, left=(0, 1, 4)), ""]
        for kept in (kept for path in self.paths for kept in path["aside"] + path["replaced"]):
            counted = files(kept["files"]), size(kept["bytes"], "B"), kept["why"]
            lines += _wrapped("kept      ", "{}: {}, {}: {}".format(printable(kept["path"]), *counted))
        for text in self.problems:
            lines += _wrapped("problem   ", text)
        return lines if self.problems else [*lines, "healthy"]

    def _lines_of_store(self) -> List[str]:
        store = self.store
        lines = _wrapped("store     ", "{}: {}".format(printable(store["path"]), _store(store, self.absent)))
        if store["present"]:
            lines += _wrapped("lease     ", _lease(**store["lease"]))
        if store["unclaimed"]:
            lines += _wrapped("unclaimed ", ", ".join(map(printable, store["unclaimed"])))
        return lines


def aligned(rows: List[tuple], left: Tuple[int, ...]) -> List[str]:
    """Rows of cells as lines, with all columns flush right but those in left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    columns = [(str.ljust if number in left else str.rjust, width) for number, width in enumerate(widths)]
    return ["  ".join(align(text, width) for text, (align, width) in zip(row, columns)).rstrip() for row in rows]


def _lease(held, here, detail) -> str:
    if held:
        return "held{}, {}".format(" here" if here else "", detail)
    return "not held: {}".format(detail) if detail else "not held"


def _store(store, absent):
    if absent:
        return "absent, {}".format(absent)
    words = [store["state"] or "not known"]
    if store["fs_type"]:
        words.append("{} on {}".format(store["fs_type"], printable(store["source"])) if store["source"] else store["fs_type"])
    if store["size_bytes"] is not None:
        words.append("{} of {} free".format(size(store["free_bytes"], "B"), size(store["size_bytes"], "B")))
    if store["free_inodes"] is not None:
        words.append("{:,} inodes free".format(store["free_inodes"]))
    if store["read_only"]:
        words.append("read-only")
    if store["dies_with"]:
        words.append("dies with the pod, as it is {}".format(store["dies_with"]))
    return ", ".join(words)


def _row(path, verify):
    row = [printable(path["path"]), path["state"] + (" (diverged)" if path["diverged"] else "")]
    row += [_count(path["files"]), "-" if path["bytes"] is None else size(path["bytes"], "B")]
    row.append({"adopted": "adopted", "seeded": _day(path["at"])}.get(path["origin"], "-"))
    if verify:
        return row + [_count((path["verified"] or {}).get(what)) for what in ("changed", "missing", "added")]
    aside = size(sum(kept["bytes"] for kept in path["aside"]), "B") if path["aside"] else "-"
    return row + [_count(path["hidden"]), aside, _count(path["backups"] or None)]


def _wrapped(head, text):
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )


def _count(number):
    return "-" if number is None else "{:,}".format(number)


def _day(seconds):
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds is not None and 0 <= seconds < LATEST else "?"
