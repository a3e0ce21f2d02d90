# SPDX-License-Identifier: Apache-2.0
"""What persist_info found, as lines for people. Pure: no disk is touched."""

import textwrap
import time

from ..errors import printable

WIDTH = 100  # columns, where the paths leave it
LATEST = 253402300800  # seconds since 1970, where the year 10000 begins


def table(store, absent, image, paths, problems, verify):
    """Lay out what was found.

    Args:
        store (dict): as persist_info returns it.
        absent (str): why there is no store; '' where there is one.
        image (str): what the image is called, '' where that is not known.
        paths (list of dict): likewise.
        problems (list of str): what is wrong.
        verify (bool): whether the paths were compared with what was seeded.

    Returns:
        list of str: lines.
    """
    lines = _wrapped("store     ", "{}: {}".format(printable(store["path"]), _store(store, absent)))
    if store["present"]:
        lease = store["lease"]
        held = "held{}, {}".format(" here" if lease["here"] else "", lease["detail"]) if lease["held"] else "not held"
        lines += _wrapped("lease     ", held if lease["held"] or not lease["detail"] else "{}: {}".format(held, lease["detail"]))
    if store["unclaimed"]:
        lines += _wrapped("unclaimed ", ", ".join(map(printable, store["unclaimed"])))
    heads = ["PATH", "STATE", "FILES", "SIZE", "SEEDED"] + (
        ["CHANGED", "MISSING", "ADDED"] if verify else ["HIDDEN", "ASIDE", "KEPT"]
    )
    rows = [heads] + [_row(path, verify) for path in paths]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    if image:
        lines += _wrapped("image     ", image)
    lines.append("")
    for row in rows:
        # What counts stands to the right.
        cells = [
            text.ljust(width) if column in (0, 1, 4) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.append("")
    for text in problems:
        lines += _wrapped("problem   ", text)
    return lines if problems else [*lines, "healthy"]


def _store(store, absent):
    if absent:
        return "absent, {}".format(absent)
    words = [store["state"] or "not known"]
    if store["fs_type"]:
        words.append("{} on {}".format(store["fs_type"], printable(store["source"])) if store["source"] else store["fs_type"])
    if store["size_bytes"] is not None:
        words.append("{} of {} free".format(_size(store["free_bytes"]), _size(store["size_bytes"])))
    if store["free_inodes"] is not None:
        words.append("{:,} inodes free".format(store["free_inodes"]))
    if store["read_only"]:
        words.append("read-only")
    if store["dies_with"]:
        words.append("dies with the pod, as it is {}".format(store["dies_with"]))
    return ", ".join(words)


def _row(path, verify):
    row = [printable(path["path"]), path["state"] + (" (diverged)" if path["diverged"] else "")]
    row += [_count(path["files"]), "-" if path["bytes"] is None else _size(path["bytes"])]
    row.append({"adopted": "adopted", "seeded": _day(path["at"])}.get(path["origin"], "-"))
    if verify:
        return row + [_count((path["verified"] or {}).get(what)) for what in ("changed", "missing", "added")]
    aside = _size(sum(kept["bytes"] for kept in path["aside"])) if path["aside"] else "-"
    return row + [_count(path["hidden"]), aside, _count(path["backups"] or None)]


def _wrapped(head, text):
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )


def _count(number):
    return "-" if number is None else "{:,}".format(number)


def _day(seconds):
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds is not None and 0 <= seconds < LATEST else "?"


def _size(count):
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return "{} B".format(count) if units[0] == "B" else "{:.1f} {}".format(count, units[0])
