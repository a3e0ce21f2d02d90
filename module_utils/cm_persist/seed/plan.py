# SPDX-License-Identifier: Apache-2.0
"""Decide what to do about a store. Pure: no disk is touched, so tests can try every case."""

from ..errors import StoreError
from ..host.selinux import plan_labels
from ..plan import Plan
from ..store.backups import KeepOld
from ..store.layout import swap_name
from ..store.recovery import plan_recovery, read_only_error
from ..store.renumber import Renumber
from ..store.state import FOREIGN, store_state
from ..store.steps import ClearStaging, RemoveStaging, Sync, WriteRecord
from ..store.swap import MERGE_SUFFIX, Exchange
from ..text import some
from ..upgrade.image import refuse_older
from ..upgrade.merge import Merge
from ..upgrade.plan import decide_owners
from .checks import general_warnings, hazard_warnings, refuse_hazards, refuse_unfinished, refuse_without_room
from .decide import SeedPolicy, decide_path
from .observe import Seen
from .steps import Adopt, Copy, Make, Publish


def plan_seed(seen: Seen, policy: SeedPolicy) -> Plan:
    """The plan to seed a store: without steps if it is as it should be; resume_only if an interrupted run comes first. Raises
    PersistError for a refusal: nothing must be changed."""
    store, paths = seen.store, seen.paths
    recovery = plan_recovery(store, paths, policy.backups)
    if recovery:
        return recovery
    _refuse_store(seen, policy)
    asides = [path.notes.first_aside for path in paths if path.notes.first_aside]
    owners = decide_owners(store, seen.image.followed)
    decisions = [_decide(seen, path, policy, asides, owners.steps) for path in paths]
    copy, publish, keep = _new_trees(seen, decisions, policy.backups)
    here = tuple(step for decision in decisions for step in decision.steps)
    # Before anything comes into the store, and in all that is there; but a store that stays empty gets no file with names.
    renumber = owners.steps if here or copy or store.books.record is not None else ()
    adopt, labelled = _adopted_first(store, decisions, renumber)
    mend = tuple(step for step in here if not isinstance(step, Adopt))
    changes = (*adopt, ("renumber owners", renumber), ("repair, make room", mend), ("copy", copy), ("publish", publish))
    writes = any(steps for _name, steps in changes)
    labels = _decide_labels(store._replace(volume=labelled), decisions, writes)
    if writes and store.volume.read_only:
        raise read_only_error(store, store_state=store_state(store, paths))
    warnings = [warning for decision in (*decisions, owners, labels) for warning in decision.warnings]
    return Plan(
        # Labels before the record: a run that is killed between them is completed, labels included.
        phases=_with_books(store, (*changes, ("label", labels.steps)), writes, keep),
        paths=tuple(decision.result for decision in decisions),
        warnings=(*general_warnings(store, paths), *warnings),
    )


def _with_books(store, changes, writes, keep):
    """The phases of a plan: those that change content, between those that keep the books."""
    writable, record = not store.volume.read_only, (WriteRecord(store.path),)
    leftovers = store.books.leftovers if writable else ()
    clear_up = writable and (writes or leftovers or store.books.staging is not None)
    return (
        # Before the clearing removes what says so.
        ("forget what was taken out", record if store.books.taken_out and writable else ()),
        ("clear staging", (ClearStaging(leftovers),) if leftovers else ()),
        *changes,
        ("record", record if writes else ()),
        ("keep what was replaced", keep),
        ("remove staging", (RemoveStaging(),) if clear_up else ()),
    )


def _adopted_first(store, decisions, renumber):
    """The phases that adopt, and the volume as it is after them. What is adopted is in the record before owners get other
    numbers: a pass goes through all that is recorded, and whoever goes on with it must know the same."""
    adopt = tuple(step for decision in decisions for step in decision.steps if isinstance(step, Adopt))
    volume = store.volume
    if not adopt or not any(isinstance(step, Renumber) for step in renumber):
        return (("adopt", adopt),), volume
    adopted = [decision for decision in decisions if decision.result["state"] == "adopted"]
    labels = _decide_labels(store, adopted, True)
    phases = ("adopt", adopt), ("label what is adopted", labels.steps), ("record what is adopted", (WriteRecord(store.path),))
    return phases, volume._replace(labels=volume.labels._replace(equal=True))


def _decide_labels(store, decisions, writes):
    results = [decision.result for decision in decisions]
    tops = [result["path"].split("/")[1] for result in results if result["state"] != "missing"]
    return plan_labels(store.path, store.volume.labels, tops, writes, store.volume.read_only)


def _new_trees(seen, decisions, backups):
    """The steps that copy or merge whole trees in staging and sync them, that publish them, and that keep replaced ones."""
    store, image = seen.store, seen.image
    copies = [path for path, decision in zip(seen.paths, decisions) if decision.result["state"] == "seeded"]
    merges = [path for path, decision in zip(seen.paths, decisions) if decision.result["state"] == "merged"]
    for path in copies:
        refuse_hazards(store, path)
    if not copies and not merges:
        return (), (), ()
    scans = [path.scan for path in copies] + [path.change.scan for path in merges]
    refuse_without_room(store, [path.spec for path in copies + merges], scans)
    names = [swap_name(path.spec.path, MERGE_SUFFIX) for path in merges]
    copying = [
        Copy(path.spec, store.path, path.scan.files, path.scan.data) if path.original.real else Make(path.spec, store.path)
        for path in copies
    ]
    merging = [Merge(path.spec, store.path, path.change.new, image.accounts, path.change.scan) for path in merges]
    publish = [Publish(path.spec, store.path) for path in copies]
    exchange = [Exchange(path.spec.key, store.path, name) for path, name in zip(merges, names)]
    keep = tuple(KeepOld(name, backups) for name in names)
    return (*copying, *merging, Sync()), (*publish, *exchange), keep


def _refuse_store(seen, policy):
    store = seen.store
    state = store_state(store, seen.paths)
    if state == FOREIGN and not policy.allow_foreign:
        found = "the store holds content that no state path claims: {}".format(some(store.foreign))
        hint = "Mount the right volume, or set cm_persist_allow_foreign to seed beside it."
        raise StoreError(store.path, found, hint, store_state=state)
    refuse_unfinished(store)
    if not policy.allow_downgrade:
        refuse_older(seen.image.image, {path.spec.path: path.entry for path in seen.paths if path.entry is not None})


def _decide(seen, path, policy, asides, renumber):
    warnings = hazard_warnings(path, [each.spec.path for each in seen.paths])
    decision = decide_path(seen, path, policy, asides, renumber)
    return decision._replace(warnings=(*warnings, *decision.warnings))
