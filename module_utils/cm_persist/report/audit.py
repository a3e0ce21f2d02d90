# SPDX-License-Identifier: Apache-2.0
"""What a running container has that its image has not, and so is lost with it; and what in the store no state path claims.

Nothing is changed, and nothing made.
"""

import os
import re
from typing import List, NamedTuple

from ..errors import SpecError, printable
from ..fs.dirfd import list_names, open_directory
from ..fs.node import ParentDir
from ..host.machine import THIS_MACHINE
from ..host.mounts import real_path
from ..original.notes import bound_name, copy_name, removal_name
from ..original.pristine import IMAGE_MANIFEST
from ..paths import inside, parse_paths
from ..store.state import foreign_names, tree_of
from ..store.store import Store, find_store, trigger_automount
from ..text import files, size
from .image_diff import ADDED, CHANGED, REMOVED, Comparison, count, looking_at

MADE_ANEW = (b"dev", b"proc", b"run", b"sys", b"tmp")  # below the root; what container/image_manifest.py does not list


class Settings(NamedTuple):
    """The module's options, as persist_audit documents them. root (str) is the directory to look at, the file system's own;
    the list has absolute paths."""

    store: str
    paths: list
    require_mount: bool = True
    image_manifest: str = IMAGE_MANIFEST
    root: str = "/"
    limit: int = 50


class Audit(NamedTuple):
    """What was found: the changes, the largest first, what all of them amount to, what is kept beside state paths, what in the
    store is nobody's, and lines for people."""

    changed: bool
    changes: List[dict]
    totals: dict
    asides: List[dict]
    unclaimed: List[dict]
    table: List[str]
    message: str

    @property
    def steps(self):
        """list of str: none are ever taken."""
        return []


def audit(settings, machine=THIS_MACHINE):
    """Compare the file system with the list of the image, and look through the store.

    Args:
        settings (Settings): what the user names.
        machine (Machine): what it runs on.

    Returns:
        Audit.

    Raises:
        SpecError: what is named makes no sense.
        PathError: there is no list of the image, or something cannot be read.
        StoreError: what stands at the store's place is none, or the mount table cannot be read.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    if settings.limit < 0:
        raise SpecError(str(settings.limit), "the limit is below 0", "Say how many changes to tell at most; 0 is all.")
    root = os.path.realpath(settings.root)
    trigger_automount(store_path)
    mounts = machine.mounts()
    found = find_store(store_path, settings.require_mount, mounts)
    asides, beside = _look_beside(specs)
    places = [mount.mount_point for mount in mounts] + [real_path(settings.image_manifest)]
    if not found.absent:  # else what is there is the container's own
        places.append(os.path.realpath(store_path))
    left_out = {os.fsencode(os.path.relpath(place, root)) for place in places + beside if inside(place, root) and place != root}
    left_out.update(MADE_ANEW)
    comparison = Comparison(root, store_path, left_out)
    changes = comparison.largest(settings.image_manifest, settings.limit)
    unclaimed = [] if found.absent else _unclaimed(store_path, specs)
    totals = comparison.totals
    said = "{added:,} added, {changed:,} changed, {removed:,} removed".format(**totals)
    message = "lost with the container: {}; {}, {}".format(said, files(totals["files"]), size(totals["bytes"]))
    lines = _table(message, found.absent, changes, sum(totals[what] for what in (ADDED, CHANGED, REMOVED)), asides, unclaimed)
    return Audit(False, changes, totals, asides, unclaimed, lines, message)


def _look_beside(specs):
    """tuple: (list of dict, list of str), what is kept beside the state paths, and the paths of that and of the notes there."""
    asides, places = [], []
    for spec in specs:
        with ParentDir(spec.path) as image, looking_at(image.directory):
            if image.fd is None:
                continue
            pattern = re.compile(re.escape(image.name) + rb"-initial(\.\d+)?")
            kept = [name for name in list_names(image.fd) if pattern.fullmatch(name)]
            asides += [_counted(image.fd, name, image.directory) for name in kept]
            names = [*kept, *(name(image.name) for name in (removal_name, bound_name, copy_name))]
            places += [os.path.join(os.path.realpath(image.directory), os.fsdecode(name)) for name in names]
    return sorted(asides, key=_rank), places


def _unclaimed(store_path, specs):
    found = []
    with looking_at(store_path), Store(store_path) as store:
        for path in foreign_names(store.fd, tree_of(specs)):
            above, name = os.path.split(path)
            parent = open_directory(store.fd, os.fsencode(above), store_path)
            try:
                found.append(_counted(parent, os.fsencode(name), os.path.join(store_path, above)))
            finally:
                os.close(parent)
    return sorted(found, key=_rank)


def _counted(dir_fd, name, directory):
    number, data = count(dir_fd, name)
    return {"path": printable(os.path.join(directory, os.fsdecode(name))), "bytes": data, "files": number}


def _rank(entry):
    return -entry["bytes"], entry["path"]


def _table(message, absent, changes, most, asides, unclaimed):
    """list of str: lines; absent (str) is why there is no store, most (int) how many changes there are."""
    rows = [(size(each["bytes"]), each["what"], files(each["files"]), each["path"]) for each in changes]
    rows += [(size(each["bytes"]), "aside", files(each["files"]), each["path"]) for each in asides]
    rows += [(size(each["bytes"]), "unclaimed", files(each["files"]), each["path"]) for each in unclaimed]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "{}  {}  {}  {}".format(row[0].rjust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2]), row[3]) for row in rows
    ]
    more = most - len(changes)
    told, beside, stored = lines[: len(changes)], lines[len(changes) :][: len(asides)], lines[len(changes) + len(asides) :]
    table = ["no persistence: {}".format(absent)] if absent else []
    table += [message, *told]
    table += ["and {:,} more".format(more)] if more else []
    table += ["kept beside state paths:", *beside] if beside else []
    return table + (["in the store, and claimed by no state path:", *stored] if stored else [])
