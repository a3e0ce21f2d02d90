# SPDX-License-Identifier: Apache-2.0
"""Hold a store's lease while it is seeded and from then on; give it up when nothing leads into the store any more."""

import contextlib
import os
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..errors import LinkError, StoreError, because, printable, writable_hint
from ..host.systemd import Systemd, Unit
from ..plan import execute
from .lease import BY_NOBODY, BY_PROCESS, BY_UNIT, FREE, HELD, OURS, UNLOCKABLE, Lease, LeaseRequest, LeaseSeen, keeper
from .unit import NAME, is_for, lease_unit

SERVICES = "{}: {} holds the lease at each boot now; give Requires= and After= of it to the services that must not start without."


class LeaseRun:
    """What the steps share: the lease, None without a store, and the machine's systemd."""

    def __init__(self, store_path: str, lease: Optional[Lease], systemd: Systemd):
        self.lease, self.systemd, self._store_path = lease, systemd, store_path

    def failed(self, step, error: OSError) -> StoreError:
        """The error for a step that failed."""
        return StoreError(self._store_path, "cannot {}: {}".format(step.describe(), because(error)), writable_hint(error))

    def abandon(self):
        """Nothing is of no use after a failure."""


class HoldByUnit(NamedTuple):
    """Have systemd hold the lease, now and at each boot."""

    store_path: str
    unit: Unit
    request: LeaseRequest

    def describe(self):
        return "hold the lease of {} by the unit {}".format(printable(self.store_path), self.unit.name)

    def execute(self, run):
        # Systemd waits as long as the user wants.
        try:
            run.systemd.install(self.unit, self.store_path, run.lease.is_ours, "hold the lease")
        except LinkError as error:
            seen = run.lease.look()
            raise (run.lease.refusal(seen.detail, self.request.timeout) if seen.state == HELD else error) from error


class RemoveLeaseUnit(NamedTuple):
    """Remove the unit that holds the lease of a machine."""

    store_path: str

    def describe(self):
        return "give up the lease of {} and remove the unit {}".format(printable(self.store_path), NAME)

    def execute(self, run):
        run.systemd.remove(NAME, self.store_path, stop=True)


class RemoveDropIns(NamedTuple):
    """Remove what keeps services from starting without the store and its lease."""

    store_path: str
    paths: Tuple[str, ...]

    def describe(self):
        return "remove {}".format(", ".join(map(printable, self.paths)))

    def execute(self, run):
        run.systemd.remove_drop_ins(self.store_path)


class EndLease(NamedTuple):
    """End the keepers of a lease."""

    store_path: str

    def describe(self):
        return "give up the lease of {}".format(printable(self.store_path))

    def execute(self, run):
        run.lease.end_keepers()


class LeasePlan(NamedTuple):
    """How to get the lease.

    by: what keeps it, BY_UNIT, BY_PROCESS, BY_NOBODY, '' if none is wanted. request: how long to wait, None if none is wanted.
    seen: how it is. steps: what changes on this machine; leaving a keeper behind is no change. installed: a unit of ours for this
    store exists.
    """

    by: str
    request: Optional[LeaseRequest]
    seen: LeaseSeen
    steps: Tuple[tuple, ...] = ()
    warnings: Tuple[str, ...] = ()
    installed: bool = False

    @property
    def is_held_elsewhere(self) -> bool:
        """True if another manager has the lease that is wanted here."""
        return self.request is not None and self.seen.state == HELD


class LeaseHeld(NamedTuple):
    """A lease that is held: waited, another held it until now, so the store may have changed; the steps taken; warnings."""

    waited: bool = False
    steps: Tuple[tuple, ...] = ()
    warnings: Tuple[str, ...] = ()


def plan_lease(store, request: Optional[LeaseRequest], mount, systemd: Systemd) -> LeasePlan:
    """How to get the lease of an open store. Changes nothing. Raises LinkError if a unit of ours holds that of another store."""
    by, installed = keeper(systemd) if request else "", has_unit(systemd, store.path)
    lease = Lease(store)
    seen = lease.look() if store.state_fd is not None else LeaseSeen(FREE)
    unit = None
    if by == BY_UNIT:
        network = systemd.waits_for_network(mount)
        unit = systemd.observe(lease_unit(store.path, lease.path, request, network), store.path)
        if systemd.text_of(NAME) and not installed:
            found = "the unit {} holds the lease of another store".format(NAME)
            command = "systemctl disable --now {0} && rm /etc/systemd/system/{0}".format(NAME)
            hint = "One machine, one manager: take it off the other store first (restore.yml), or, if that is lost, {}."
            raise LinkError(store.path, found, hint.format(command))
    plan = LeasePlan(by, request, seen, (), tuple(_warnings(store.path, lease.path, by, seen)), installed)
    return plan._replace(steps=decide_steps(store.path, plan, unit)) if os.geteuid() == 0 else plan


def decide_steps(store_path: str, plan: LeasePlan, unit: Optional[Unit]) -> Tuple[tuple, ...]:
    """What changes on this machine, at most one step. Pure. unit is the wanted one, compared with what is installed."""
    if plan.by == BY_UNIT:
        # OURS without a unit: the keeper that the container's start left behind keeps it, as long as the container runs.
        good = plan.seen.state == UNLOCKABLE or (plan.seen.state == OURS and (unit.current or not plan.installed))
        return () if good else (HoldByUnit(store_path, unit, plan.request),)
    # Before a container's init, only an earlier life of that container can have made a unit. A keeper does it now.
    return (RemoveLeaseUnit(store_path),) if plan.installed and plan.by != BY_NOBODY else ()


def plan_giving_up(store_path: str, seen: LeaseSeen, installed: bool, drop_ins: List[str], hanging: bool) -> List[tuple]:
    """What becomes of the lease when paths were taken off the store. Pure.

    installed: a unit of ours exists. drop_ins: of services that wait for the lease, and for the store. hanging: something still
    leads into the store.
    """
    if hanging:
        return []
    # First, as a service that requires a unit which is gone would not start.
    steps = [RemoveDropIns(store_path, tuple(drop_ins))] if drop_ins else []
    if installed:
        steps.append(RemoveLeaseUnit(store_path))
    elif seen.state == OURS:
        steps.append(EndLease(store_path))
    return steps


@contextlib.contextmanager
def holding(store, plan: LeasePlan, machine, services_wait: bool = False) -> Iterator[LeaseHeld]:
    """Hold the lease as planned for the length of a with block, and from then on if the block succeeds. The store has its state
    directory.

    services_wait: the caller makes the services wait for it, so no warning says that somebody should. Raises PersistError if
    another holds it, or if it could not be held.
    """
    lease = Lease(store, machine.clock)
    run = LeaseRun(store.path, lease, machine.systemd)
    if plan.by == BY_UNIT:
        with _holding_by_unit(store, plan, run, services_wait) as held:
            yield held
        return
    execute(plan.steps, run)
    if not plan.by:
        yield LeaseHeld(steps=plan.steps)
        return
    try:
        seen, warnings = lease.take(plan.request, kept=plan.by == BY_PROCESS), []
        if seen.state == UNLOCKABLE and plan.seen.state != UNLOCKABLE:
            warnings += _warnings(store.path, lease.path, plan.by, seen)
        if seen.state == FREE and seen.detail:
            warnings.append("{}: waited until another manager let go of this store, {}".format(lease.path, seen.detail))
        yield LeaseHeld(bool(seen.detail) or plan.seen.state == HELD, plan.steps, tuple(warnings))
        if seen.state == FREE and plan.by == BY_PROCESS:
            lease.leave_behind()
    finally:
        lease.close()


def has_unit(systemd: Systemd, store_path: str) -> bool:
    """True if a unit of ours holds the lease of this store."""
    return is_for(systemd.text_of(NAME), store_path)


@contextlib.contextmanager
def _holding_by_unit(store, plan, run, services_wait):
    steps, warnings = plan.steps, []
    seen = run.lease.make() if steps else plan.seen
    if seen.state == UNLOCKABLE:
        warnings += _warnings(store.path, run.lease.path, plan.by, seen)
        steps = ()
    execute(steps, run)
    new = bool(steps) and not plan.installed  # this run has made the unit
    if new and not services_wait:
        warnings.append(SERVICES.format(printable(store.path), NAME))
    try:
        yield LeaseHeld(plan.seen.state == HELD, steps, tuple(warnings))
    except BaseException:
        if new:
            with contextlib.suppress(LinkError):  # the first failure is the one to report
                run.systemd.remove(NAME, store.path, stop=True)
        raise


def _warnings(store_path, lease_path, by, seen):
    if not by and seen.state == HELD:
        danger = "two managers on one volume destroy its database"
        return ["{}: no lease is wanted, but another manager has it, {}; {}".format(printable(lease_path), seen.detail, danger)]
    if by and seen.state == UNLOCKABLE:
        text = (
            "{}: the lease cannot be held: {}; so nothing keeps a second manager off this store. "
            "Mount the volume with locks (NFS: without nolock), or run one manager only."
        )
        return [text.format(printable(lease_path), seen.detail)]
    if by == BY_NOBODY:
        text = (
            "{}: The lease ends with this run: keeping it needs a container, or systemd and root. "
            "Nothing stops a second manager from using the volume afterwards."
        )
        return [text.format(printable(store_path))]
    return []
