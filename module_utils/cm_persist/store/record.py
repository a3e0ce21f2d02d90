# SPDX-License-Identifier: Apache-2.0
"""The record: what we know of the store, kept in the store as <store>/.cm_persist/record.json."""

import json
import os

from ..errors import AS_ROOT, StoreError, because, printable
from ..fs.atomic import write_file
from ..fs.dirfd import open_regular

NAME = b"record.json"
SCHEMA = 1
LARGEST = 16 << 20  # bytes; a record takes some 300 for each state path
MOST_SAID = 300  # characters of what is wrong in it
KINDS = ("directory", "file")
ORIGINS = ("seeded", "adopted")


def read_record(state_fd, state_path):
    """Read the record.

    Args:
        state_fd (int): the open state directory.
        state_path (str): the same for errors.

    Returns:
        dict: state path (str) to its entry: {"origin": one of ORIGINS, "kind": one of KINDS, "files": int,
        "bytes": int, "manifest": file name in manifests/ or None, "at": seconds since the epoch, "image": what its manifest
        is of or None, "seen": the image that it last met or None, each {"id": str, "name": str}, "seen" with the "policy" that
        was asked for, "top": {"uid": int, "gid": int, "mode": int} of its top}.
        None where there is no record.

    Raises:
        StoreError: it is no regular file, not JSON, of another form, or of a newer schema (with store_state newer).
    """
    path = os.path.join(state_path, os.fsdecode(NAME))
    restore = "Restore it from a backup, or move it away: what lies in the store at the state paths is then adopted as it is."
    try:
        fd = open_regular(NAME, state_fd, LARGEST)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StoreError(path, "the store's record cannot be opened: {}".format(because(error)), AS_ROOT) from error
    except OSError as error:
        raise StoreError(path, "the store's record cannot be opened: {}".format(because(error)), restore) from error
    with open(fd, "rb") as file:
        data = file.read(LARGEST)
    try:
        content = json.loads(data.decode("utf-8"))
        schema = content["schema"]
        if schema == SCHEMA:
            return {check_path(path_of): check_entry(entry) for path_of, entry in content["paths"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = printable("{}: {}".format(type(error).__name__, error)[:MOST_SAID])
        raise StoreError(path, "the store's record is broken: {}".format(found), restore) from error
    raise StoreError(
        path,
        "the store's record has schema {}, this cm_persist knows {}".format(printable(repr(schema)[:MOST_SAID]), SCHEMA),
        "Start the image that wrote it, or one with a newer cm_persist.",
        store_state="newer",
    )


def write_record(state_fd, entries):
    """Replace the record, durably. entries is a dict as read_record() gives it; the caller holds the lock."""
    content = {"schema": SCHEMA, "paths": entries}
    write_file(state_fd, NAME, json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n")


def check_path(path):
    """str: a state path as the record spells it, as it is. Raises ValueError where it is none."""
    if not path.startswith("/") or {"", ".", ".."} & set(path[1:].split("/")):  # it leads nowhere but below the store
        raise ValueError(path)
    path.encode("utf-8", "surrogateescape")  # no file can be named otherwise: UnicodeEncodeError is a ValueError
    return path


def check_entry(entry):
    """dict: an entry of the record, as it is. Raises KeyError, TypeError or ValueError where it is none."""
    right = (
        entry["origin"] in ORIGINS
        and entry["kind"] in KINDS
        and isinstance(entry["files"], int)
        and isinstance(entry["bytes"], int)
        and isinstance(entry["at"], int)
        and (entry["manifest"] is None or (isinstance(entry["manifest"], str) and is_name(entry["manifest"])))
        and all(
            entry[key] is None or all(isinstance(entry[key][part], str) for part in ("id", "name")) for key in ("image", "seen")
        )
        and all(isinstance(entry["top"][part], int) and entry["top"][part] >= 0 for part in ("uid", "gid", "mode"))
    )
    if not right:
        raise ValueError(entry)
    return entry


def is_name(text):
    """bool: whether a text can be the name of a file in a directory, and leads nowhere else."""
    return text not in ("", ".", "..") and not set(text) & set("/\0")
