# SPDX-License-Identifier: Apache-2.0
"""Tell how a store and its state paths are, and what is wrong with them. Nothing is changed, and nothing made, no state directory
and no lock. Nothing that is found ends the look: it is told as a problem.
"""

import contextlib
import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..errors import StoreError, printable
from ..fs.node import Node, ParentDir
from ..host.machine import THIS_MACHINE
from ..lease.lease import HELD, OURS, Lease
from ..original.pristine import IMAGE_MANIFEST
from ..paths import parse_paths
from ..seed.plan import PathSeen
from ..store.owners import Owners, read_owners
from ..store.record import read_record
from ..store.staging import read_staging
from ..store.state import StoreSeen, foreign_names, store_state, tree_of
from ..store.store import Found, Store, find_store, trigger_automount
from ..store.swap import BEFORE, find_swaps
from ..upgrade.image import identify
from .state_path import Look, guarded, see_path
from .table import table

# Of a store that is not there.
_NOTHING = {
    "source": "", "fs_type": "", "dies_with": "", "read_only": False, "size_bytes": None, "free_bytes": None, "free_inodes": None,
    "lease": {"held": False, "here": False, "detail": ""}, "unclaimed": [],
}  # fmt: skip


class Settings(NamedTuple):
    """The module's options, as persist_info documents them."""

    store: str
    paths: list
    require_mount: bool = True
    image: str = ""
    image_manifest: str = IMAGE_MANIFEST
    verify: bool = False


class Info(NamedTuple):
    """What was found: whether all is well, what is not, what the image is called, the store, each path, and lines for people."""

    changed: bool
    healthy: bool
    problems: List[str]
    image: str
    store: dict
    paths: List[dict]
    table: List[str]
    message: str

    @property
    def steps(self):
        """list of str: none are ever taken."""
        return []


class _Books(NamedTuple):
    """What the store's state directory tells. record is None where there is none; broken says that it cannot be read, newer that
    a newer cm_persist wrote it; interrupted are state paths that an earlier run began to replace."""

    record: Optional[Dict[str, dict]] = None
    leftovers: Tuple[str, ...] = ()
    interrupted: Tuple[str, ...] = ()
    owners: Optional[Owners] = None
    broken: bool = False
    newer: bool = False


def look(settings, machine=THIS_MACHINE):
    """Look at a store and at its state paths.

    Args:
        settings (Settings): what the user names.
        machine (Machine): what it runs on.

    Returns:
        Info.

    Raises:
        SpecError: what is named makes no sense.
        StoreError: the mount table cannot be read.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    trigger_automount(store_path)
    mounts, accounts = machine.mounts(), machine.accounts()
    problems = []
    with contextlib.ExitStack() as stack:
        nothing = Found(store_path, "it cannot be used", None)
        found = guarded(problems, store_path, lambda: find_store(store_path, settings.require_mount, mounts), nothing)
        store = None
        if not found.absent:
            store = guarded(problems, store_path, lambda: stack.enter_context(Store(store_path)))
        books = _read_books(store, problems)
        shown = {"path": store_path, "present": not found.absent, "state": "absent"}
        if not found.absent:
            shown.update(_describe(store, found, specs, books, problems))
        looking = Look(
            found=found,
            store=store,
            record=books.record or {},
            interrupted=books.interrupted,
            mounts=mounts,
            accounts=accounts,
            store_accounts=books.owners.accounts if books.owners else accounts,
            image_manifest=settings.image_manifest,
            verify=settings.verify,
        )
        paths = [see_path(looking, spec, problems) for spec in specs]
    shown = dict(_NOTHING, **shown)
    message = problems[0] if problems else "no persistence: {}".format(found.absent) if found.absent else "healthy"
    image = identify(settings.image, settings.image_manifest)
    name = printable(image.name) if image else ""
    lines = table(shown, found.absent, name, paths, problems, settings.verify)
    return Info(False, not problems, problems, name, shown, paths, lines, message)


def _read_books(store, problems):
    if store is None or store.state_fd is None:
        return _Books()
    books = _Books()
    try:
        books = books._replace(record=read_record(store.state_fd, store.state_path))
    except StoreError as error:
        problems.append(str(error))
        books = books._replace(broken=True, newer=error.results.get("store_state") == "newer")
    leftovers, _unfinished = guarded(problems, store.state_path, lambda: read_staging(store), (None, {}))
    swaps = guarded(problems, store.state_path, lambda: find_swaps(store, leftovers or ()), [])
    return books._replace(
        leftovers=tuple(leftovers or ()),
        interrupted=tuple(swap.note.path for swap in swaps if swap.state != BEFORE),
        owners=guarded(problems, store.state_path, lambda: read_owners(store.state_fd, store.state_path)),
    )


def _describe(store, found, specs, books, problems):
    """dict: of a store that is there; what of it cannot be opened, store being None, is left out."""
    shown = {"state": None}
    if found.mount:
        shown.update(source=found.mount.source, fs_type=found.mount.fs_type, dies_with=found.mount.dies_with_pod)
    space = guarded(problems, found.path, lambda: os.statvfs(found.path))
    if space is not None:
        shown.update(
            read_only=bool(space.f_flag & os.ST_RDONLY),
            size_bytes=space.f_blocks * space.f_frsize,
            free_bytes=space.f_bavail * space.f_frsize,
            # btrfs counts none, and CephFS says -1 for any number.
            free_inodes=space.f_favail if space.f_files and space.f_favail >= 0 else None,
        )
    if store is None:
        return shown
    foreign = guarded(problems, found.path, lambda: list(foreign_names(store.fd, tree_of(specs))), [])
    shown.update(unclaimed=[printable(name) for name in foreign])
    if store.state_fd is not None:
        lease = guarded(problems, store.state_path, Lease(store).look)
        if lease is not None:
            shown["lease"] = {"held": lease.state in (HELD, OURS), "here": lease.state == OURS, "detail": lease.detail}
    if books.broken:
        shown["state"] = "newer" if books.newer else None
        return shown
    seen = StoreSeen(store.path, record=books.record, leftovers=books.leftovers, foreign=tuple(foreign))
    shown["state"] = store_state(seen, [_see_for_state(store, spec, books.record or {}) for spec in specs])
    return shown


def _see_for_state(store, spec, record):
    # Whatever stands in the way of a look, see_path() tells.
    return PathSeen(
        spec,
        original=guarded([], spec.path, lambda: _look_at(spec), Node()),
        stored=guarded([], spec.path, lambda: store.look(spec.relative), Node()),
        entry=record.get(spec.key),
    )


def _look_at(spec):
    with ParentDir(spec.path) as image:
        return image.look()
