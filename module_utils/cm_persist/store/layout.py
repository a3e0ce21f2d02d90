# SPDX-License-Identifier: Apache-2.0
"""Every name in the state directory .cm_persist, in one place."""

import os
import re
from hashlib import sha256
from typing import List, Optional

STATE = ".cm_persist"
STAGING, MANIFESTS, BACKUPS = b"staging", b"manifests", b"backups"
# In a private directory in staging: the copy, its manifest, the base of later merges, and its entry for the record.
TREE, MANIFEST, BASE, ENTRY = b"tree", b"manifest", b"base", b"entry.json"
LISTS = (("manifest", MANIFEST), ("base", BASE))  # fields of an entry that name a file in manifests/, and its name in private
LARGEST = 1 << 20  # bytes of an entry; one takes some 300 and the path
# Left by mkfs, by NAS snapshots and by desktops; and what an interrupted run may have started to make (make_directories()).
IGNORED, IGNORED_PREFIXES = (b"lost+found", b".snapshot"), (b".Trash-", STATE.encode() + b"-")


def label(path: str) -> str:
    """A file name that stands for a state path: different for each, and readable."""
    spelled = os.fsencode(path)
    readable = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.path.basename(spelled))[:64].decode("ascii")
    return "{}-{}".format(readable, sha256(spelled).hexdigest()[:12])


def unseeded_name(path: str) -> str:
    """The name in staging of a state path's copy that was taken out of the store."""
    return label(path) + "-unseeded"


def swap_name(path: str, suffix: str) -> str:
    """The name in staging of a state path's swap; suffix is MERGE_SUFFIX or ROLLBACK_SUFFIX."""
    return label(path) + suffix


def manifest_names(path: str, entry: Optional[dict] = None) -> List[str]:
    """Names in manifests/ for a state path, at least two, of those that its entry in the record does not use; all of them without
    an entry."""
    used = [entry[field] for field, _name in LISTS] if entry else []
    return [name for name in (label(path) + suffix for suffix in ("", ".2", ".3", ".4")) if name not in used]
