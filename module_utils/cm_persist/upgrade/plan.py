# SPDX-License-Identifier: Apache-2.0
"""What is done where a new image meets an old volume, for plan_seed(). Pure: no disk is touched."""

from ..errors import PathError, printable
from ..fs.node import DIRECTORY
from ..store.owners import Owners, after, known, plan_passes
from ..store.renumber import Renumber, RepairTop, WriteOwners
from ..text import files, some
from .merge import NoteImage
from .observe import FAIL, MERGE

WIDENED = {DIRECTORY: 0o2770, "file": 0o660}  # what kubelet adds to the modes of a volume with an fsGroup


def plan_owners(store, accounts):
    """Let owners in the store follow their names.

    Args:
        store (StoreSeen): the store.
        accounts (Accounts): the image's.

    Returns:
        tuple: (list, list of str), steps and warnings.
    """
    if store.uid or store.read_only:
        return [], []
    if store.owners is None:
        return [WriteOwners(Owners(accounts), store.path)], []
    steps, warnings = [], []
    passes, torn = plan_passes(store.owners, accounts)
    owners = store.owners
    for moves in passes:
        steps.append(Renumber(owners, moves, tuple(_names(owners.accounts, moves))))
        owners = Owners(after(owners.accounts, moves))
    if passes:
        said = "{}: owners have other numbers in this image; the files in the store follow them: {}."
        moved = list(dict.fromkeys(word for step in steps for word in step.names))  # of user and group once
        warnings.append(said.format(printable(store.path), some(moved, 10)))
    for name in torn:
        said = "{}: {} had a number that another name had too, and now has its own; its files cannot be told from the other's."
        warnings.append(said.format(printable(store.path), printable(name)))
    both = known(owners.accounts, accounts)
    if both != owners.accounts:
        steps.append(WriteOwners(Owners(both), store.path))
    return steps, warnings


def plan_repair(store, path, plan):
    """Put right what a volume plug-in has done to the top of a state path that the store has (PathSeen)."""
    top, stored = path.entry["top"], path.stored
    if store.uid or store.read_only or stored.mode == top["mode"] or stored.mode != top["mode"] | WIDENED.get(stored.kind, 0):
        return
    plan.steps.append(RepairTop(path.spec, store.path, top["mode"]))
    plan.warnings.append(
        "{}{}: it had mode {:04o} and group {}, as kubelet's fsGroup leaves it, and gets {:04o} and its own back. What it holds "
        "was widened as well: say fsGroupChangePolicy: OnRootMismatch, or no fsGroup.".format(
            store.path, printable(path.spec.path), stored.mode, stored.gid, top["mode"]
        )
    )


def widened_top(stored, original):
    """Node: of the original, where the store's copy has its mode as a volume plug-in has widened it; else None."""
    widened = original.kind == stored.kind and stored.mode == original.mode | WIDENED.get(stored.kind, 0)
    return original if widened and stored.mode != original.mode else None


def plan_change(store, path, plan):
    """Decide what a new image means for a state path that the store has.

    Args:
        store (StoreSeen): the store.
        path (PathSeen): the path, with its change.
        plan (Plan): gets the steps, the warnings and the path's result.

    Raises:
        PathError: the image cannot be started on it.
    """
    spec, change, entry = path.spec, path.change, path.entry
    told_of_change(path, plan)
    result = {"path": spec.path, "state": "already", "files": entry["files"], "bytes": entry["bytes"]}
    if change.policy == FAIL and change.differs:
        raise PathError(
            spec.path,
            "the image has changed ({} to {}), on_image_change is fail, and {} of its files there are newer than the store's{}; "
            "{} are gone".format(
                _name(change.old),
                change.new.describe(),
                change.hidden,
                ": " + _some(change) if change.hidden else "",
                change.removed,
            ),
            "Start {} again; or say on_image_change: keep (the store's are used) or merge.".format(
                _name(change.seen or change.old)
            ),
        )
    if change.policy == MERGE:
        if change.user:
            raise PathError(spec.path, "the store's copy is in use: {}".format(change.user.describe()), change.user.hint)
        result["state"] = "merged"
    elif not store.read_only:
        plan.steps.append(NoteImage(spec, change.new, change.old is not None and not change.differs))
    plan.paths.append(dict(result, image_change=_counts(change)))


def told_of_change(path, plan):
    """Warn of what the volume hides, and refuse a database of another version. Arguments as of plan_change()."""
    change, own = path.change, printable(path.spec.path)
    if change.databases:
        store, image = change.databases
        raise PathError(
            store.directory,
            "its database is of PostgreSQL {}, and the image has {} at {}, which cannot read it".format(
                printable(store.version), printable(image.version), printable(image.directory)
            ),
            "Start the image with PostgreSQL {} again. To move on, upgrade the store's database (pg_upgrade), or dump it there, "
            "and load the dump into an empty volume of this image.".format(printable(store.version)),
        )
    if change.reason:
        plan.warnings.append("{}: it is kept as it is, not merged: {}.".format(own, change.reason))
    met_before = change.seen is not None and change.seen.id == change.new.id  # for another policy
    before = change.old if change.policy == MERGE or met_before else change.seen or change.old
    met = "the image has changed ({} to {})".format(_name(before), change.new.describe())
    if path.entry is None:
        met = "this image ({})".format(change.new.describe())
    if change.policy == MERGE:
        tally = change.tally
        if tally.beside + tally.hidden:
            said = "{}: {}; {} changed on both sides: the store's stay, the image's lie beside, NAME.cm_persist-new: {}."
            plan.warnings.append(said.format(own, met, files(tally.beside + tally.hidden), _some(change)))
        return
    if change.hidden and path.entry is None:
        said = "{}: {} has {} that the volume lacks, or has older: {}."
        plan.warnings.append(said.format(own, met, files(change.hidden), _some(change)))
    elif change.hidden:
        said = "{}: {}, and the volume hides {} that it has newer: {}."
        plan.warnings.append(said.format(own, met, files(change.hidden), _some(change)))
    if change.removed:
        said = "{}: {}, and the volume still has {} that the image no longer has."
        plan.warnings.append(said.format(own, met, files(change.removed)))


def _names(accounts, moves):
    for names, pairs in zip(accounts, moves):
        for old, new in pairs:
            yield "{} {} to {}".format(
                next((name for name, number in sorted(names.items()) if number == old), "number"), old, new
            )


def _name(image):
    return image.describe() if image else "an unknown one"


def _some(change):
    names = [printable(name) for name in change.names or change.tally.names]
    more = (change.hidden or change.tally.beside + change.tally.hidden) - len(names)
    return ", ".join(names) + (" and {} more".format(more) if names and more > 0 else "")


def _counts(change):
    counts = {
        "from": _name(change.seen or change.old),
        "to": change.new.describe(),
        "hidden": change.hidden,
        "removed": change.removed,
    }
    if change.policy == MERGE:
        tally = change.tally
        counts.update(hidden=tally.hidden, changed=tally.changed, added=tally.added, removed=tally.removed, beside=tally.beside)
    return dict(counts, names=[printable(name) for name in change.names or change.tally.names])
