# SPDX-License-Identifier: Apache-2.0
"""The record: which state paths the store has, in <store>/.cm_persist/record.json."""

import os
from typing import Dict, Optional

from ..errors import AS_ROOT, StoreError, because, printable
from ..fs.atomic import INVALID, read_json, write_json
from .layout import LISTS

NAME = b"record.json"
SCHEMA = 1
LARGEST = 16 << 20  # bytes; a record takes some 300 for each state path
LONGEST_REASON = 300  # characters of why it cannot be read
KINDS = ("directory", "file")
ORIGINS = ("seeded", "adopted")
RESTORE = "Restore it from a backup, or move it away: what lies in the store at the state paths is then adopted as it is."


def read_record(state_fd: int, state_path: str) -> Optional[Dict[str, dict]]:
    """The entry of each state path, None without a record.

    An entry is {"origin": one of ORIGINS, "kind": one of KINDS, "files": int, "bytes": int, "manifest": what was seeded, as a
    file name in manifests/, None once a merge changed that, "base": what the image had that the path was seeded from or merged
    with last, likewise, or None, "listed": whether the list of that image says so, "at": seconds since the epoch, "image": that
    image or None, "seen": the image that the path last met or None, "left": the image whose merge a rollback took back, or None,
    "databases": the directories of PostgreSQL's that it had when it was seeded or adopted, relative to it,
    "top": {"uid": int, "gid": int, "mode": int}}. An image is {"id": str, "name": str}; "seen" also has
    the "policy" of that time.

    Raises StoreError if it is no regular file, not JSON, of another form, or of a newer schema (with store_state newer);
    state_path is for that error.
    """
    path = os.path.join(state_path, os.fsdecode(NAME))
    try:
        content = read_json(state_fd, NAME, LARGEST)
        schema = content["schema"]
        if schema == SCHEMA:
            return {check_path(path_of): check_entry(entry) for path_of, entry in content["paths"].items()}
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = AS_ROOT if isinstance(error, PermissionError) else RESTORE
        raise StoreError(path, "the store's record cannot be opened: {}".format(because(error)), hint) from error
    except INVALID as error:
        found = printable("{}: {}".format(type(error).__name__, error)[:LONGEST_REASON])
        raise StoreError(path, "the store's record is broken: {}".format(found), RESTORE) from error
    found = "the store's record has schema {}, this cm_persist knows {}".format(printable(repr(schema)[:LONGEST_REASON]), SCHEMA)
    raise StoreError(path, found, "Start the image that wrote it, or one with a newer cm_persist.", store_state="newer")


def write_record(state_fd: int, entries: Dict[str, dict]):
    """Replace the record, durably. The caller holds the lock."""
    write_json(state_fd, NAME, {"schema": SCHEMA, "paths": entries})


def check_path(path: str) -> str:
    """A state path as the record spells it. Raises ValueError if it could lead outside the store, or is no file's name."""
    if not path.startswith("/") or {"", ".", ".."} & set(path[1:].split("/")):
        raise ValueError(path)
    path.encode("utf-8", "surrogateescape")  # UnicodeEncodeError is a ValueError
    return path


def check_entry(entry: dict) -> dict:
    """An entry of the record. Raises KeyError, TypeError or ValueError if it is none."""
    images = [entry[key] for key in ("image", "seen", "left") if entry[key] is not None]
    names = [entry[field] for field, _name in LISTS if entry[field] is not None]
    valid = (
        entry["origin"] in ORIGINS
        and entry["kind"] in KINDS
        and all(isinstance(entry[key], int) for key in ("files", "bytes", "at"))
        and isinstance(entry["listed"], bool)
        and all(not each or check_path("/" + each) for each in entry["databases"])
        and all(isinstance(name, str) and is_name(name) for name in names)
        and all(isinstance(image[part], str) for image in images for part in ("id", "name"))
        and all(isinstance(entry["top"][part], int) and entry["top"][part] >= 0 for part in ("uid", "gid", "mode"))
    )
    if not valid:
        raise ValueError(entry)
    return entry


def is_name(text: str) -> bool:
    """True if a text can be the name of a file in a directory, and leads nowhere else."""
    return text not in ("", ".", "..") and not set(text) & set("/\0")
