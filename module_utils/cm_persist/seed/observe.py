# SPDX-License-Identifier: Apache-2.0
"""Find out how a store and the state paths are before they are seeded. Changes nothing."""

import contextlib
import errno
import os
from typing import List, NamedTuple, Optional, Tuple

from ..errors import CopyError, PathError, StoreError
from ..fs.accounts import FILES as ACCOUNT_FILES
from ..fs.accounts import Accounts, read_numbers
from ..fs.dirfd import OPEN_DIRECTORY, Opened, is_fixed, list_names, open_regular
from ..fs.node import DIRECTORY, Node, ParentDir
from ..host.applications import Hazards, find_hazards
from ..host.mounts import mounts_at_or_below
from ..host.postgresql import Database, find_databases, lost_databases
from ..host.processes import Process, find_process_using
from ..original.links import find_unfinished, leads_into
from ..original.links_out import LinkOut, find_links_out
from ..original.notes import PathNotes, read_notes
from ..paths import StatePath, inside, relative_of
from ..store.layout import STAGING
from ..store.numbers import numbers_in_use
from ..store.owners import plan_passes
from ..store.state import StoreSeen, Volume, foreign_names, read_books
from ..store.store import Found
from ..tree.scan import ScanResult, room_of, scan, unreadable
from ..upgrade.observe import ImageChange, comes_from_image, find_change, image_context


class Obstacles(NamedTuple):
    """What forbids the copy of an original: mounts at the path or below it; that it is itself immutable or append-only; that its
    place in the store lies on another mount than the store; a process that has something of it open."""

    mounts: Tuple[str, ...] = ()
    fixed: bool = False
    other_mount: bool = False
    used_by: Optional[Process] = None


class PathSeen(NamedTuple):
    """A state path as it was found.

    entry: its part of the record. notes: what is next to it.
    scan: what would be copied or adopted; lacking: names at the top of the original that the store's copy does not have.
    links_out: relative links in it that lead somewhere now, and would not once the path is a link.
    has_parent: the directory that holds the path exists. change: what another image means for it. lost_databases: directories,
    relative to the path, of databases that lost what makes them one.
    """

    spec: StatePath
    original: Node
    stored: Node
    entry: Optional[dict] = None
    notes: PathNotes = PathNotes()
    scan: ScanResult = ScanResult()
    lacking: Tuple[str, ...] = ()
    links_out: Tuple[LinkOut, ...] = ()
    has_parent: bool = False
    obstacles: Obstacles = Obstacles()
    hazards: Hazards = Hazards()
    change: Optional[ImageChange] = None
    lost_databases: Tuple[str, ...] = ()


class Seen(NamedTuple):
    """Everything that a plan is made of: the store, the state paths in the user's order, and the image (ImageContext)."""

    store: StoreSeen
    paths: List[PathSeen]
    image: tuple


class Observer:
    """Observes one open store and its state paths as often as it is asked to. found says how the store was found; stopping are
    services whose use of a path does not count, as they are about to be stopped."""

    def __init__(self, found: Found, specs: List[StatePath], settings, machine):
        self._store, self._found, self._specs, self._settings, self._machine = found.store, found, specs, settings, machine
        self.stopping = ()
        # What an earlier observation counted in the originals. Nothing writes to them, and a copy notices if something does.
        self._scans = {}

    def observe(self) -> Seen:
        """The store and the state paths as they are now."""
        machine = self._machine._replace(table=self._machine.mounts())
        books = read_books(self._store).completed()
        image = image_context(self._settings, self._specs, books.owners and books.owners.accounts, machine)
        paths = [self._path(spec, books, image) for spec in self._specs]
        _refuse_shared_places(self._store, paths)
        image = image._replace(followed=self._followed(paths, image))
        seen = self._seen_store(books, paths, machine)
        return Seen(seen._replace(in_use=self._numbers_in_use(books, image)), paths, image)

    def _seen_store(self, books, paths, machine):
        store, mount, record = self._store, self._found.mount, books.record or {}
        image_list = self._settings.image_manifest
        dropped = sorted(set(record) - {spec.key for spec in self._specs})
        return StoreSeen(
            path=store.path,
            books=books,
            volume=Volume(
                read_only=store.read_only,
                dies_with=mount.dies_with_pod if mount else "",
                locks_locally=bool(mount and mount.locks_locally),
                mode=os.fstat(store.fd).st_mode & 0o7777,
                labels=machine.selinux.observe(store.path, mount),
            ),
            room=room_of(os.fstatvfs(store.fd), _scan_leftovers(store, books.leftovers)),
            foreign=() if books.record is not None else tuple(foreign_names(store, self._specs)),
            dropped=tuple((key, leads_into(store, key), find_unfinished(store, key, image_list)) for key in dropped),
            databases=_databases_of(store, dropped) if any(path.hazards.databases for path in paths) else (),
            uid=os.geteuid(),
        )

    def _numbers_in_use(self, books, image):
        # Nothing is walked at a start where everybody keeps his number.
        if books.owners is None or os.geteuid() or self._store.read_only or not plan_passes(books.owners, image.followed).any:
            return None
        return numbers_in_use(self._store, books.record or {}, [spec.key for spec in self._specs])

    def _followed(self, paths, image):
        # After the links have been made, names come from the store where it has the file that says them.
        names = list(image.accounts)
        for index, name in enumerate(ACCOUNT_FILES):
            file = os.path.join(self._machine.root, name)
            for path in paths:
                if inside(file, path.spec.path) and self._is_of_the_store(path, image, file):
                    names[index] = _stored_numbers(self._store, os.fsencode(file[1:]))
        return Accounts(*names)

    def _is_of_the_store(self, path, image, file):
        if not path.stored.real or (path.entry is None and path.stored.empty and path.original.real):
            return False  # it is about to be seeded
        with ParentDir(path.spec.path) as parent:
            relative = os.fsencode(os.path.relpath(file, path.spec.path))
            return not comes_from_image(self._store, path, parent, image, relative)

    def _path(self, spec, books, image):
        entry = (books.record or {}).get(spec.key)
        stored = self._store.look(spec.relative, inside=True)
        with ParentDir(spec.path) as parent:
            original = parent.look() if entry is not None else parent.look_inside()
            seen = PathSeen(spec, original, stored, entry, has_parent=parent.fd is not None)
            if entry is not None:
                return self._recorded(seen, parent, image)
            if spec.key in books.published:  # it is recorded before anything else
                return seen
            seen = seen._replace(notes=read_notes(parent, image.list))
            if stored.real and not (stored.empty and original.real):
                return self._adoptable(seen, parent, image)
            return self._copyable(seen, parent, image) if original.real else seen

    def _recorded(self, seen, parent, image):
        return seen._replace(
            hazards=find_hazards(self._store.fd, seen.spec.relative),
            notes=PathNotes() if seen.stored.real else read_notes(parent, image.list),
            change=find_change(self._store, seen, parent, image),
            lost_databases=lost_databases(self._store.fd, seen.spec.relative, seen.entry["databases"]),
        )

    def _adoptable(self, seen, parent, image):
        with self._store.parent_of(seen.spec.relative) as (fd, name):
            counts = scan(fd, name, self._store.place(seen.spec.path), 0)
            lacking = _lacking(seen, parent, fd, name)
        links_out = self._links_out(seen.spec, counts) if seen.original.real else ()
        change = find_change(self._store, seen, parent, image)
        return seen._replace(scan=counts, lacking=lacking, links_out=links_out, change=change)

    def _copyable(self, seen, parent, image):
        spec = seen.spec
        top = spec.path, seen.original.inode, seen.original.mtime
        if top not in self._scans:
            self._scans[top] = scan(parent.fd, parent.name, spec.path, os.geteuid())
        return seen._replace(
            scan=self._scans[top],
            links_out=self._links_out(spec, self._scans[top]),
            obstacles=Obstacles(
                mounts=tuple(mounts_at_or_below(spec.path, image.mounts)),
                fixed=_is_fixed(parent),
                other_mount=self._store.other_mount(spec.relative),
                used_by=find_process_using(spec.path, stopping=self.stopping),
            ),
            hazards=find_hazards(parent.fd, parent.name, spec.path, [each.path for each in self._specs]),
        )

    def _links_out(self, spec, counts):
        return tuple(find_links_out(spec, self._specs, self._store.path, counts.leading_out))


def _stored_numbers(store, relative):
    """What a file of users or groups in the store says: nothing if it is not there, or something else than a file."""
    try:
        with store.parent_of(relative) as (fd, name):
            opened = open_regular(name, fd)
        with open(opened, "rb") as file:
            return read_numbers(file)
    except StoreError:
        return {}  # something on the way is no directory
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EINVAL):
            raise
        return {}


def _databases_of(store, keys) -> Tuple[Database, ...]:
    relatives = [relative_of(key) for key in keys]
    found = [find_databases(store.fd, relative, store.place("/" + os.fsdecode(relative))) for relative in relatives]
    return tuple(database for databases in found for database in databases)


def _is_fixed(parent):
    try:
        return is_fixed(parent.name, parent.fd)
    except OSError as error:
        raise unreadable(parent.path, error) from error


def _lacking(seen, parent, stored_fd, stored_name):
    if not seen.original.kind == seen.stored.kind == DIRECTORY:
        return ()
    names = []
    for dir_fd, name in ((parent.fd, parent.name), (stored_fd, stored_name)):
        with Opened(os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)) as fd:
            names.append(set(list_names(fd)))
    return tuple(os.fsdecode(name) for name in sorted(names[0] - names[1]))


def _refuse_shared_places(store, paths):
    # Different spellings of one place, as /run/x and /var/run/x: only the file system knows.
    seen = {os.path.realpath(store.path): "the store " + store.path}
    for path in paths:
        real = os.path.join(os.path.realpath(os.path.dirname(path.spec.path)), os.path.basename(path.spec.path))
        for other_real, other in seen.items():
            if inside(real, other_real) or inside(other_real, real):
                found = "it leads to the same place as {}, or inside it".format(other)
                raise PathError(path.spec.path, found, "Name each place once.")
        seen[real] = path.spec.path


def _scan_leftovers(store, names) -> ScanResult:
    """The space and inodes that removing leftovers gives back."""
    counts = []
    try:
        with Opened(os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)) if names else contextlib.ExitStack() as staging:
            for name in names:
                with contextlib.suppress(CopyError):  # it cannot be read, and nobody can count on what it gives back
                    counts.append(scan(staging, os.fsencode(name), os.path.join(store.state_path, name), 0))
    except FileNotFoundError:
        pass  # another run removed it just now; what counts is observed again under the lock
    return ScanResult(space=sum(count.space for count in counts), inodes=sum(count.inodes for count in counts))
