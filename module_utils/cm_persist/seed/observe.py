# SPDX-License-Identifier: Apache-2.0
"""Look at a store and at the state paths before they are seeded. Nothing is changed."""

import os
from typing import NamedTuple

from ..errors import CopyError, PathError
from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, list_names
from ..fs.node import ParentDir
from ..host.applications import find_hazards
from ..host.mounts import mounts_at_or_below
from ..host.postgresql import find_databases
from ..host.processes import find_process_using
from ..original.links import leads_into
from ..original.notes import aside_name, bound_name, removal_name
from ..paths import inside
from ..store.layout import STAGING, unseeded_name
from ..store.owners import read_owners
from ..store.record import read_record
from ..store.staging import read_staging
from ..store.state import StoreSeen, foreign_names, tree_of
from ..store.store import Store
from ..store.swap import BEFORE, find_swaps
from ..tree.scan import ScanResult, scan, unreadable
from ..upgrade.observe import ImageContext, look_for_change
from .plan import PathSeen


def observe(store, found, specs, mounts, counted, selinux, look_at_image, stopping=()):
    """Look at the store and at each state path.

    Args:
        store (Store): open.
        found (Found): how it was found.
        specs (list of StatePath): the state paths.
        mounts (list of Mount): the mount table.
        counted (dict): what an earlier look of this run counted in the originals, kept up: nothing writes to them, and the
            copy itself sees it should something do so.
        selinux (Selinux): this machine's.
        look_at_image (callable): takes what the owners in the store are called (Accounts), None where nobody wrote it down, and
            the mount table; gives the ImageContext.
        stopping (iterable of str): services whose use of a path is none, as they are about to be stopped.

    Returns:
        tuple: (StoreSeen, list of PathSeen, ImageContext).
    """
    record = leftovers = owners = None
    unfinished = {}
    if store.state_fd is not None:
        record = read_record(store.state_fd, store.state_path)
        leftovers, unfinished = read_staging(store)
        owners = read_owners(store.state_fd, store.state_path)
    swaps = find_swaps(store, leftovers or ())
    for swap in swaps:
        if swap.state != BEFORE:  # what the path is, once that is completed
            record = dict(record or {}, **{swap.note.path: swap.note.entry})
    context = look_at_image(owners and owners.accounts, mounts)
    taken_out = [spec.key for spec in specs if _was_taken_out(store, spec, record or {}, leftovers or ())]
    for key in taken_out:
        del record[key]
    tops = [spec.path for spec in specs]
    look = _Look(store, record or {}, unfinished, mounts, counted, stopping, tops, context)
    paths = [_see_path(look, spec) for spec in specs]
    _refuse_shared_places(store, paths)
    space = os.fstatvfs(store.fd)
    status = os.fstat(store.fd)
    given_back = _count_leftovers(store, leftovers) if leftovers else ScanResult()
    seen = StoreSeen(
        path=store.path,
        record=record,
        taken_out=bool(taken_out),
        leftovers=tuple(leftovers or ()),
        staging=leftovers is not None,
        begun=store.state_fd is not None,
        foreign=() if record is not None else tuple(foreign_names(store.fd, tree_of(specs))),
        free_bytes=space.f_bavail * space.f_frsize + given_back.space,
        # btrfs counts none, and CephFS says -1 for any number.
        free_inodes=space.f_favail + given_back.inodes if space.f_files and space.f_favail >= 0 else None,
        read_only=bool(space.f_flag & os.ST_RDONLY),
        locks_locally=bool(found.mount and found.mount.locks_locally),
        dropped=tuple((key, leads_into(store, key)) for key in sorted(set(record or ()) - {spec.key for spec in specs})),
        dies_with=found.mount.dies_with_pod if found.mount else "",
        mode=status.st_mode & 0o7777,
        uid=os.geteuid(),
        labels=selinux.observe(store.path, found.mount),
        databases=_dropped_databases(store, record or {}, specs) if any(path.hazards.databases for path in paths) else (),
        owners=owners,
        swaps=tuple(swaps),
    )
    return seen, paths, context


def _was_taken_out(store, spec, record, leftovers):
    # By a run that was killed before the record forgot it (unseed.py).
    return spec.key in record and unseeded_name(spec.path) in leftovers and store.look(spec.relative).kind == "none"


class _Look(NamedTuple):
    """What is the same for all paths; fields as the arguments of observe(), and tops are all state paths."""

    store: Store
    record: dict
    unfinished: dict
    mounts: list
    counted: dict
    stopping: tuple
    tops: list
    context: ImageContext


def _see_path(look, spec):
    store, unfinished, counted, context = look.store, look.unfinished, look.counted, look.context
    entry = look.record.get(spec.key)
    stored = store.look(spec.relative, inside=True)
    with ParentDir(spec.path) as image:
        original = image.look() if entry is not None else image.look_inside()
        seen = PathSeen(spec, original, stored, entry)
        if entry is not None:
            hazards = find_hazards(store.fd, spec.relative)
            change = look_for_change(store, spec, image, original, stored, entry, context)
            return seen._replace(hazards=hazards, aside="" if stored.real else _aside(image), change=change)
        begun = unfinished.get((spec.key, (stored.inode, stored.mtime)))
        if begun is not None and stored.real:
            return seen._replace(unfinished=begun)
        notes = [image.look(name(image.name)).kind != "none" for name in (removal_name, bound_name)]
        parent = image.look(b".") if image.fd is not None else None
        seen = seen._replace(aside=_aside(image), torn=notes[0], was_mounted=notes[1], parent=parent)
        if stored.real and not (stored.empty and original.real):
            return seen._replace(
                scan=_scan_stored(store, spec),
                lacking=_lacking(store, spec, image, original, stored),
                change=look_for_change(store, spec, image, original, stored, None, context),
            )
        if original.real:
            top = spec.path, original.inode, original.mtime
            if top not in counted:
                counted[top] = scan(image.fd, image.name, spec.path, os.geteuid())
            return seen._replace(
                scan=counted[top],
                mounts=tuple(mounts_at_or_below(spec.path, look.mounts)),
                fixed=_is_fixed(image),
                other_mount=store.other_mount(spec.relative),
                user=find_process_using(spec.path, stopping=look.stopping),
                hazards=find_hazards(image.fd, image.name, spec.path, look.tops),
            )
        return seen


def _dropped_databases(store, record, specs):
    dropped = sorted(set(record) - {spec.key for spec in specs})
    names = [key.encode("utf-8", "surrogateescape") for key in dropped]
    return tuple(each for name in names for each in find_databases(store.fd, name[1:], store.place(os.fsdecode(name))))


def _is_fixed(image):
    # A file as well as a directory; neither is opened for more than to ask.
    try:
        fd = os.open(image.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=image.fd)
    except OSError as error:
        raise unreadable(image.path, error) from error
    try:
        return bool(syscalls.get_flags(fd) & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND))
    finally:
        os.close(fd)


def _scan_stored(store, spec):
    parent = store.open_parent(spec.relative)
    try:
        return scan(parent, os.path.basename(spec.relative), store.place(spec.path), 0)
    finally:
        os.close(parent)


def _lacking(store, spec, image, original, stored):
    if not original.kind == stored.kind == "directory":
        return ()
    names = []
    parent = store.open_parent(spec.relative)
    for directory, name in ((image.fd, image.name), (parent, os.path.basename(spec.relative))):
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
        names.append(set(list_names(fd)))
        os.close(fd)
    os.close(parent)
    return tuple(os.fsdecode(name) for name in sorted(names[0] - names[1]))


def _aside(image):
    name = aside_name(image.name)
    return os.path.join(image.directory, os.fsdecode(name)) if image.look(name).real else ""


def _refuse_shared_places(store, paths):
    # Different spellings of one place, as /run/x and /var/run/x, only the file system can tell.
    seen = {os.path.realpath(store.path): "the store " + store.path}
    for path in paths:
        real = os.path.join(os.path.realpath(os.path.dirname(path.spec.path)), os.path.basename(path.spec.path))
        for other_real, other in seen.items():
            if inside(real, other_real) or inside(other_real, real):
                raise PathError(
                    path.spec.path, "it leads to the same place as {}, or inside it".format(other), "Name each place once."
                )
        seen[real] = path.spec.path


def _count_leftovers(store, names):
    try:
        staging = os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)
    except FileNotFoundError:
        return ScanResult()  # another starter removed it just now; what counts is seen again under the lock
    try:
        counts = [_count_leftover(store, staging, name) for name in names]
    finally:
        os.close(staging)
    return ScanResult(space=sum(count.space for count in counts), inodes=sum(count.inodes for count in counts))


def _count_leftover(store, staging, name):
    try:
        return scan(staging, os.fsencode(name), os.path.join(store.state_path, name), 0)
    except CopyError:
        return ScanResult()  # as above; or it cannot be read, then it gives nothing back that could be counted on
