# SPDX-License-Identifier: Apache-2.0
"""Seed a store: look, plan, and, unless it is a rehearsal, lock, look again, plan again and execute."""

from typing import NamedTuple

from ..errors import PersistError, SpecError, StoreError
from ..host.machine import THIS_MACHINE
from ..lease.lease import HELD, Lease, LeaseRequest
from ..lease.plan import holding, look_and_plan
from ..original.links import refuse_dangling
from ..original.pristine import IMAGE_MANIFEST
from ..paths import parse_paths
from ..plan import Outcome
from ..store.lock import held, locked
from ..store.state import store_state
from ..store.steps import Run, execute
from ..store.store import Store, find_store, trigger_automount, working_on
from ..upgrade.observe import image_context
from .observe import observe
from .plan import SeedPolicy, plan_seed


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


def seed(settings, check_mode=False, machine=THIS_MACHINE):
    """Bring the store to the state where it holds each state path.

    Args:
        settings (Settings): what the user wants.
        check_mode (bool): plan only, change nothing (check mode).
        machine (Machine): what it runs on.

    Returns:
        Outcome: what was done, or would be.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure, after which a new start goes on.
    """
    store_path, specs = parse_paths(settings.store, settings.paths)
    for name in ("lock_timeout", "lease_timeout"):
        if not 0 <= getattr(settings, name) < float("inf"):
            found = "{} is {!r}".format(name, getattr(settings, name))
            raise SpecError(store_path, found, "Give a number of seconds, 0 or more.")
    if settings.backups < 0:
        raise SpecError(store_path, "backups is {}".format(settings.backups), "Give how many to keep, 0 or more.")
    with working_on(store_path):
        return _seed(settings, store_path, specs, check_mode, machine)


def _seed(settings, store_path, specs, check_mode, machine):
    trigger_automount(store_path)
    found = find_store(store_path, settings.require_mount, machine.mounts())
    if found.absent:
        return _without_store(found, specs, settings.required)
    wanted = SeedPolicy(settings.missing, settings.allow_foreign, settings.backups, settings.allow_downgrade)
    counted = {}
    with Store(store_path) as store:

        def look_at_image(store_accounts, table):
            return image_context(settings.image, settings.image_manifest, store_accounts, table, machine.accounts())

        def plan_now():
            stopping = settings.services if check_mode else ()
            table = machine.mounts()
            seen, paths, context = observe(store, found, specs, table, counted, machine.selinux, look_at_image, stopping)
            return (seen, context), plan_seed(seen, paths, wanted, context), store_state(seen, paths)

        wanted_lease = LeaseRequest(settings.lease_timeout, settings.lease_holder) if settings.lease else None
        lease = look_and_plan(store, wanted_lease, lambda: machine.systemd.waits_for_network(found.mount), machine.systemd)
        try:
            _seen, plan, state = plan_now()
        except PersistError:
            # Another starter may have been at work where this one looked. Is it still, only what is seen under the lock
            # counts; else a second look.
            store.find_state()
            if store.state_fd is None:
                raise
            if check_mode or not (held(store.state_fd) or (lease.wanted and lease.seen.state == HELD)):
                _seen, plan, state = plan_now()
            else:
                plan = state = None
        if check_mode:
            if settings.services and wanted_lease and lease.seen.state == HELD:  # for that they need not be stopped
                raise Lease(store).refusal(lease.seen.detail, 0)
            return _outcome(state, plan, lease, _told_of_holder(store, lease))
        if plan is not None and not plan.steps and store.state_fd is None:
            return _outcome(state, plan, lease._replace(steps=[]), [])  # there is nothing in it, and will be nothing
        store.make_state()
        warnings = []
        with holding(store, lease, machine.systemd, warnings, machine.clock, bool(settings.services)) as had_to_wait:
            if had_to_wait and plan is not None:
                _seen, plan, state = plan_now()
            if plan is None or plan.steps:
                with locked(store.state_fd, store.state_path, settings.lock_timeout):
                    done, steps, resume_only = {}, [], True
                    while resume_only:
                        (seen, context), plan, state_now = plan_now()
                        fs_type = found.mount.fs_type if found.mount else ""
                        run = Run(store, seen.record, machine.clock, machine.release, fs_type, machine.selinux, context)
                        execute(plan.steps, run)
                        steps, state, resume_only = steps + plan.steps, state or state_now, plan.resume_only
                        warnings.extend(run.warnings)
                        results = [dict(result, seconds=round(run.seconds.get(result["path"], 0), 3)) for result in plan.paths]
                        if resume_only:
                            done = {result["path"]: result for result in results if result["state"] != "begun"}
                    kept = [done.get(result["path"], result) if result["state"] == "already" else result for result in results]
                    plan = plan._replace(paths=kept, steps=steps)
        return _outcome(state, plan, lease, warnings)


def _told_of_holder(store, lease):
    if lease.seen.state != HELD or not lease.wanted:
        return []
    said = "{}: another manager uses this store, {}; a start would wait for it for {:g} seconds"
    return [said.format(Lease(store).path, lease.seen.detail, lease.wanted.timeout)]


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
