# SPDX-License-Identifier: Apache-2.0
"""What a running container has that its image has not, and so is lost with it; and what in the store no state path claims.
Nothing is changed, and nothing made."""

import os
import re
from typing import List, NamedTuple, Tuple

from ..errors import SpecError, printable
from ..fs.dirfd import Opened, list_names, open_directory
from ..fs.node import ParentDir
from ..host.machine import THIS_MACHINE, Machine
from ..host.mounts import Mount, real_path
from ..original.notes import bound_name, copy_name, is_of_image, kept_name, removal_name
from ..original.pristine import IMAGE_MANIFEST
from ..paths import StatePath, inside, parse_paths
from ..store.state import foreign_names
from ..store.store import Store, find_store, trigger_automount
from ..text import files, size
from .image_diff import ADDED, CHANGED, REMOVED, Comparison, count
from .problems import reading
from .table import aligned

NOT_LISTED = (b"dev", b"proc", b"run", b"sys", b"tmp")  # below the root; container/image_manifest.py leaves them out


class Settings(NamedTuple):
    """The module's options, as persist_audit documents them; and root, the directory that is compared, for tests."""

    store: str
    paths: list
    require_mount: bool = True
    image_manifest: str = IMAGE_MANIFEST
    root: str = "/"
    limit: int = 50


class Audit(NamedTuple):
    """The report: changes, asides and what is unclaimed, each the largest first; totals are of all changes."""

    changed: bool
    changes: List[dict]
    totals: dict
    asides: List[dict]
    unclaimed: List[dict]
    table: List[str]
    message: str


def audit(settings: Settings, machine: Machine = THIS_MACHINE) -> Audit:
    """Compare the file system with the list of the image, and look through the store.

    Raises SpecError if the settings make no sense, PathError if there is no list of the image or something cannot be read,
    StoreError if the store is no directory or the mount table cannot be read.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    if settings.limit < 0:
        raise SpecError(str(settings.limit), "the limit is below 0", "Say how many changes to report at most; 0 is all.")
    trigger_automount(store_path)
    mounts = machine.mounts()
    found = find_store(store_path, settings.require_mount, mounts)
    asides, kept = _look_next_to(specs, settings.image_manifest)
    outliving = [] if found.absent else [os.path.realpath(store_path)]  # without a store, that directory is the container's own
    comparison = Comparison(os.path.realpath(settings.root), store_path, _left_out(settings, mounts, kept + outliving))
    changes, totals = comparison.largest(settings.image_manifest, settings.limit), comparison.totals
    counts = "{added:,} added, {changed:,} changed, {removed:,} removed".format(**totals)
    message = "lost with the container: {}; {}, {}".format(counts, files(totals["files"]), size(totals["bytes"]))
    unclaimed = [] if found.absent else _find_unclaimed(store_path, specs)
    report = Audit(False, changes, totals, sorted(asides, key=_rank), unclaimed, [], message)
    return report._replace(table=_lay_out(report, found.absent))


def _look_next_to(specs: List[StatePath], image_list: str) -> Tuple[List[dict], List[str]]:
    """The asides, each with its path, bytes and files; and the paths of asides and of all notes, whether they exist or not."""
    asides, paths = [], []
    for spec in specs:
        with ParentDir(spec.path) as parent, reading(parent.directory):
            if parent.fd is None:
                continue
            # Any number: an audit reports also what lies behind a gap, where a start looks no further.
            pattern = re.compile(re.escape(parent.name) + rb"-initial(\.\d+)?")
            kept = [name for name in list_names(parent.fd) if pattern.fullmatch(name)]
            kept = [name for name in kept if not is_of_image(parent, name, image_list)]
            asides += [_count(parent.fd, name, parent.directory) for name in kept]
            names = [*kept, *(name(parent.name) for name in (removal_name, bound_name, copy_name, kept_name))]
            paths += [os.path.join(os.path.realpath(parent.directory), os.fsdecode(name)) for name in names]
    return asides, paths


def _left_out(settings: Settings, mounts: List[Mount], outliving: List[str]):
    """The paths, relative to the root, that are not compared: mounts, what cm_persist keeps, and what the list leaves out."""
    root = os.path.realpath(settings.root)
    paths = [*(mount.mount_point for mount in mounts), real_path(settings.image_manifest), *outliving]
    relative = {os.fsencode(os.path.relpath(path, root)) for path in paths if inside(path, root) and path != root}
    return relative.union(NOT_LISTED)


def _lay_out(report: Audit, absent: str) -> List[str]:
    """Lines for people; absent is why there is no store, '' if there is one."""
    rows = [_cells(each["what"], each) for each in report.changes]
    rows += [_cells("aside", each) for each in report.asides] + [_cells("unclaimed", each) for each in report.unclaimed]
    aligned_rows = iter(aligned(rows, left=(1, 3)))
    changes, asides, unclaimed = (
        [next(aligned_rows) for _each in section] for section in (report.changes, report.asides, report.unclaimed)
    )
    more = sum(report.totals[what] for what in (ADDED, CHANGED, REMOVED)) - len(changes)
    lines = ["no persistence: {}".format(absent)] if absent else []
    lines += [report.message, *changes]
    lines += ["and {:,} more".format(more)] if more else []
    lines += ["kept next to state paths:", *asides] if asides else []
    return lines + (["in the store, and claimed by no state path:", *unclaimed] if unclaimed else [])


def _find_unclaimed(store_path, specs) -> List[dict]:
    found = []
    with reading(store_path), Store(store_path) as store:
        for path in foreign_names(store, specs):
            above, name = os.path.split(path)
            with Opened(open_directory(store.fd, os.fsencode(above), store_path)) as parent:
                found.append(_count(parent, os.fsencode(name), os.path.join(store_path, above)))
    return sorted(found, key=_rank)


def _count(dir_fd, name, directory) -> dict:
    number, data = count(dir_fd, name)
    return {"path": printable(os.path.join(directory, os.fsdecode(name))), "bytes": data, "files": number}


def _rank(entry):
    return -entry["bytes"], entry["path"]


def _cells(what, entry):
    return size(entry["bytes"]), what, files(entry["files"]), entry["path"]
