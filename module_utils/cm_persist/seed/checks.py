# SPDX-License-Identifier: Apache-2.0
"""What is checked before a store is seeded: room, rights, and what there is to warn of. Pure: no disk is touched."""

from ..errors import PathError, StoreError, printable
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
    foreign = next((path.survey.others for path in copies if path.survey.others), "")
    if foreign:
        raise PathError(foreign, "it belongs to another user, and this process is not root", "Run as root (become: true).")
    # Beside the copies: what names them, and, unless it is there, the state directory with its lock.
    books = sum(BOOKS_OF_A_COPY + path.spec.relative.count(b"/") for path in copies) + BOOKS + (0 if store.begun else 2)
    need_bytes = sum(path.survey.space + path.survey.lines for path in copies) + books * BLOCK
    need_inodes = sum(path.survey.inodes for path in copies) + books
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


def some(names, most=5):
    """str: the first of some names (list of str), and how many more there are."""
    more = "" if len(names) <= most else " and {} more".format(len(names) - most)
    return ", ".join(printable(name) for name in names[:most]) + more
