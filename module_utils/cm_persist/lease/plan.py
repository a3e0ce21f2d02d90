# SPDX-License-Identifier: Apache-2.0
"""Holding a store's lease while it is seeded and from then on, and giving it up when nothing leads into the store any more."""

import contextlib
import os
from typing import NamedTuple, Tuple

from ..errors import LinkError, printable
from ..host.systemd import Unit
from .lease import BY_NOBODY, BY_PROCESS, BY_UNIT, FREE, HELD, OURS, UNLOCKABLE, Lease, LeaseRequest, LeaseSeen, keeper
from .unit import NAME, is_for, lease_unit

SERVICES = "{}: {} holds the lease at each boot now; give Requires= and After= of it to the services that must not start without."
NO_LEASE = "so nothing keeps a second manager off this store"


class HoldByUnit(NamedTuple):
    """Have systemd hold the lease, now and at each boot."""

    store_path: str
    unit: Unit
    wanted: LeaseRequest

    def describe(self):
        """str: what will be done."""
        return "hold the lease of {} by the unit {}".format(printable(self.store_path), self.unit.name)

    def execute(self, lease, systemd):
        """Do it. Systemd waits as long as the user wants."""
        try:
            systemd.install(self.unit, self.store_path, lease.is_ours, "hold the lease")
        except LinkError as error:
            seen = lease.look()
            raise (lease.refusal(seen.detail, self.wanted.timeout) if seen.state == HELD else error) from error


class RemoveLeaseUnit(NamedTuple):
    """Remove the unit that holds the lease of a machine."""

    store_path: str

    def describe(self):
        """str: what will be done."""
        return "give up the lease of {} and remove the unit {}".format(printable(self.store_path), NAME)

    def execute(self, _lease, systemd):
        """Do it."""
        systemd.remove(NAME, self.store_path, stop=True)


class RemoveDropIns(NamedTuple):
    """Remove what keeps services from starting without the store and its lease."""

    store_path: str
    paths: Tuple[str, ...]

    def describe(self):
        """str: what will be done."""
        return "remove {}".format(", ".join(map(printable, self.paths)))

    def execute(self, _lease, systemd):
        """Do it."""
        systemd.remove_drop_ins(self.store_path)


class EndLease(NamedTuple):
    """Give up a lease that a process keeps."""

    store_path: str

    def describe(self):
        """str: what will be done."""
        return "give up the lease of {}".format(printable(self.store_path))

    def execute(self, lease, _systemd):
        """Do it."""
        lease.end_keepers()


class LeasePlan(NamedTuple):
    """What is to be done about the lease.

    Attributes:
        by (str): what keeps it, BY_UNIT, BY_PROCESS, BY_NOBODY; '' where none is wanted.
        wanted (LeaseRequest): for how long to wait for it.
        seen (LeaseSeen): how it is.
        steps (list): what is to be changed on this machine; a process that is left behind is no change.
        warnings (list of str): what there is to say.
        installed (bool): whether there is a unit of ours for this store.
    """

    by: str
    wanted: LeaseRequest
    seen: LeaseSeen
    steps: list
    warnings: list
    installed: bool = False


def look_and_plan(store, wanted, network, systemd):
    """Plan how to get the lease.

    Args:
        store (Store): open.
        wanted (LeaseRequest): how long to wait; None for no lease.
        network (callable): says whether the store is mounted only when there is a network.
        systemd (Systemd): this machine's.

    Returns:
        LeasePlan: nothing has been changed yet.
    """
    by, installed = keeper(systemd) if wanted else "", has_unit(systemd, store.path)
    lease = Lease(store)
    seen = lease.look() if store.state_fd is not None else LeaseSeen(FREE)
    unit = None
    if by == BY_UNIT:
        unit = systemd.observe(lease_unit(store.path, lease.path, wanted, network()), store.path)
        if systemd.text_of(NAME) and not installed:
            found = "the unit {} holds the lease of another store".format(NAME)
            hint = "One machine, one manager: take it off the other store first (restore.yml), or, if that is lost, {}.".format(
                "systemctl disable --now {0} && rm /etc/systemd/system/{0}".format(NAME)
            )
            raise LinkError(store.path, found, hint)
    steps = plan_lease(store.path, wanted, by, unit, seen, installed) if os.geteuid() == 0 else []
    return LeasePlan(by, wanted, seen, steps, _warnings(store.path, lease.path, by, seen), installed)


def plan_lease(store_path, wanted, by, unit, seen, installed):
    """Decide what is to be changed on this machine. Pure.

    Args:
        store_path (str): the store.
        wanted (LeaseRequest): how long to wait; None for no lease.
        by (str): as in LeasePlan.
        unit (Unit): as it should be, compared with what is there; None unless it is to keep the lease.
        seen (LeaseSeen): how the lease is.
        installed (bool): whether there is a unit of ours.

    Returns:
        list: of one step or none.
    """
    if by == BY_UNIT:
        # Ours without a unit: what the container's start left behind keeps it, as long as the container runs.
        good = seen.state == UNLOCKABLE or (seen.state == OURS and (unit.current or not installed))
        return [] if good else [HoldByUnit(store_path, unit, wanted)]
    # Before a container's init, a unit can only have been made while that container ran. Its process does it now.
    return [RemoveLeaseUnit(store_path)] if installed and by != BY_NOBODY else []


def plan_giving_up(store_path, seen, installed, drop_ins, hanging):
    """Decide what becomes of the lease when paths were taken off the store. Pure.

    Args:
        store_path (str): the store.
        seen (LeaseSeen): how the lease is.
        installed (bool): whether there is a unit of ours.
        drop_ins (list of str): of services that wait for it, and for the store.
        hanging (bool): whether something still leads into the store.

    Returns:
        list: of steps.
    """
    if hanging:
        return []
    # First, as what requires a unit that is gone would not start.
    steps = [RemoveDropIns(store_path, tuple(drop_ins))] if drop_ins else []
    if installed:
        steps.append(RemoveLeaseUnit(store_path))
    elif seen.state == OURS:
        steps.append(EndLease(store_path))
    return steps


@contextlib.contextmanager
def holding(store, plan, systemd, warnings, clock, waited_for=False):
    """Hold the lease as planned, and keep it beyond this run if that succeeds.

    Args:
        store (Store): open, with its state directory.
        plan (LeasePlan): what to do.
        systemd (Systemd): this machine's.
        warnings (list of str): grows by what turns up.
        clock (module): as time.
        waited_for (bool): whether the caller has the services wait for it, so that nobody need be told to.

    Yields:
        bool: whether another held it until now, so that the store may have changed.

    Raises:
        PersistError: another holds it; or it could not be held.
    """
    lease = Lease(store, clock)
    if plan.by == BY_UNIT:
        seen = lease.make() if plan.steps else plan.seen
        if seen.state == UNLOCKABLE:
            warnings.extend(_warnings(store.path, lease.path, plan.by, seen))
            del plan.steps[:]
        _execute(plan.steps, lease, systemd)
        if plan.steps and not plan.installed and not waited_for:
            warnings.append(SERVICES.format(printable(store.path), NAME))
        try:
            yield plan.seen.state == HELD
        except BaseException:
            if plan.steps and not plan.installed:  # what this run has brought about
                with contextlib.suppress(LinkError):  # the first failure is the one to tell of
                    systemd.remove(NAME, store.path, stop=True)
            raise
        return
    _execute(plan.steps, lease, systemd)
    if not plan.by:
        yield False
        return
    try:
        seen = lease.take(plan.wanted, kept=plan.by == BY_PROCESS)
        if seen.state == UNLOCKABLE and plan.seen.state != UNLOCKABLE:
            warnings.extend(_warnings(store.path, lease.path, plan.by, seen))
        if seen.state == FREE and seen.detail:
            warnings.append("{}: waited until another manager let go of this store, {}".format(lease.path, seen.detail))
        yield bool(seen.detail) or plan.seen.state == HELD
        if seen.state == FREE and plan.by == BY_PROCESS:
            lease.leave_behind()
    finally:
        lease.close()


def has_unit(systemd, store_path):
    """bool: whether there is a unit of ours that holds the lease of this store (str)."""
    return is_for(systemd.text_of(NAME), store_path)


def give_up(store, steps, systemd):
    """Execute what plan_giving_up() gave; store is None where there is none."""
    _execute(steps, Lease(store) if store else None, systemd)


def _execute(steps, lease, systemd):
    for step in steps:
        step.execute(lease, systemd)


def _warnings(store_path, lease_path, by, seen):
    if not by and seen.state == HELD:
        danger = "two managers on one volume destroy its database"
        return ["{}: no lease is wanted, but another manager has it, {}; {}".format(printable(lease_path), seen.detail, danger)]
    if by and seen.state == UNLOCKABLE:
        remedy = "Mount the volume with locks (NFS: without nolock), or run one manager only"
        return ["{}: the lease cannot be held: {}; {}. {}.".format(printable(lease_path), seen.detail, NO_LEASE, remedy)]
    if by == BY_NOBODY:
        why = "nothing here can keep a lease longer than this run, without a container of its own, or systemd and root"
        return ["{}: {}; {} afterwards.".format(printable(store_path), why, NO_LEASE)]
    return []
