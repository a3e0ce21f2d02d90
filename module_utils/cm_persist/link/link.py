# SPDX-License-Identifier: Apache-2.0
"""Point the state paths at the store, or take them off it: observe, plan, and, unless in check mode, execute."""

import contextlib
import os
from typing import List, NamedTuple, Optional, Tuple

from ..errors import LinkError, PersistError
from ..host.machine import THIS_MACHINE, Machine
from ..lease.lease import FREE, HELD, Lease, LeaseSeen
from ..lease.plan import LeaseRun, has_unit, plan_giving_up
from ..lease.unit import NAME as LEASE_UNIT
from ..original.links import leads_into, refuse_dangling
from ..original.pristine import IMAGE_MANIFEST
from ..paths import StatePath, parse_paths
from ..plan import Outcome, Plan, execute, outcome_of
from ..store.lock import locked
from ..store.owners import plan_passes, read_owners
from ..store.record import read_record
from ..store.store import Found, Store, opened_store
from .observe import Observer, Purpose
from .plan import plan_link
from .restore_plan import RESTORE_ASIDE, RESTORE_NEWEST, RESTORE_STORE, plan_restore
from .restore_steps import CopyBack
from .steps import LinkRun

HELD_ELSEWHERE = "{}: another manager uses this store, {}; a database that it writes to may not start from what is copied now."
LEASE_STAYS = (
    "{0}: {1} stays, as other paths may lead there; if none does: systemctl disable --now {1} && rm -f /etc/systemd/system/{1} "
    "/etc/systemd/system/*.d/cm_persist.conf && systemctl daemon-reload"
)
RESTORED = {
    RESTORE_STORE: "off the store, with what it has",
    RESTORE_ASIDE: "off the store, with the originals",
    RESTORE_NEWEST: "off the store",
}


class Settings(NamedTuple):
    """The module's options, as persist_link documents them."""

    store: str
    paths: list
    require_mount: bool = True
    method: str = "symlink"
    state: str = "linked"
    restore: str = RESTORE_STORE
    image_manifest: str = IMAGE_MANIFEST
    lock_timeout: float = 300
    services: tuple = ()


def link(settings: Settings, check_mode: bool = False, machine: Machine = THIS_MACHINE) -> Outcome:
    """Bring each state path to the state where it leads into the store, or has content of its own.

    Raises PersistError for a refusal, and nothing was changed; or for a failure, and the next run starts from what it left.
    """
    store_path, specs = parse_paths(settings.store, settings.paths, settings.method)
    with opened_store(store_path, settings.require_mount, machine) as found:
        return Linking(settings, specs, found, check_mode, machine).run()


class Linking:
    """One run of the module. restore is what the paths get when they are taken off the store, '' to link them; store is open,
    None where there is none."""

    def __init__(self, settings: Settings, specs: List[StatePath], found: Found, check_mode: bool, machine: Machine):
        self.settings, self.specs, self.found, self.check_mode, self.machine = settings, specs, found, check_mode, machine
        self.restore, self.store = "" if settings.state == "linked" else settings.restore, found.store

    def run(self) -> Outcome:
        """Link or unlink, and say what was done."""
        # An original that is kept next to its path can be put back though the volume is lost.
        if self.found.absent and self.restore != RESTORE_ASIDE:
            refuse_dangling(self.found, self.specs, self.settings.image_manifest)
            done = "nothing leads into it" if self.restore else "nothing was linked"
            return Outcome(False, "absent", [], [], [], "no persistence: {}; {}".format(self.found.absent, done))
        if self.restore:
            return self._unlink()
        state, plan = self.plan(closely=self.check_mode)
        if plan.steps and not self.check_mode:
            state, plan = self._execute()
        return outcome_of(state, plan.steps, plan.paths, plan.warnings)

    def plan(self, closely: bool) -> Tuple[str, Plan]:
        """The store's state, and what is to be done, as it is now; closely is for a plan that is shown or executed."""
        purpose = Purpose(
            restore=self.restore,
            closely=closely,
            unseeded=self.check_mode and not self.restore,
            stopping=tuple(self.settings.services) if self.check_mode else (),
        )
        observer = Observer(self.store, self.found.mount, self.machine, self.settings.image_manifest, purpose)
        state, seen = observer.observe(self.specs)
        if self.restore:
            plan = plan_restore(self.found.path, seen, self.restore)
            self._refuse_other_owners(plan)
            return state, plan
        return state, plan_link(self.found.path, seen)

    def _refuse_other_owners(self, plan: Plan):
        """Refuse copies whose files would belong to others: the store's owners have the numbers of another image."""
        if any(isinstance(step, CopyBack) for step in plan.steps) and self.store.state_fd is not None and not os.geteuid():
            owners = read_owners(self.store.state_fd, self.store.state_path)
            if owners is not None and plan_passes(owners, self.machine.accounts()).any:
                found = "its owners have other numbers in this image, and a copy of its files would belong to others"
                raise LinkError(self.found.path, found, "Start once with this image (start.yml), which gives them theirs.")

    def _unlink(self):
        state, plan = self.plan(closely=self.check_mode)
        lease_end = LeaseEnd(self.store, self.found.path, self.specs, self.machine.systemd)
        warnings = lease_end.warnings
        if plan.steps and lease_end.seen.state == HELD and self.restore != RESTORE_ASIDE:
            warnings.append(HELD_ELSEWHERE.format(self.found.path, lease_end.seen.detail))
        if plan.steps and not self.check_mode:
            state, plan = self._execute()
        if not self.check_mode:
            lease_end.execute()
        message = RESTORED[self.restore] if plan.steps else "nothing led into the store"
        return outcome_of(state, [*plan.steps, *lease_end.steps], plan.paths, [*plan.warnings, *warnings], message)

    def _execute(self) -> Tuple[str, Plan]:
        """Plan again under the lock, and execute that; the plan is given back with what turned out."""
        with self._locked():
            state, plan = self.plan(closely=True)
            run = LinkRun(self.store, self.machine)
            try:
                execute(plan.steps, run)
            except PersistError as error:
                # The next run may find nothing any more of what these warn of.
                error.warnings = ([] if self.restore else list(plan.warnings)) + run.warnings
                raise
        paths = tuple(run.with_fate(result) for result in plan.paths)
        return state, plan._replace(paths=paths, warnings=(*plan.warnings, *run.warnings))

    def _locked(self):
        if self.store is None or self.store.state_fd is None:  # content of an earlier tool, not adopted yet: nothing to lock on
            return contextlib.ExitStack()
        return locked(self.store.state_fd, self.store.state_path, self.settings.lock_timeout, sign=False)


class LeaseEnd:
    """What becomes of the lease once these paths are off the store. It is given up if nothing leads into the store any more."""

    def __init__(self, store: Optional[Store], store_path: str, specs: List[StatePath], systemd):
        self._store, self._store_path, self._systemd = store, store_path, systemd
        self.seen = Lease(store).look() if store and store.state_fd is not None else LeaseSeen(FREE)
        installed, drop_ins = has_unit(systemd, store_path), systemd.drop_ins(store_path)
        self.steps = plan_giving_up(store_path, self.seen, installed, drop_ins, _others_lead_into(store, specs))
        # Without the store nobody knows whether what is on this machine is needed, so it stays.
        self.warnings = [LEASE_STAYS.format(store_path, LEASE_UNIT)] if store is None and (installed or drop_ins) else []

    def execute(self):
        """Give the lease up, if it is time."""
        if self.steps:
            lease = Lease(self._store) if self._store else None
            execute(self.steps, LeaseRun(self._store_path, lease, self._systemd))


def _others_lead_into(store, specs) -> bool:
    """True if something still leads into the store when these paths are off it. Without the store nobody knows."""
    if store is None:
        return True
    if store.state_fd is None:
        return False
    named = {spec.key for spec in specs}
    return any(leads_into(store, key) for key in read_record(store.state_fd, store.state_path) or () if key not in named)
