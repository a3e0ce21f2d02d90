# SPDX-License-Identifier: Apache-2.0
"""Every name in .cm_persist, in one place."""

import os
import re
from hashlib import sha256

BACKUPS = b"backups"
TREE, MANIFEST, ENTRY = b"tree", b"manifest", b"entry.json"
LARGEST = 1 << 20  # bytes of an entry; one takes some 300 and the path
STATE = ".cm_persist"
STAGING, MANIFESTS = b"staging", b"manifests"
# Left by mkfs, by NAS snapshots and by desktops; and what we may have begun to make (see make_directories).
IGNORED, IGNORED_PREFIXES = (b"lost+found", b".snapshot"), (b".Trash-", STATE.encode() + b"-")


def label(path):
    """str: a file name that stands for a state path, unlike any other's and easy to tell."""
    spelled = os.fsencode(path)
    readable = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.path.basename(spelled))[:64].decode("ascii")
    return "{}-{}".format(readable, sha256(spelled).hexdigest()[:12])


def unseeded_name(path):
    """str: the name in staging of a copy that was taken out of the store, of a state path (str)."""
    return label(path) + "-unseeded"


def swap_name(path, what):
    """str: the name in staging for a state path (str); what is MERGE or ROLLBACK."""
    return label(path) + what


def other_manifest(path, entry):
    """str: the name for a further manifest of a state path (str), which its entry does not use."""
    return label(path) + ".2" if entry["manifest"] == label(path) else label(path)
