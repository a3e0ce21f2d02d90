# SPDX-License-Identifier: Apache-2.0
"""Point the state paths at the store, or take them off it: look, plan, and, unless it is a rehearsal, execute."""

import contextlib
from typing import NamedTuple

from ..errors import PersistError
from ..host.machine import THIS_MACHINE
from ..lease.lease import FREE, HELD, Lease, LeaseSeen
from ..lease.plan import give_up, has_unit, plan_giving_up
from ..lease.unit import NAME as LEASE_UNIT
from ..original.links import leads_into, refuse_dangling
from ..original.pristine import IMAGE_MANIFEST
from ..paths import parse_paths
from ..plan import Outcome
from ..store.lock import locked
from ..store.record import read_record
from ..store.store import Store, find_store, trigger_automount, working_on
from .observe import Look, observe
from .plan import plan_link
from .restore import ASIDE, NEWEST, STORE, plan_restore
from .steps import LinkRun, execute

TORN = "{}: another manager uses this store, {}; a database that it writes to may not start from what is copied now."
LEFT = (
    "{0}: {1} stays, as other paths may lead there; if none does: systemctl disable --now {1} && rm -f /etc/systemd/system/{1} "
    "/etc/systemd/system/*.d/cm_persist.conf && systemctl daemon-reload"
)
RESTORED = {STORE: "off the store, with what it has", ASIDE: "off the store, with the originals", NEWEST: "off the store"}


class Settings(NamedTuple):
    """The module's options, as persist_link documents them."""

    store: str
    paths: list
    require_mount: bool = True
    method: str = "symlink"
    state: str = "linked"
    restore: str = STORE
    image_manifest: str = IMAGE_MANIFEST
    lock_timeout: float = 300
    services: tuple = ()


def link(settings, check_mode=False, machine=THIS_MACHINE):
    """Bring each state path to the state where it is (or is not) a way into the store.

    Args:
        settings (Settings): what the user wants.
        check_mode (bool): plan only, change nothing (check mode).
        machine (Machine): what it runs on.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which a new start goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths, settings.method)
    with working_on(store_path):
        return _link(settings, store_path, specs, check_mode, machine)


def _link(settings, store_path, specs, check_mode, machine):
    trigger_automount(store_path)
    linking = settings.state == "linked"
    found = find_store(store_path, settings.require_mount, machine.mounts())
    # The original that is kept beside the path can be put back though the volume is lost.
    without_store = found.absent and not linking and settings.restore == ASIDE
    if found.absent and not without_store:
        refuse_dangling(found, specs)
        done = "nothing was linked" if linking else "nothing leads into it"
        return Outcome(False, "absent", [], [], [], "no persistence: {}; {}".format(found.absent, done))

    def look_and_plan(store, closely):
        look = Look(
            mounts=machine.mounts(),
            systemd=machine.systemd,
            image_manifest=settings.image_manifest,
            store_mount=found.mount,
            restore="" if linking else settings.restore,
            closely=closely,
            unseeded=check_mode and linking,
            stopping=tuple(settings.services) if check_mode else (),
        )
        state, seen = observe(store, specs, look)
        return state, plan_link(store_path, seen) if linking else plan_restore(store_path, seen, settings.restore)

    with contextlib.ExitStack() as stack:
        store = None if without_store else stack.enter_context(Store(store_path))
        state, plan = look_and_plan(store, closely=check_mode)
        lease = Lease(store).look() if store and store.state_fd is not None and not linking else LeaseSeen(FREE)
        torn = lease.state == HELD and settings.restore != ASIDE and plan.steps
        installed = not linking and has_unit(machine.systemd, store_path)
        drop_ins = [] if linking else machine.systemd.drop_ins(store_path)
        steps = [] if linking else plan_giving_up(store_path, lease, installed, drop_ins, _hanging(store, specs))
        if plan.steps and not check_mode:
            with _one_at_a_time(store, settings.lock_timeout):
                state, plan = look_and_plan(store, closely=True)
                run = LinkRun(store, machine.release, machine.systemd)
                try:
                    execute(plan.steps, run)
                except PersistError as error:
                    # The next run may find nothing any more of what these tell.
                    error.warnings = (plan.warnings if linking else []) + run.warnings
                    raise
            plan = plan._replace(paths=[_with_fate(result, run) for result in plan.paths], warnings=plan.warnings + run.warnings)
        if store is None and (installed or drop_ins):
            plan.warnings.append(LEFT.format(store_path, LEASE_UNIT))
        if torn:
            plan.warnings.append(TORN.format(store_path, lease.detail))
        if not check_mode:
            give_up(store, steps, machine.systemd)
        steps = [step.describe() for step in plan.steps + steps]
        message = "" if linking else RESTORED[settings.restore] if plan.steps else "nothing led into the store"
        return Outcome(bool(steps), state, steps, plan.paths, plan.warnings, message)


@contextlib.contextmanager
def _one_at_a_time(store, timeout):
    if store is None or store.state_fd is None:  # content of an earlier tool, not adopted yet: there is nothing to lock on
        yield
    else:
        with locked(store.state_fd, store.state_path, timeout, sign=False):
            yield


def _hanging(store, specs):
    # Whether something will lead into the store still when these paths are off it. Without the store nobody knows.
    if store is None:
        return True
    if store.state_fd is None:
        return False
    named = {spec.key for spec in specs}
    return any(leads_into(store, key) for key in read_record(store.state_fd, store.state_path) or () if key not in named)


def _with_fate(result, run):
    fate, where = run.fates.get(result["path"], (None, None))
    return dict(result, original=fate, aside=where) if fate else result
