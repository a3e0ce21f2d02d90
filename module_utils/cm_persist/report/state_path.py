# SPDX-License-Identifier: Apache-2.0
"""One state path as persist_info tells of it, and what is wrong with it. Nothing is changed."""

import errno
import os
from typing import NamedTuple, Optional

from ..errors import AS_ROOT, CopyError, PersistError, because, printable
from ..fs.accounts import Accounts
from ..fs.dirfd import open_directory
from ..fs.node import DIRECTORY, LINK, NONE, Node, ParentDir
from ..host.mounts import mounts_at_or_below, real_path
from ..link.plan import LinkSeen, begin_again, has_diverged
from ..original.links import refuse_dangling
from ..original.notes import asides, read_mounted_by, removal_name
from ..original.pristine import find_proof, manifests_of
from ..store.backups import numbers
from ..store.layout import BACKUPS, MANIFESTS, label
from ..store.store import Found, Store
from ..tree.scan import scan
from .verify import compare_with_seeded, find_hidden, lost_databases

TRIES = 5  # at a tree in which files come and go
MOVING = (errno.ENOENT, errno.ESTALE)  # what a look meets in such a tree


class Look(NamedTuple):
    """What is the same for all state paths.

    found is how the store was found, store it is open, None where it is not there or cannot be; record has the entries of its
    state paths; interrupted are those that an earlier run began to replace; mounts is the mount table (list of Mount); accounts
    are the image's, store_accounts what the owners in the store are called; image_manifest is the path (str) of what lists the
    image; verify says to compare with what was seeded.
    """

    found: Found
    store: Optional[Store]
    record: dict
    interrupted: tuple
    mounts: list
    accounts: Accounts
    store_accounts: Accounts
    image_manifest: str
    verify: bool


def problem(path, found, hint):
    """str: what is wrong at a path (str), and what to do, a whole sentence; it reads as an error does."""
    return "{}: {}. {}".format(printable(path), found, hint)


def guarded(problems, path, act, otherwise=None):
    """Act, and tell an error as a problem.

    Args:
        problems (list of str): gets it.
        path (str): what is looked at, for errors that do not name it.
        act (callable): takes nothing.
        otherwise: what to give after an error.

    Returns:
        What act gives.
    """
    try:
        return act()
    except PersistError as error:
        problems.append(str(error))
    except OSError as error:
        hint = AS_ROOT if error.errno in (errno.EACCES, errno.EPERM) else "Mend that, then look again."
        problems.append(problem(path, "it cannot be looked at: {}".format(because(error)), hint))
    except ValueError as error:  # books that were tampered with, and not where their reader looks
        problems.append(
            problem(path, "what is written of it makes no sense: {}".format(printable(str(error))), "Restore it from a backup.")
        )
    return otherwise


def steady(act):
    """What act gives; None where, however often it tries, files come and go while it looks, as in a database that is busy."""
    for _try in range(TRIES):
        try:
            return act()
        except (OSError, CopyError) as error:
            met = error.__cause__ if isinstance(error, CopyError) else error
            if getattr(met, "errno", None) not in MOVING:
                raise
    return None


def see_path(look, spec, problems):
    """Look at a state path.

    Args:
        look (Look): how.
        spec (StatePath): the path.
        problems (list of str): gets what is wrong.

    Returns:
        dict: as persist_info documents it.
    """
    shown = {
        "path": spec.path, "state": "missing", "target": "", "method": "", "in_store": False, "origin": "", "at": None,
        "files": None, "bytes": None, "seeded_files": None, "seeded_bytes": None, "image": "", "seen_image": "",
        "diverged": False, "hidden": None, "hidden_names": [], "aside": [], "backups": 0,
    }  # fmt: skip
    if look.verify:
        shown["verified"] = None
    entry = look.record.get(spec.key)
    if entry is not None:
        image, seen = (entry[key]["name"] if entry[key] else "" for key in ("image", "seen"))
        shown.update(origin=entry["origin"], at=entry["at"], seeded_files=entry["files"], seeded_bytes=entry["bytes"])
        shown.update(image=printable(image), seen_image=printable(seen))
    guarded(problems, spec.path, lambda: _see(look, spec, entry, shown, problems))
    return shown


def _see(look, spec, entry, shown, problems):
    place = look.found.path + spec.path
    stored = Node()
    if look.store:
        stored = guarded(problems, place, lambda: look.store.look(spec.relative, inside=True), Node())
        shown["in_store"] = stored.real
    with ParentDir(spec.path) as image:
        seen = _look_at(look, spec, image, stored)
        shown.update(_state(seen))
        if image.fd is not None:
            shown["aside"] = guarded(problems, spec.path, lambda: _count_asides(image), [])
        if look.store is None:
            _judge_without_store(look, seen, problems)
            return
        if seen.current.real and stored.real and not seen.bound:
            seen = _compare(look, image, seen, entry)
            shown["diverged"] = has_diverged(seen)
        problems.extend(_judge(look, seen, place, entry))
        if stored.real:
            counted = guarded(problems, place, lambda: steady(lambda: _count(look.store, spec, place)))
            if counted is not None:
                shown.update(files=counted.files, bytes=counted.data)
        shown["backups"] = guarded(problems, place, lambda: _count_backups(look.store, spec), 0)
        if entry is not None and entry["manifest"] and spec.key not in look.interrupted:
            _look_into_manifest(look, image, seen, entry, shown, problems)


def _look_at(look, spec, image, stored):
    if image.fd is None:
        return LinkSeen(spec, Node(), stored)
    current = image.look()
    mounted = current.real and real_path(spec.path) in mounts_at_or_below(spec.path, look.mounts)
    same = current.real and (current.device, current.inode) == (stored.device, stored.inode)
    # A mount of ours holds on to a store that is itself unmounted.
    bound = mounted and (same or (look.store is None and bool(read_mounted_by(image))))
    kept = [os.path.join(image.directory, os.fsdecode(name)) for name in asides(image)[0] if image.look(name).real]
    removing = image.look(removal_name(image.name)).kind != NONE
    aside = kept[0] if kept else ""
    return LinkSeen(spec, current, stored, aside=aside, bound=bound, removing=removing, same=same and not bound)


def _state(seen):
    if seen.current.kind == LINK:
        return {"state": "linked", "method": "symlink", "target": printable(seen.current.target)}
    if seen.bound:
        return {"state": "mounted", "method": "bind"}
    return {"state": "missing" if seen.current.kind == NONE else "own"}


def _compare(look, image, seen, entry):
    seeded = os.path.join(look.store.state_path, os.fsdecode(MANIFESTS), entry["manifest"]) if entry and entry["manifest"] else ""
    proof, found = find_proof(manifests_of(image, look.image_manifest, seeded), image)
    return seen._replace(proof=proof, difference=found)


def _judge_without_store(look, seen, problems):
    if look.found.absent:  # what a start would refuse
        guarded(problems, seen.spec.path, lambda: refuse_dangling(look.found, [seen.spec]))
    elif seen.current.kind == LINK and not os.path.exists(seen.spec.path):
        problems.append(_leads_nowhere(seen))


def _judge(look, seen, place, entry):
    """Yield what is wrong (str) with a state path, place being where the store has it."""
    spec, current, stored = seen.spec, seen.current, seen.stored
    if spec.key in look.interrupted:
        found = "an earlier run began to put another tree in its place, and did not come to its end"
        yield problem(place, found, "Start again (start.yml), which completes it.")
    elif stored.kind != NONE and not stored.real:
        yield problem(place, "the store has a {} there".format(stored.kind), "Remove it, after a look at where it came from.")
    elif entry is not None and stored.kind == NONE:
        found = "the record says that it was {} with {} files, but nothing is there".format(entry["origin"], entry["files"])
        yield problem(place, found, "Mount the right volume, or restore it from a backup.")
    elif entry is not None and stored.kind != entry["kind"]:
        found = "the record says that it is a {}, but a {} is there".format(entry["kind"], stored.kind)
        yield problem(place, found, "Find out who replaced it, and restore it from a backup.")
    elif entry is not None and stored.empty and entry["files"]:
        found = "it is empty; the record says that it was {} with {} files".format(entry["origin"], entry["files"])
        yield problem(place, found, "Find out who emptied it, and restore it from a backup.")
    if current.kind == LINK and current.target != place:
        found = "it is a symbolic link to {}, not to {}".format(printable(current.target), printable(place))
        yield problem(spec.path, found, "Remove the link, or name the path that it leads to, then start again (start.yml).")
    elif current.kind == LINK and stored.kind == NONE and entry is None:
        yield _leads_nowhere(seen)
    elif current.kind not in (NONE, LINK) and not current.real:
        yield problem(spec.path, "it is a {}".format(current.kind), "Name a directory or a file.")
    elif seen.same:
        found = "it is the store's own copy already, as its directory leads into the store"
        yield problem(spec.path, found, "Take it out of cm_persist_paths, or unmount that directory.")
    elif stored.real and current.kind == NONE:
        yield problem(spec.path, "nothing is there, though the store has it", "Start again (start.yml), which links it.")
    elif stored.real and current.kind != LINK and not seen.bound:
        found = "it is not linked, though the store has it: what is written there, the store does not get"
        hint = "Stop what uses it, then start again (start.yml), which links it; what may be newer is then kept aside."
        yield problem(spec.path, found, hint)


def _leads_nowhere(seen):
    found = "it is a symbolic link to {}, where nothing is".format(printable(seen.current.target))
    return problem(seen.spec.path, found, begin_again(seen))


def _look_into_manifest(look, image, seen, entry, shown, problems):
    """Tell what the manifest of the path, as it was seeded, is needed for; that it is lost matters only where it is asked for."""
    spec, stored = seen.spec, seen.stored
    hidden = guarded([], spec.path, lambda: find_hidden(look, spec, image, seen, entry))
    if hidden is not None:
        count, names = hidden
        shown.update(hidden=count, hidden_names=[printable(name) for name in names])
    if not stored.real or stored.kind != entry["kind"]:
        return
    place = look.store.place(spec.path)
    if stored.kind == DIRECTORY:
        for directory in guarded([], place, lambda: lost_databases(look.store, spec, entry), []):
            where = os.path.normpath(os.path.join(place, os.fsdecode(directory)))
            found = "a database was seeded there, and its PG_VERSION is gone"
            problems.append(problem(where, found, "Restore it from a backup; no PostgreSQL starts on it as it is."))
    if look.verify:
        shown["verified"] = guarded(problems, place, lambda: steady(lambda: compare_with_seeded(look, spec, entry)))


def _count(store, spec, place):
    parent = store.open_parent(spec.relative)
    try:
        return scan(parent, os.path.basename(spec.relative), place, 0)
    finally:
        os.close(parent)


def _count_asides(image):
    found = []
    for name in asides(image)[0]:
        if image.look(name).real:
            path = os.path.join(image.directory, os.fsdecode(name))
            counted = scan(image.fd, name, path, 0)
            found.append({"path": path, "bytes": counted.data, "files": counted.files})
    return found


def _count_backups(store, spec):
    if store.state_fd is None:
        return 0
    try:
        fd = open_directory(store.state_fd, BACKUPS + b"/" + os.fsencode(label(spec.path)), store.state_path)
    except FileNotFoundError:
        return 0
    try:
        return len(numbers(fd))
    finally:
        os.close(fd)
