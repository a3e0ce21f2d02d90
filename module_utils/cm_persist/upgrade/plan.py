# SPDX-License-Identifier: Apache-2.0
"""Decide what to do where a new image meets an old volume. Pure: no disk is touched."""

from typing import List

from ..errors import PathError, printable
from ..fs.accounts import Accounts
from ..plan import Decision, path_result
from ..store.owners import Owners, after, known, plan_passes
from ..store.renumber import Renumber, WriteOwners
from ..store.state import StoreSeen
from ..text import files, some
from .merge import NoteImage
from .observe import FAIL, MERGE, ImageChange


def decide_owners(store: StoreSeen, accounts: Accounts) -> Decision:
    """Let owners in the store follow their names; accounts are the image's."""
    if store.uid or store.volume.read_only:
        return Decision()
    if store.books.owners is None:
        return Decision((WriteOwners(Owners(accounts), store.path),))
    owners, steps, warnings = store.books.owners, [], []
    passes, split = plan_passes(owners, accounts)
    for moves in passes:
        steps.append(Renumber(owners, moves, tuple(_names(owners.accounts, moves))))
        owners = Owners(after(owners.accounts, moves))
    if passes:
        text = "{}: owners have other numbers in this image; the files in the store follow them: {}."
        moved = list(dict.fromkeys(name for step in steps for name in step.names))  # of user and group once
        warnings.append(text.format(printable(store.path), some(moved, 10)))
    for name in split:
        text = "{}: {} had a number that another name had too, and now has its own; its files cannot be told from the other's."
        warnings.append(text.format(printable(store.path), printable(name)))
    both = known(owners.accounts, accounts)
    if both != owners.accounts:
        steps.append(WriteOwners(Owners(both), store.path))
    return Decision(tuple(steps), None, tuple(warnings))


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
        steps = (NoteImage(spec, change.new, change.old is not None and not change.differs),)
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


def _names(accounts, moves):
    for names, pairs in zip(accounts, moves):
        for old, new in pairs:
            name = next((name for name, number in sorted(names.items()) if number == old), "number")
            yield "{} {} to {}".format(name, old, new)


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
