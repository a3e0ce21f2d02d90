# SPDX-License-Identifier: Apache-2.0
"""What is checked before a store is seeded: room, rights, and what there is to warn of. Pure: no disk is touched."""

from ..errors import PathError, StoreError, printable
from ..host.applications import CONFIGURED, MNESIA, RABBITMQ
from ..tree.scan import BLOCK

BOOKS = 5  # files and directories: staging, manifests, the owners, the record and the one that replaces it
BOOKS_OF_A_COPY = 4  # its private directory, pool, manifest and entry; and the directories above it in the store


def preflight(store, copies):
    """Refuse copies for which there is no room, or that this process may not make.

    Args:
        store (StoreSeen): the store.
        copies (list of PathSeen): what would be copied.

    Raises:
        PersistError: nothing has been changed.
    """
    foreign = next((path.scan.others for path in copies if path.scan.others), "")
    if foreign:
        raise PathError(foreign, "it belongs to another user, and this process is not root", "Run as root (become: true).")
    # Beside the copies: what names them, and, unless it is there, the state directory with its lock.
    books = sum(BOOKS_OF_A_COPY + path.spec.relative.count(b"/") for path in copies) + BOOKS + (0 if store.begun else 2)
    need_bytes = sum(path.scan.space + path.scan.lines for path in copies) + books * BLOCK
    need_inodes = sum(path.scan.inodes for path in copies) + books
    short = []
    if need_bytes > store.free_bytes:
        short.append("{} bytes short: {} needed, {} free".format(need_bytes - store.free_bytes, need_bytes, store.free_bytes))
    if store.free_inodes is not None and need_inodes > store.free_inodes:
        short.append(
            "{} inodes short: {} needed, {} free".format(need_inodes - store.free_inodes, need_inodes, store.free_inodes)
        )
    if short:
        raise StoreError(
            store.path, "the store is too small, {}".format("; ".join(short)), "Mount a larger volume, or free space on it."
        )


def general_warnings(store, paths):
    """list of str: what there is to say whatever is done; arguments as of plan_seed()."""
    warnings = []
    if store.dies_with:
        warnings.append(
            "{}: the store is {}: what it holds is gone with the pod or at the next boot.".format(
                printable(store.path), store.dies_with
            )
        )
    if store.locks_locally:
        warnings.append(
            "{}: locks on it are seen on this machine alone (NFS: nolock, local_lock), so nothing keeps a manager on another "
            "one off it.".format(printable(store.path))
        )
    for key, linked in store.dropped:
        used = "the link still leads there (restore.yml takes it back)" if linked else "what stands at the path is used"
        warnings.append("{}: the store holds it, but cm_persist_paths no longer names it; {}.".format(printable(key), used))
    others = sorted({str(path.original.uid) for path in paths if path.original.real and path.original.uid not in (0, store.uid)})
    if others and not store.mode & 0o001:
        warnings.append(
            "{}: mode {:04o} of the store keeps out the users {} who own state paths; chmod o+x the volume.".format(
                printable(store.path), store.mode, ", ".join(others)
            )
        )
    return warnings


def refuse_hazards(store, path):
    """Refuse a copy that would not be all of it. Raises PathError or StoreError.

    Args:
        store (StoreSeen): the store.
        path (PathSeen): the state path that would be copied.
    """
    for database in path.hazards.databases:
        if database.elsewhere:
            raise PathError(
                database.directory,
                "PostgreSQL keeps part of this database elsewhere, at {}".format(", ".join(map(printable, database.elsewhere))),
                "Name that in cm_persist_paths as well.",
            )
    if path.hazards.databases and store.databases:
        there, here = store.databases[0], path.hazards.databases[0]
        found = "the store has a database of PostgreSQL {} there, which no state path names any more; {} ({}) has none of it"
        raise StoreError(
            there.directory,
            found.format(printable(there.version), printable(here.directory), printable(here.version)),
            "Name its path again, with the image that fits; or move its data over (pg_upgrade, or a dump). To begin without it, "
            "move it away from there.",
        )


def hazard_warnings(path, named):
    """Tell of what will not be found again.

    Args:
        path (PathSeen): a state path.
        named (list of str): all state paths.

    Returns:
        list of str: warnings.

    Raises:
        PathError: naming it does harm.
    """
    own, hazards, warnings = path.spec.path, path.hazards, []
    here = {hazards.host, hazards.host.split(".")[0], "localhost"}
    if hazards.nodes and not any(name.rpartition("@")[2] in here for name in hazards.nodes):
        said = "{}: RabbitMQ has data of {} there, and this host is called {}: under that name it begins with nothing."
        warnings.append(said.format(own, ", ".join(map(printable, hazards.nodes)), printable(hazards.host)))
    if own in (MNESIA, RABBITMQ) and hazards.manager:
        why = "Cloudify Manager removes {} when it configures itself".format(MNESIA)
        if own == MNESIA:
            hint = "Leave it out; or, from 7.0 on, name {} together with {}.".format(RABBITMQ, CONFIGURED)
            raise PathError(own, why + ", and with it the link", hint)
        if CONFIGURED not in named:
            warnings.append("{}: {}; 7.0 keeps it if {} is a state path, too.".format(own, why, CONFIGURED))
    return warnings
