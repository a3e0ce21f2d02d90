# SPDX-License-Identifier: Apache-2.0
"""What is checked before a store is seeded: room, rights, hazards; and what to warn of. Pure: no disk is touched."""

from typing import List

from ..errors import PathError, StoreError, printable
from ..host.applications import CONFIGURED, MNESIA, RABBITMQ
from ..store.state import StoreSeen
from ..text import some
from ..tree.scan import ScanResult

BOOKS = 5  # files and directories: staging, manifests, the owners, the record and the one that replaces it
BOOKS_OF_STATE = 3  # the state directory, its lock and the lease
BOOKS_OF_A_COPY = 4  # its private directory, the one for links, manifest and entry; and the directories above it in the store


def refuse_without_room(store: StoreSeen, specs: list, scans: List[ScanResult]):
    """Refuse copies of state paths for which there is no room, or which this process may not make; scans say what each holds."""
    foreign = next((scan.others for scan in scans if scan.others), "")
    if foreign:
        raise PathError(foreign, "it belongs to another user, and this process is not root", "Run as root (become: true).")
    books = BOOKS + (0 if store.books.exist else BOOKS_OF_STATE)
    books += sum(BOOKS_OF_A_COPY + spec.relative.count(b"/") for spec in specs)
    short = store.room.shortage(scans, books)
    if short:
        raise StoreError(store.path, "the store is too small, {}".format(short), "Mount a larger volume, or free space on it.")


def refuse_unfinished(store: StoreSeen):
    """Refuse a store one of whose paths is no longer named while an interrupted run left it half done. Raises PathError."""
    for key, _linked, half_done in store.dropped:
        if half_done:
            hint = "Name it in cm_persist_paths for one more start, which completes that; then restore it (restore.yml)."
            raise PathError(printable(key), "{}, and cm_persist_paths no longer names it".format(half_done), hint)


def general_warnings(store: StoreSeen, paths: list) -> List[str]:
    """What to warn of, whatever is done; paths are PathSeen."""
    warnings, volume = [], store.volume
    if volume.dies_with:
        text = "{}: the store is {}: what it holds is gone with the pod or at the next boot."
        warnings.append(text.format(printable(store.path), volume.dies_with))
    if volume.locks_locally:
        text = (
            "{}: locks on it are seen on this machine alone (NFS: nolock, local_lock), so nothing keeps a manager on another "
            "one off it."
        )
        warnings.append(text.format(printable(store.path)))
    for key, linked, _half_done in store.dropped:
        used = "the link still leads there (restore.yml takes it back)" if linked else "what stands at the path is used"
        warnings.append("{}: the store holds it, but cm_persist_paths no longer names it; {}.".format(printable(key), used))
    others = sorted({str(path.original.uid) for path in paths if path.original.real and path.original.uid not in (0, store.uid)})
    if others and not volume.mode & 0o001:
        text = "{}: mode {:04o} of the store keeps out the users {} who own state paths; chmod o+x the volume."
        warnings.append(text.format(printable(store.path), volume.mode, ", ".join(others)))
    return warnings


def refuse_hazards(store: StoreSeen, path):
    """Refuse to copy a state path (PathSeen) where the copy would lack data that belongs to it. Raises PathError, StoreError."""
    databases, journals = path.hazards.databases, path.hazards.journals
    if journals:
        found = "its journal is next to it, at {}, and what that holds may be nowhere else".format(some(list(journals)))
        hint = "Name the directory of both; or stop what writes it, so that it removes the journal."
        raise PathError(path.spec.path, found, hint)
    for database in databases:
        if database.elsewhere:
            where = ", ".join(map(printable, database.elsewhere))
            found = "PostgreSQL keeps part of this database elsewhere, at {}".format(where)
            raise PathError(database.directory, found, "Name that in cm_persist_paths as well.")
    if databases and store.databases:
        there, here = store.databases[0], databases[0]
        text = "the store has a database of PostgreSQL {} there, which no state path names any more; {} ({}) has none of it"
        versions = printable(there.version), printable(here.directory), printable(here.version)
        hint = (
            "Name its path again, with the image that fits; or move its data over (pg_upgrade, or a dump). To begin without it, "
            "move it away from there."
        )
        raise StoreError(there.directory, text.format(*versions), hint)


def hazard_warnings(path, named: List[str]) -> List[str]:
    """What programs will not find again of a state path (PathSeen) among these. Raises PathError if naming it does harm."""
    own, hazards, warnings = path.spec.path, path.hazards, []
    here = {hazards.host, hazards.host.split(".")[0], "localhost"}
    if hazards.nodes and not any(name.rpartition("@")[2] in here for name in hazards.nodes):
        text = "{}: RabbitMQ has data of {} there, and this host is called {}: under that name it begins with nothing."
        warnings.append(text.format(own, ", ".join(map(printable, hazards.nodes)), printable(hazards.host)))
    if own in (MNESIA, RABBITMQ) and hazards.manager:
        why = "Cloudify Manager removes {} when it configures itself".format(MNESIA)
        if own == MNESIA:
            hint = "Leave it out; or, from 7.0 on, name {} together with {}.".format(RABBITMQ, CONFIGURED)
            raise PathError(own, why + ", and with it the link", hint)
        if CONFIGURED not in named:
            warnings.append("{}: {}; 7.0 keeps it if {} is a state path, too.".format(own, why, CONFIGURED))
    return warnings
