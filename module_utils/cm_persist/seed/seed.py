# SPDX-License-Identifier: Apache-2.0
"""Seed a store: observe, plan, and, unless in check mode, lock, observe and plan again, execute."""

from typing import List, NamedTuple, Optional, Tuple

from ..errors import PersistError, SpecError, StoreError
from ..host.machine import THIS_MACHINE
from ..lease.lease import Lease, LeaseRequest
from ..lease.plan import holding, plan_lease
from ..original.links import refuse_dangling
from ..original.pristine import IMAGE_MANIFEST
from ..paths import StatePath, parse_paths
from ..plan import Outcome, execute, outcome_of
from ..store.lock import held, locked
from ..store.state import store_state
from ..store.steps import Run
from ..store.store import Found, opened_store
from .decide import SeedPolicy
from .observe import Observer
from .plan import plan_seed


class Settings(NamedTuple):
    """The module's options, as persist_seed documents them."""

    store: str
    paths: list
    require_mount: bool = True
    required: bool = False
    missing: str = "fail"
    allow_foreign: bool = False
    state: str = "seeded"
    lock_timeout: float = 300
    lease: bool = True
    lease_timeout: float = 60
    lease_holder: str = ""
    services: tuple = ()
    image: str = ""
    image_manifest: str = IMAGE_MANIFEST
    backups: int = 1
    allow_downgrade: bool = False
    method: str = "symlink"


def seed(settings: Settings, check_mode=False, machine=THIS_MACHINE) -> Outcome:
    """Bring the store to the state where it holds each state path.

    Raises PersistError for a refusal, and nothing was changed; or for a failure, after which a new start goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths, settings.method)
    for name in ("lock_timeout", "lease_timeout"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise SpecError(store_path, "{} is {!r}".format(name, value), "Give a number of seconds, 0 or more.")
    if settings.backups < 0:
        raise SpecError(store_path, "backups is {}".format(settings.backups), "Give how many to keep, 0 or more.")
    with opened_store(store_path, settings.require_mount, machine) as found:
        if found.absent:
            return _without_store(found, specs, settings)
        seeding = Seeding(found, specs, settings, machine)
        return seeding.rehearse() if check_mode else seeding.run()


class Done(NamedTuple):
    """What a run did, or would do: the store's state as it was found, all steps, each path's result, and warnings."""

    state: str
    steps: tuple
    paths: Tuple[dict, ...]
    warnings: Tuple[str, ...]

    def outcome(self, lease_steps, warnings) -> Outcome:
        """The outcome of this and of what was done for the lease, with further warnings."""
        return outcome_of(self.state, (*lease_steps, *self.steps), self.paths, (*self.warnings, *warnings))


class Seeding:
    """One run of seeding on an open store, as it was found."""

    def __init__(self, found: Found, specs: List[StatePath], settings: Settings, machine):
        self._store, self._found, self._settings, self._machine = found.store, found, settings, machine
        self._policy = SeedPolicy(settings.missing, settings.allow_foreign, settings.backups, settings.allow_downgrade)
        self._observer = Observer(found, specs, settings, machine)

    def rehearse(self) -> Outcome:
        """What a run would do. Changes nothing."""
        # The caller is about to stop these services: what they use does not count.
        self._observer.stopping = self._settings.services
        lease, warnings = self._plan_lease(), []
        planned = self._first_plan(lease, wait=False)
        if lease.is_held_elsewhere:
            holder = lease.seen.detail
            if self._settings.services:  # for that they need not be stopped
                raise Lease(self._store).refusal(holder, 0)
            text = "{}: another manager uses this store, {}; a start would wait for it for {:g} seconds"
            warnings.append(text.format(Lease(self._store).path, holder, lease.request.timeout))
        return planned.outcome(lease.steps, (*lease.warnings, *warnings))

    def run(self) -> Outcome:
        """Seed the store."""
        lease = self._plan_lease()
        done = self._first_plan(lease, wait=True)
        if done is not None and not done.steps and self._store.state_fd is None:
            return done.outcome((), lease.warnings)  # nothing is in it, and nothing will be
        self._store.make_state()
        with holding(self._store, lease, self._machine, bool(self._settings.services)) as lease_held:
            if lease_held.waited and done is not None:
                done = self._planned()
            warnings = ()
            if done is None or done.steps:
                with locked(self._store.state_fd, self._store.state_path, self._settings.lock_timeout):
                    done, warnings = self._executed(done)
        return done.outcome(lease_held.steps, (*lease.warnings, *lease_held.warnings, *warnings))

    def _plan_lease(self):
        settings = self._settings
        request = LeaseRequest(settings.lease_timeout, settings.lease_holder) if settings.lease else None
        return plan_lease(self._store, request, self._found.mount, self._machine.systemd)

    def _first_plan(self, lease, wait) -> Optional[Done]:
        """A plan made without the lock. None: another run is at work, so only a plan made under the lock counts."""
        try:
            return self._planned()
        except PersistError:
            # Another run may have been at work while this one observed.
            self._store.find_state()
            if self._store.state_fd is None:
                raise
            if wait and (held(self._store.state_fd) or lease.is_held_elsewhere):
                return None
            return self._planned()

    def _planned(self) -> Done:
        seen, plan = self._observe_and_plan()
        return Done(store_state(seen.store, seen.paths), tuple(plan.steps), plan.paths, plan.warnings)

    def _observe_and_plan(self):
        seen = self._observer.observe()
        return seen, plan_seed(seen, self._policy)

    def _executed(self, before: Optional[Done]):
        """What was done under the lock, and warnings from on the way. An interrupted run is completed first, by its own plan."""
        state, steps, completed, warnings = before and before.state, [], {}, []
        plans = []  # each is made once: the same steps a second time would come for ever
        while True:
            seen, plan = self._observe_and_plan()
            if plan in plans:
                _refuse_again(self._store, plan)
            plans.append(plan)
            fs_type = self._found.mount.fs_type if self._found.mount else ""
            run = Run(self._store, seen.store.books.record, self._machine, fs_type, seen.image)
            execute(plan.steps, run)
            state, warnings = state or store_state(seen.store, seen.paths), warnings + run.warnings
            steps += plan.steps
            paths = [dict(result, seconds=round(run.seconds.get(result["path"], 0), 3)) for result in plan.paths]
            if not plan.resume_only:
                break
            completed = {result["path"]: result for result in paths if result["state"] != "begun"}
        paths = [completed.get(result["path"], result) if result["state"] == "already" else result for result in paths]
        return Done(state, tuple(steps), tuple(paths), plan.warnings), warnings


def _refuse_again(store, plan):
    found = "these steps were done, and are due again: {}".format("; ".join(step.describe() for step in plan.steps))
    raise StoreError(store.path, found, "Keep the volume as it is, and report this with the content of .cm_persist.")


def _without_store(found, specs, settings):
    if settings.required:
        text = "there is no store: {}".format(found.absent)
        raise StoreError(found.path, text, "Mount the volume there.", store_state="absent")
    refuse_dangling(found, specs, settings.image_manifest)
    message = "no persistence: {}; the state paths stay in the image".format(found.absent)
    return Outcome(False, "absent", [], [], [message], message)
