# SPDX-License-Identifier: Apache-2.0
"""Point the state paths at the store, or take them off it: look, plan, and, unless it is a rehearsal, execute."""

import contextlib
import os
from typing import NamedTuple

from . import syscalls
from .beside import aside_name, bound_name, copy_name, free_aside, removal_name
from .link_plan import LinkSeen, plan_link, plan_unlink
from .link_steps import LinkRun, execute
from .lock import locked
from .mounts import mount_holding, mounts_at_or_below, read_mounts
from .outcome import Outcome, refuse_dangling
from .places import ImageParent, label
from .record import read_record
from .spec import parse_paths
from .store import MANIFESTS, Store, find_store, wake, working_on


class Settings(NamedTuple):
    """The module's options, as persist_link documents them."""

    store: str
    paths: list
    require_mount: bool = True
    method: str = "symlink"
    state: str = "linked"
    lock_timeout: float = 300


def link(settings, rehearse=False, mounts=None, release=None):
    """Bring each state path to the state where it is (or is not) a way into the store.

    Args:
        settings (Settings): what the user wants.
        rehearse (bool): plan only, change nothing (check mode).
        mounts (list of Mount): the mount table; None reads the kernel's.
        release (str): the kernel's release; None asks the kernel.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which a new start goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths, settings.method)
    with working_on(store_path):
        return _link(settings, store_path, specs, rehearse, mounts, release)


def _link(settings, store_path, specs, rehearse, mounts, release):
    wake(store_path)
    found = find_store(store_path, settings.require_mount, read_mounts() if mounts is None else mounts)
    if found.absent:
        refuse_dangling(found, specs)
        return Outcome(False, "absent", [], [], [], "no persistence: {}; nothing was linked".format(found.absent))
    decide = plan_link if settings.state == "linked" else plan_unlink
    with Store(store_path) as store:
        state, seen = observe(store, specs, read_mounts() if mounts is None else mounts)
        if rehearse:
            seen = [_as_if_seeded(store, path) for path in seen]
        plan = decide(store_path, seen)
        if plan.steps and not rehearse:
            with _one_at_a_time(store, settings.lock_timeout):
                state, seen = observe(store, specs, read_mounts() if mounts is None else mounts)
                plan = decide(store_path, seen)
                run = LinkRun(store, release or os.uname().release)
                execute(plan.steps, run)
            plan = plan._replace(paths=[_with_fate(result, run) for result in plan.paths], warnings=plan.warnings + run.warnings)
        return Outcome(bool(plan.steps), state, [step.describe() for step in plan.steps], plan.paths, plan.warnings)


def observe(store, specs, mounts):
    """Look at each state path.

    Args:
        store (Store): open.
        specs (list of StatePath): the state paths.
        mounts (list of Mount): the mount table.

    Returns:
        tuple: (str, list of LinkSeen), the store's state and what is at the paths.
    """
    record = None if store.state_fd is None else read_record(store.state_fd, store.state_path)
    seen = [_see_path(store, spec, (record or {}).get(spec.key), mounts) for spec in specs]
    if record is None:
        return ("partial" if any(path.stored.real for path in seen) else "empty"), seen
    return ("partial" if any(path.stored.real and path.spec.key not in record for path in seen) else "seeded"), seen


def _see_path(store, spec, entry, mounts):
    with ImageParent(spec.path) as image:
        stored, current = store.look(spec.relative), image.look()
        below = mounts_at_or_below(spec.path, mounts) if current.real else []
        bound = bool(below) and current.real and (current.device, current.inode) == (stored.device, stored.inode)
        if image.fd is None:
            return LinkSeen(spec, current, stored, free_aside=spec.path + "-initial")
        holding = mount_holding(image.directory, mounts)
        aside = aside_name(image.name)
        manifest = entry["manifest"] if entry else None
        return LinkSeen(
            spec=spec,
            current=current,
            stored=stored,
            manifest=_manifest_path(store, manifest) if manifest else "",
            aside=_beside(image, aside) if image.look(aside).kind != "none" else "",
            free_aside=_beside(image, free_aside(image)),
            removing=image.look(removal_name(image.name)).kind != "none",
            litter=image.look(copy_name(image.name)).kind != "none",
            bound=bound,
            was_bound=image.look(bound_name(image.name)).kind != "none",
            mounts=() if bound else tuple(below),
            overlay=holding is not None and holding.is_overlay,
            may_mount=spec.method != "bind" or syscalls.may_mount(),
            writable=os.access(image.directory, os.W_OK | os.X_OK),
        )


def _beside(image, name):
    return os.path.join(image.directory, os.fsdecode(name))


def _manifest_path(store, name):
    return os.path.join(store.state_path, os.fsdecode(MANIFESTS), name)


def _as_if_seeded(store, path):
    # In a rehearsal of a whole start nothing was copied; what would have been is what stands at the path.
    if path.stored.real or not path.current.real:
        return path
    return path._replace(stored=path.current, manifest=_manifest_path(store, label(path.spec.path)))


@contextlib.contextmanager
def _one_at_a_time(store, timeout):
    if store.state_fd is None:  # content of an earlier tool, not adopted yet: there is nothing to lock on
        yield
    else:
        with locked(store.state_fd, store.state_path, timeout, sign=False):
            yield


def _with_fate(result, run):
    fate, where = run.fates.get(result["path"], (None, None))
    return dict(result, original=fate, aside=where) if fate else result
