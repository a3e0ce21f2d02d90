# SPDX-License-Identifier: Apache-2.0
"""Hostile books, as data: what the record of a store and the notes in its staging may say."""

import json
import re


def _record(**changes):
    """callable: makes the record that is there, its first entry changed."""
    return lambda paths, entries: {"schema": 1, "paths": {paths[0]: dict(entries[paths[0]], **changes)}}


def _more(key, **changes):
    """callable: makes the record that is there, with one more path."""
    return lambda paths, entries: {"schema": 1, "paths": {**entries, key: dict(entries[paths[0]], **changes)}}


def _raw(text):
    """callable: makes the record that is there as text, in which something is replaced by a function of it."""
    return lambda paths, entries: text(json.dumps({"schema": 1, "paths": entries})).encode()


# What the record of a store may say: how it is made from the state paths and the right entries, and whether a start goes on.
RECORDS = {
    "a manifest above": (_record(manifest="../../x"), False),
    "a manifest elsewhere": (_record(manifest="/etc/passwd"), False),
    "a manifest that is the directory": (_record(manifest="."), False),
    "a manifest without a name": (_record(manifest=""), False),
    "a manifest with a null byte": (_record(manifest="a\0b"), False),
    "a manifest that is not there": (_record(manifest="nothing"), True),
    "negative counts": (_record(files=-1, bytes=-(10**30)), True),
    "not a number": (_raw(lambda text: re.sub('"at": [0-9]+', '"at": NaN', text)), False),
    "no end of files": (_raw(lambda text: re.sub('"files": [0-9]+', '"files": Infinity', text)), False),
    "a number of 5,000 digits": (_raw(lambda text: re.sub('"files": [0-9]+', '"files": ' + "9" * 5000, text)), False),
    "a string of 10 MB": (_record(origin="x" * 10_000_000), False),
    "another kind": (_record(kind="file"), False),
    "a path that is not seeded": (lambda paths, entries: {"schema": 1, "paths": dict.fromkeys(paths, entries[paths[0]])}, False),
    "a path with two points": (_more("/var/../../etc"), False),
    "a relative path": (_more("../../etc"), False),
    "a relative path with a line break and an escape": (_more("a\n\x1b[2J"), False),
    "a path with a line break and an escape": (_more("/a\n\x1b[2J"), True),
    "no path": (_more(""), False),
    "the root": (_more("/"), False),
    "a path with a null byte": (_more("/a\0b"), True),
    "a path with half a surrogate pair": (_more("/\ud800"), False),
    "a path of 5,000 bytes": (_more("/" + "a" * 5000), True),
    "the same path twice": (_raw(lambda text: text.replace('"paths": {', '"paths": {"/a": 0, "/a": {}, ', 1)), False),
    "deep nesting": (_raw(lambda _text: "[" * 100_000), False),
    "deep nesting in a record": (_raw(lambda text: text[:-1] + ', "more": ' + "[" * 90_000 + "]" * 90_000 + "}"), False),
    "17 MB": (_raw(lambda text: text + " " * (17 << 20)), False),
    "10 MB of blanks": (_raw(lambda text: text + " " * (10 << 20)), True),
    "another schema, of 10 MB": (lambda _paths, entries: {"schema": "x" * 10_000_000, "paths": entries}, False),
    "a schema with an escape": (lambda _paths, entries: {"schema": "\n\x1b[2J", "paths": entries}, False),
    "no schema": (lambda _paths, entries: {"paths": entries}, False),
    "UTF-16": (lambda _paths, entries: json.dumps({"schema": 1, "paths": entries}).encode("utf-16"), False),
    "null bytes": (_raw(lambda text: "\0" * len(text)), False),
}


def _note(**changes):
    return lambda note: dict(note, **changes)


# What a note in staging may say, made from the right one.
NOTES = {
    "a list": lambda _note: [],
    "no end": _note(inode=float("inf")),
    "not a number": _note(mtime=float("nan")),
    "an inode with a name": _note(inode="x"),
    "a path that is a list": _note(path=["/"]),
    "a path with half a surrogate pair": _note(path="/\ud800"),
    "no entry": _note(entry=None),
    "a manifest above": lambda note: dict(note, entry=dict(note["entry"], manifest="../../x")),
    "deep nesting": lambda _note: b"[" * 100_000,
    "blanks, and no end of them": lambda _note: b" " * (64 << 20),
    "null bytes": lambda _note: b"\0" * 300,
    "not UTF-8": lambda _note: b"\xff\xfe" * 300,
}
