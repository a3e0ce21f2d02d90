# SPDX-License-Identifier: Apache-2.0
"""Decide what to do where a new image meets an old volume. Pure: no disk is touched."""

from typing import List

from ..errors import PathError, StoreError, printable
from ..fs.accounts import NAMELESS, Accounts
from ..plan import Decision, path_result
from ..store.owners import KINDS, Owners, after, plan_passes
from ..store.renumber import Renumber, WriteOwners
from ..store.state import StoreSeen
from ..text import files, some
from .merge import NoteImage
from .observe import FAIL, MERGE, ImageChange


def decide_owners(store: StoreSeen, accounts: Accounts) -> Decision:
    """Let owners in the store follow their names; accounts are the image's. Raises StoreError if two owners would become one."""
    if store.uid or store.volume.read_only:
        return Decision()
    if store.books.owners is None:
        return Decision((WriteOwners(Owners(accounts), store.path),))
    owners = store.books.owners
    changes = plan_passes(owners, accounts, store.in_use)
    for clash in changes.clashes:
        found = "the image gives the {}s {} and {} one number, {}, and each has files of its own in it"
        hint = "Give them numbers of their own in the image, or start one that does."
        raise StoreError(store.path, found.format(clash.kind, *map(printable, clash.names), clash.number), hint)
    steps = tuple(_owner_steps(store.path, owners, changes))
    return Decision(steps, None, tuple(_owner_warnings(store, changes, steps)))


def decide_change(store: StoreSeen, path) -> Decision:
    """What a new image means for a state path that the store has; path (PathSeen) has a change. Raises PathError if the image
    cannot be started on it."""
    spec, change, entry = path.spec, path.change, path.entry
    warnings = change_warnings(spec, change, adopted=False)
    if change.policy == FAIL and change.differs:
        raise _changed_error(spec, change)
    result = path_result(spec, "already", entry["files"], entry["bytes"])
    steps = ()
    if change.policy == MERGE:
        if change.used_by:
            found = "the store's copy is in use: {}".format(change.used_by.describe())
            raise PathError(spec.path, found, change.used_by.hint)
        result["state"] = "merged"
    elif not store.volume.read_only:
        steps = (NoteImage(spec, change.new, change.old is not None and not change.differs, change.lasting),)
    return Decision(steps, dict(result, image_change=_counts(change)), tuple(warnings))


def change_warnings(spec, change: ImageChange, adopted: bool) -> List[str]:
    """What the volume hides of a new image. Raises PathError if the image has a database of another version."""
    _refuse_other_database(change)
    own, warnings = printable(spec.path), []
    if change.reason:
        warnings.append("{}: it is kept as it is, not merged: {}.".format(own, change.reason))
    met = "this image ({})".format(change.new.describe()) if adopted else _change_text(change)
    if change.policy == MERGE:
        tally = change.tally
        if tally.beside + tally.alone:
            text = "{}: {}; {} changed on both sides: the store's stay, the image's lie beside, NAME.cm_persist-new: {}."
            warnings.append(text.format(own, met, files(tally.beside + tally.alone), _some(change)))
        return warnings
    if change.hidden:
        text = "{}: {}, and the volume hides {} that it has newer: {}."
        if adopted:
            text = "{}: {} has {} that the volume lacks, or has older: {}."
        warnings.append(text.format(own, met, files(change.hidden), _some(change)))
    if change.removed:
        text = "{}: {}, and the volume still has {} that the image no longer has."
        warnings.append(text.format(own, met, files(change.removed)))
    return warnings


def _refuse_other_database(change):
    if change.databases:
        store, image = change.databases
        old, new, where = (printable(text) for text in (store.version, image.version, image.directory))
        hint = (
            "Start the image with PostgreSQL {} again. To move on, upgrade the store's database (pg_upgrade), or dump it there, "
            "and load the dump into an empty volume of this image."
        )
        found = "its database is of PostgreSQL {}, and the image has {} at {}, which cannot read it".format(old, new, where)
        raise PathError(store.directory, found, hint.format(old))


def _changed_error(spec, change):
    text = (
        "the image has changed ({} to {}), on_image_change is fail, and {} of its files there are newer than the store's{}; "
        "{} are gone"
    )
    names = ": " + _some(change) if change.hidden else ""
    values = _name(change.old), change.new.describe(), change.hidden, names, change.removed
    hint = "Start {} again; or say on_image_change: keep (the store's are used) or merge."
    return PathError(spec.path, text.format(*values), hint.format(_name(change.seen or change.old)))


def _change_text(change):
    met_before = change.seen is not None and change.seen.id == change.new.id  # for another policy
    before = change.old if change.policy == MERGE or met_before else change.seen or change.old
    return "the image has changed ({} to {})".format(_name(before), change.new.describe())


def _owner_steps(store_path, owners, changes):
    if owners.started:
        yield Renumber(owners, owners.started, tuple(_names(owners.accounts, owners.started)))
        owners = Owners(after(owners.accounts, owners.started))
    if changes.passes and owners.accounts != changes.begin:
        yield WriteOwners(Owners(changes.begin), store_path)
        owners = Owners(changes.begin)
    for moves in changes.passes:
        yield Renumber(owners, moves, tuple(_names(owners.accounts, moves)))
        owners = Owners(after(owners.accounts, moves))
    if owners.accounts != changes.end:
        yield WriteOwners(Owners(changes.end), store_path)


def _owner_warnings(store, changes, steps):
    own = printable(store.path)
    # Of user and group once.
    moved = list(dict.fromkeys(name for step in steps if isinstance(step, Renumber) for name in step.names))
    if moved:
        text = "{}: owners have other numbers in this image; the files in the store follow them: {}."
        yield text.format(own, some(moved, 10))
    for kind, name, old, new in changes.parked:
        if name.startswith(NAMELESS):
            # The number that they had when they were found, which others have got since.
            text = "{}: files of {} {} belong to no name{}: they get {}, as a name has that number in this image."
            yield text.format(own, kind, name.lstrip(NAMELESS), _first_of(store, kind, old), new)
        else:
            text = "{}: the image has no {} {}, and gives its number, {}, to another: its files get {} until an image knows it."
            yield text.format(own, kind, printable(name), old, new)
    for name in changes.split:
        text = "{}: {} had a number that another name had too, and now has its own; its files cannot be told from the other's."
        yield text.format(own, printable(name))


def _first_of(store, kind, number):
    paths = dict(zip(KINDS, store.in_use or ({}, {})))[kind]
    return ", as {}/{}".format(printable(store.path), printable(paths[number])) if number in paths else ""


def _names(accounts, moves):
    for names, pairs in zip(accounts, moves):
        for old, new in pairs:
            name = next((name for name, number in sorted(names.items()) if number == old), NAMELESS)
            yield "{} {} to {}".format("number" if name.startswith(NAMELESS) else name, old, new)


def _name(image):
    return image.describe() if image else "an unknown one"


def _some(change):
    names = [printable(name) for name in change.names or change.tally.names]
    more = (change.hidden or change.tally.beside + change.tally.alone) - len(names)
    return ", ".join(names) + (" and {} more".format(more) if names and more > 0 else "")


def _counts(change):
    before, new = _name(change.seen or change.old), change.new.describe()
    counts = {"from": before, "to": new, "hidden": change.hidden, "removed": change.removed}
    if change.policy == MERGE:
        tally = change.tally
        counts.update(hidden=tally.alone, changed=tally.changed, added=tally.added, removed=tally.removed, beside=tally.beside)
    return dict(counts, names=[printable(name) for name in change.names or change.tally.names])
