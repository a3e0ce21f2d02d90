# SPDX-License-Identifier: Apache-2.0
"""Undo what kubelet does to a volume for an fsGroup: it gives every file the group, and the group all that the owner may
(https://kubernetes.io/docs/tasks/configure-pod-container/security-context/). Exactly that is no change by an application."""

import os
from typing import NamedTuple, Optional, Tuple

from ..errors import StoreError, printable
from ..fs.accounts import Accounts
from ..fs.dirfd import OPEN_DIRECTORY, Opened, open_quietly
from ..fs.node import DIRECTORY, FILE, Node
from ..paths import StatePath
from ..plan import Decision
from ..store.owners import before
from ..store.renumber import Renumber
from ..store.state import StoreSeen
from ..tree.compare import Entry, from_tree, side_by_side
from .base import seeded_entries

WIDENED = {DIRECTORY: 0o2770, FILE: 0o660}
WIDENED_LINES = {b"d": 0o2770, b"f": 0o660}  # the same, by the type in a manifest
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
ROOT, CAPABILITY = b"0", "security.capability"


class RepairWidened(NamedTuple):
    """Give a state path in the store its groups and modes back; mode is that of its top, accounts are the names of owners."""

    spec: StatePath
    store: str
    mode: int
    accounts: Accounts

    def describe(self):
        return "give {}{} the groups and modes back that an fsGroup has widened".format(self.store, printable(self.spec.path))

    def execute(self, run):
        entry = run.record[self.spec.key]
        with run.store.parent_of(self.spec.relative) as tree:
            if entry["manifest"] or entry["base"]:
                self._repair_below(run, entry, tree)
            # The top comes last: its mode tells the next run, if this one is killed, that there is something to do. Its owner is
            # the record's, which has its number in this image by now.
            flags = OPEN_DIRECTORY if entry["kind"] == DIRECTORY else READ
            with Opened(open_quietly(tree[1], flags, tree[0])) as fd:
                os.fchown(fd, entry["top"]["uid"], entry["top"]["gid"])
                os.fchmod(fd, self.mode)
                os.fsync(fd)

    def _repair_below(self, run, entry, tree):
        try:
            for old, own in side_by_side(seeded_entries(run.store, entry), from_tree(*tree, self.accounts)):
                if old is not None and own is not None and old.key and is_widened(old, own):
                    self._repair(old, own)
        except StoreError as error:  # the manifest is lost: a start does not depend on it
            run.warnings.append(str(error))
        run.sync(*tree)

    def _repair(self, old, own):
        group = self.accounts.groups.get(os.fsdecode(old.owner[1]), int(old.fields[3]))
        with Opened(own.open(READ)) as fd:
            capability = own.attribute(CAPABILITY)
            os.fchown(fd, -1, group)
            os.fchmod(fd, int(old.fields[1], 8))
            if capability:  # chown(2) takes it away
                os.setxattr(fd, CAPABILITY, capability)


def is_widened(old: Entry, own: Entry) -> bool:
    """True if nothing but an fsGroup changed the mode and the group of a file: old is as it was seeded, own as it is now."""
    bits = WIDENED_LINES.get(own.fields[0])
    if bits is None or own.fields[0] != old.fields[0] or own.owner[0] != old.owner[0] or own.fields[3] == ROOT:
        return False
    return own.fields[1] != old.fields[1] and int(own.fields[1], 8) == int(old.fields[1], 8) | bits


def unwidened(old: Optional[Entry], own: Optional[Entry]) -> Optional[Entry]:
    """The file as it is now, with the mode and owner that it was seeded with if nothing but an fsGroup changed them."""
    return own.with_owner_and_mode(old) if old is not None and own is not None and is_widened(old, own) else own


def decide_repair(store: StoreSeen, path, top: dict, accounts: Accounts) -> Decision:
    """Undo what an fsGroup did to a state path in the store; path has spec and stored, top is the record's, accounts are the
    image's."""
    spec, stored = path.spec, path.stored
    widened = top["mode"] | WIDENED.get(stored.kind, 0)
    if store.uid or store.volume.read_only or stored.mode == top["mode"] or stored.mode != widened:
        return Decision()
    warning = (
        "{}{}: it had mode {:04o} and group {}, as kubelet's fsGroup leaves it; it gets {:04o} and its own back, and so does "
        "each file in it that is as it was seeded. Say fsGroupChangePolicy: OnRootMismatch, or no fsGroup.".format(
            store.path, printable(spec.path), stored.mode, stored.gid, top["mode"]
        )
    )
    return Decision((RepairWidened(spec, store.path, top["mode"], accounts),), None, (warning,))


def widened_top(stored: Node, original: Node, renumber: Tuple[tuple, ...]) -> Optional[Node]:
    """The original, if the store's copy has its mode as an fsGroup has widened it; with the numbers that its owners have in the
    store before the steps that renumber them."""
    if original.kind != stored.kind or stored.mode != original.mode | WIDENED.get(stored.kind, 0) or stored.mode == original.mode:
        return None
    passes = [step.moves for step in renumber if isinstance(step, Renumber)]
    uid, gid = before(passes, original.uid, original.gid)
    return original._replace(uid=uid, gid=gid)
