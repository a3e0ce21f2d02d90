# SPDX-License-Identifier: Apache-2.0
"""listing.py PATH…: everything that a copy of these trees has to keep, as JSON. Runs in containers, on their Python."""

import hashlib
import json
import os
import stat
import sys


def content(path, kind):
    """What the file holds: a digest, a link's target, or nothing."""
    if stat.S_ISREG(kind):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    return os.readlink(path) if stat.S_ISLNK(kind) else None


def describe(path, top, names):
    """One file; names maps an inode to its first name below top, so that hard links show."""
    status = os.lstat(path)
    first = names.setdefault((status.st_dev, status.st_ino), os.path.relpath(path, top))
    attributes = os.listxattr(path, follow_symlinks=False)
    return {
        "mode": oct(status.st_mode),
        "owner": [status.st_uid, status.st_gid],
        "mtime": status.st_mtime_ns,
        "content": content(path, status.st_mode),
        "xattrs": {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in attributes},
        "same file as": first,
    }


def listing(top):
    """All files below top, and top itself, by their path relative to it."""
    names = {}
    found = {".": describe(top, top, names)}
    for directory, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = describe(path, top, names)
    return found


json.dump({path: listing(path) for path in sys.argv[1:]}, sys.stdout)
