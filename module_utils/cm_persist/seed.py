# SPDX-License-Identifier: Apache-2.0
"""Seed a store: look, plan, and, unless it is a rehearsal, lock, look again, plan again and execute."""

import errno
import os
import time
from typing import NamedTuple

from . import syscalls
from .beside import aside_name, bound_name, removal_name
from .directories import DIRECTORY as OPEN_DIRECTORY
from .directories import list_names
from .errors import CopyError, PathError, PersistError, StoreError
from .lease import HELD, Lease
from .lease import Wanted as WantedLease
from .lease_steps import holding, leads_into, look_and_plan
from .lock import held, locked
from .mounts import mounts_at_or_below, read_mounts
from .outcome import Outcome, refuse_dangling
from .places import ImageParent
from .record import read_record
from .seed_plan import PathSeen, StoreSeen, Wanted, plan_seed, store_state
from .seed_steps import Run, execute
from .spec import inside, parse_paths
from .staging import read_unfinished
from .store import IGNORED, IGNORED_PREFIXES, STAGING, STATE, Store, find_store, wake, working_on
from .survey import Survey, survey, unreadable
from .units import Systemd


class Settings(NamedTuple):
    """The module's options, as persist_seed documents them."""

    store: str
    paths: list
    require_mount: bool = True
    required: bool = False
    missing: str = "fail"
    allow_foreign: bool = False
    lock_timeout: float = 300
    lease: bool = True
    lease_timeout: float = 60
    lease_holder: str = ""


def seed(settings, rehearse=False, mounts=None, clock=time, release=None, systemd=None):
    """Bring the store to the state where it holds each state path.

    Args:
        settings (Settings): what the user wants.
        rehearse (bool): plan only, change nothing (check mode).
        mounts (list of Mount): the mount table; None reads the kernel's.
        clock (module): as time.
        release (str): the kernel's release; None asks the kernel.
        systemd (Systemd): keeps a machine's lease; None is this machine's.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which a new start goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    with working_on(store_path):
        return _seed(settings, store_path, specs, rehearse, mounts, clock, release, systemd or Systemd())


def _seed(settings, store_path, specs, rehearse, mounts, clock, release, systemd):
    wake(store_path)
    found = find_store(store_path, settings.require_mount, read_mounts() if mounts is None else mounts)
    if found.absent:
        return _without_store(found, specs, settings.required)
    wanted = Wanted(settings.missing, settings.allow_foreign)
    counted = {}
    with Store(store_path) as store:

        def plan_now():
            seen, paths = observe(store, found, specs, read_mounts() if mounts is None else mounts, counted)
            return seen, plan_seed(seen, paths, wanted), store_state(seen, paths)

        wanted_lease = WantedLease(settings.lease_timeout, settings.lease_holder) if settings.lease else None
        lease = look_and_plan(store, wanted_lease, bool(found.mount and found.mount.is_network), systemd)
        try:
            _seen, plan, state = plan_now()
        except PersistError:
            # Another starter may have been at work where this one looked. Is it still, only what is seen under the lock
            # counts; else a second look.
            if store.state_fd is None:
                raise
            if rehearse or not (held(store.state_fd) or lease.seen.state == HELD):
                _seen, plan, state = plan_now()
            else:
                plan = state = None
        if rehearse:
            return _outcome(state, plan, lease, _told_of_holder(store, lease))
        if plan is not None and not plan.steps and store.state_fd is None:
            return _outcome(state, plan, lease._replace(steps=[]), [])  # there is nothing in it, and will be nothing
        store.make_state()
        warnings = []
        with holding(store, lease, systemd, warnings, clock) as had_to_wait:
            if had_to_wait and plan is not None:
                _seen, plan, state = plan_now()
            if plan is None or plan.steps:
                with locked(store.state_fd, store.state_path, settings.lock_timeout):
                    seen, plan, state_now = plan_now()
                    fs_type = found.mount.fs_type if found.mount else ""
                    run = Run(store, seen.record, clock, release or os.uname().release, fs_type)
                    execute(plan.steps, run)
                    results = [dict(result, seconds=round(run.seconds.get(result["path"], 0), 3)) for result in plan.paths]
                    plan, state = plan._replace(paths=results), state or state_now
                    warnings.extend(run.warnings)
        return _outcome(state, plan, lease, warnings)


def _told_of_holder(store, lease):
    if lease.seen.state != HELD:
        return []
    said = "{}: another manager uses this store, {}; a start would wait for it for {:g} seconds"
    return [said.format(Lease(store).path, lease.seen.detail, lease.wanted.timeout)]


def observe(store, found, specs, mounts, counted):
    """Look at the store and at each state path.

    Args:
        store (Store): open.
        found (Found): how it was found.
        specs (list of StatePath): the state paths.
        mounts (list of Mount): the mount table.
        counted (dict): what an earlier look of this run counted in the originals, kept up: nothing writes to them, and the
            copy itself sees it should something do so.

    Returns:
        tuple: (StoreSeen, list of PathSeen).
    """
    record = leftovers = None
    unfinished = {}
    if store.state_fd is not None:
        record = read_record(store.state_fd, store.state_path)
        leftovers, unfinished = _read_staging(store)
    paths = [_see_path(store, spec, record or {}, unfinished, mounts, counted) for spec in specs]
    _refuse_shared_places(store, paths)
    space = os.fstatvfs(store.fd)
    status = os.fstat(store.fd)
    given_back = _count_leftovers(store, leftovers) if leftovers else Survey()
    seen = StoreSeen(
        path=store.path,
        record=record,
        leftovers=tuple(leftovers or ()),
        staging=leftovers is not None,
        begun=store.state_fd is not None,
        foreign=() if record is not None else tuple(_foreign(store.fd, _tree_of(specs))),
        free_bytes=space.f_bavail * space.f_frsize + given_back.space,
        # btrfs counts none, and CephFS says -1 for any number.
        free_inodes=space.f_favail + given_back.inodes if space.f_files and space.f_favail >= 0 else None,
        read_only=bool(space.f_flag & os.ST_RDONLY),
        locks_locally=bool(found.mount and found.mount.locks_locally),
        dropped=tuple((key, leads_into(store, key)) for key in sorted(set(record or ()) - {spec.key for spec in specs})),
        dies_with=found.mount.dies_with_pod if found.mount else "",
        mode=status.st_mode & 0o7777,
        uid=os.geteuid(),
    )
    return seen, paths


def _see_path(store, spec, record, unfinished, mounts, counted):
    entry = record.get(spec.key)
    stored = store.look(spec.relative, inside=True)
    with ImageParent(spec.path) as image:
        original = image.look() if entry is not None else image.look_inside()
        seen = PathSeen(spec, original, stored, entry)
        if entry is not None:
            return seen if stored.real else seen._replace(aside=_aside(image))
        begun = unfinished.get((spec.key, (stored.inode, stored.mtime)))
        if begun is not None and stored.real:
            return seen._replace(unfinished=begun)
        notes = [image.look(name(image.name)).kind != "none" for name in (removal_name, bound_name)]
        seen = seen._replace(aside=_aside(image), torn=notes[0], was_mounted=notes[1])
        if stored.real and not (stored.empty and original.real):
            return seen._replace(survey=_survey_stored(store, spec), lacking=_lacking(store, spec, image, original, stored))
        if original.real:
            top = spec.path, original.inode, original.mtime
            if top not in counted:
                counted[top] = survey(image.fd, image.name, spec.path, os.geteuid())
            return seen._replace(
                survey=counted[top],
                mounts=tuple(mounts_at_or_below(spec.path, mounts)),
                fixed=_is_fixed(image),
                other_mount=store.other_mount(spec.relative),
            )
        return seen


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


def _survey_stored(store, spec):
    parent = store.open_parent(spec.relative)
    try:
        return survey(parent, os.path.basename(spec.relative), store.place(spec.path), 0)
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


def _read_staging(store):
    try:
        staging = os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        raise StoreError(
            os.path.join(store.state_path, "staging"),
            "the staging place is not a directory",
            "Remove it, after a look at where it came from.",
        ) from error
    try:
        names = [os.fsdecode(name) for name in list_names(staging)]
        notes = [note for note in (read_unfinished(staging, name) for name in names) if note is not None]
        return names, {(path, inode): unfinished for path, inode, unfinished in notes}
    finally:
        os.close(staging)


def _count_leftovers(store, names):
    try:
        staging = os.open(STAGING, OPEN_DIRECTORY, dir_fd=store.state_fd)
    except FileNotFoundError:
        return Survey()  # another starter removed it just now; what counts is seen again under the lock
    try:
        counts = [_count_leftover(store, staging, name) for name in names]
    finally:
        os.close(staging)
    return Survey(space=sum(count.space for count in counts), inodes=sum(count.inodes for count in counts))


def _count_leftover(store, staging, name):
    try:
        return survey(staging, os.fsencode(name), os.path.join(store.state_path, name), 0)
    except CopyError:
        return Survey()  # as above; or it cannot be read, then it gives nothing back that could be counted on


def _tree_of(specs):
    # {b"var": {b"lib": {}}}: an empty dict is a state path itself, to whatever it holds.
    tree = {}
    for spec in specs:
        branch = tree
        for name in spec.relative.split(b"/"):
            branch = branch.setdefault(name, {})
    return tree


def _foreign(fd, tree, above=""):
    for name in list_names(fd):
        if not above and (name == STATE.encode() or name in IGNORED):
            continue
        if name.startswith(IGNORED_PREFIXES):
            continue
        path = os.path.join(above, os.fsdecode(name))
        branch = tree.get(name)
        if branch is None:
            yield path
        elif branch:
            try:
                below = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                yield path
                continue
            yield from _foreign(below, branch, path)
            os.close(below)


def _without_store(found, specs, required):
    if required:
        raise StoreError(
            found.path, "there is no store: {}".format(found.absent), "Mount the volume there.", store_state="absent"
        )
    refuse_dangling(found, specs)
    message = "no persistence: {}; the state paths stay in the image".format(found.absent)
    return Outcome(False, "absent", [], [], [message], message)


def _outcome(state, plan, lease, warnings):
    paths = [result if "seconds" in result else dict(result, seconds=0.0) for result in plan.paths]
    steps = [step.describe() for step in lease.steps + plan.steps]
    return Outcome(bool(steps), state, steps, paths, plan.warnings + lease.warnings + warnings, "")
