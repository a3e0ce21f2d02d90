# SPDX-License-Identifier: Apache-2.0
"""Report how a store and its state paths are, and what is wrong with them. Nothing is changed, and nothing made, no state
directory and no lock. No error ends the report: it becomes a problem in it."""

import contextlib
import os
from typing import List, NamedTuple

from ..errors import StoreError, printable
from ..fs.node import Node, ParentDir
from ..host.machine import THIS_MACHINE, Machine
from ..lease.lease import HELD, OURS, Lease
from ..original.pristine import IMAGE_MANIFEST
from ..paths import parse_paths
from ..seed.observe import PathSeen
from ..store.owners import read_owners
from ..store.record import read_record
from ..store.staging import read_staging
from ..store.state import Books, StoreSeen, find_published, foreign_names, store_state
from ..store.store import Found, Store, find_store, trigger_automount
from ..store.swap import BEFORE, find_swaps
from ..tree.scan import ScanResult, room_of
from ..upgrade.image import identify
from .problems import Problems
from .state_path import PathReport
from .table import Report
from .verify import ImageList

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
    """The report: is all well, and if not, why; what the image is called, the store, each path, and lines for people."""

    changed: bool
    healthy: bool
    problems: List[str]
    image: str
    store: dict
    paths: List[dict]
    table: List[str]
    message: str


def report_status(settings: Settings, machine: Machine = THIS_MACHINE) -> Info:
    """Look at a store and at its state paths. Raises SpecError if the settings make no sense, StoreError if the mount table
    cannot be read."""
    store_path, specs = parse_paths(settings.store, settings.paths)
    trigger_automount(store_path)
    report = StatusReport(settings, store_path, machine)
    with contextlib.ExitStack() as stack:
        report.open_store(stack)
        shown = report.show_store(specs)
        paths = [PathReport(report, spec).shown() for spec in specs]
    problems, absent = report.problems.texts, report.found.absent
    message = problems[0] if problems else "no persistence: {}".format(absent) if absent else "healthy"
    image = identify(settings.image, settings.image_manifest)
    name = printable(image.name) if image else ""
    lines = Report(shown, absent, name, paths, problems).lines(settings.verify)
    return Info(False, not problems, problems, name, shown, paths, lines, message)


class StatusReport:
    """One run of persist_info, and all that is wrong. store is None if it is not there, or cannot be opened; record has the
    entries of the state paths; interrupted are those that an earlier run began to replace, as the record spells them;
    store_accounts are the owners in the store, image_list the list of the image.
    """

    def __init__(self, settings: Settings, store_path: str, machine: Machine):
        self.settings, self.problems = settings, Problems()
        self.mounts = machine.mounts()
        self.image_list = ImageList(settings.image_manifest, machine.accounts(), self.mounts)
        nothing = Found(store_path, "it cannot be used", None)
        self.found = self.problems.guarded(
            store_path, lambda: find_store(store_path, settings.require_mount, self.mounts), nothing
        )
        self.store, self._books, self._broken = None, Books(), None
        self.record, self.interrupted, self.store_accounts = {}, (), self.image_list.accounts

    def open_store(self, stack: contextlib.ExitStack):
        """Open the store, if it is there, until the stack is closed, and read its books."""
        if not self.found.absent:
            self.store = self.problems.guarded(self.found.path, lambda: stack.enter_context(Store(self.found.path)))
        if self.store is not None and self.store.state_fd is not None:
            books = self._books = self._read_books()
            self.record = books.record or {}
            self.interrupted = [swap.note.path for swap in books.swaps if swap.state != BEFORE]
            self.store_accounts = books.owners.accounts if books.owners else self.store_accounts

    def show_store(self, specs) -> dict:
        """The store as persist_info documents it."""
        shown = {"path": self.found.path, "present": not self.found.absent, "state": "absent"}
        if not self.found.absent:
            shown.update(self._show_volume())
            if self.store is not None:
                shown.update(self._show_content(specs))
        return dict(_NOTHING, **shown)

    def _read_books(self) -> Books:
        """As store.state.read_books(), but an error in one part does not keep the others from being read."""
        store, guarded, record = self.store, self.problems.guarded, None
        try:
            record = read_record(store.state_fd, store.state_path)
        except StoreError as error:
            self.problems.texts.append(str(error))
            self._broken = error.results  # which say whether a newer cm_persist wrote it
        names, unrecorded = guarded(store.state_path, lambda: read_staging(store), (None, {}))
        swaps = guarded(store.state_path, lambda: find_swaps(store, names or ()), [])
        owners = guarded(store.state_path, lambda: read_owners(store.state_fd, store.state_path))
        published = guarded(store.state_path, lambda: find_published(store, record or {}, unrecorded), {})
        return Books(True, record, None if names is None else tuple(names), published, owners, tuple(swaps))

    def _show_volume(self) -> dict:
        shown, mount = {"state": None}, self.found.mount
        if mount:
            shown.update(source=mount.source, fs_type=mount.fs_type, dies_with=mount.dies_with_pod)
        space = self.problems.guarded(self.found.path, lambda: os.statvfs(self.found.path))
        if space is not None:
            room = room_of(space, ScanResult())
            shown.update(read_only=bool(space.f_flag & os.ST_RDONLY), size_bytes=space.f_blocks * space.f_frsize)
            shown.update(free_bytes=room.bytes, free_inodes=room.inodes)
        return shown

    def _show_content(self, specs) -> dict:
        store = self.store
        foreign = self.problems.guarded(self.found.path, lambda: foreign_names(store, specs), [])
        shown = {"unclaimed": [printable(name) for name in foreign]}
        if store.state_fd is not None:
            lease = self.problems.guarded(store.state_path, Lease(store).look)
            if lease is not None:
                shown["lease"] = {"held": lease.state in (HELD, OURS), "here": lease.state == OURS, "detail": lease.detail}
        if self._broken is not None:
            return dict(shown, state=self._broken.get("store_state"))
        seen = StoreSeen(store.path, self._books, foreign=tuple(foreign))
        return dict(shown, state=store_state(seen, [self._see_for_state(spec) for spec in specs]))

    def _see_for_state(self, spec) -> PathSeen:
        ignored = Problems()  # PathReport reports them
        return PathSeen(
            spec,
            original=ignored.guarded(spec.path, lambda: _look_at(spec), Node()),
            stored=ignored.guarded(spec.path, lambda: self.store.look(spec.relative), Node()),
            entry=self.record.get(spec.key),
        )


def _look_at(spec) -> Node:
    with ParentDir(spec.path) as image:
        return image.look()
