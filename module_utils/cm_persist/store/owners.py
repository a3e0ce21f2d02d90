# SPDX-License-Identifier: Apache-2.0
"""Owners in the store follow their names: a new image may give postgres another number than the image that filled the volume.

<store>/.cm_persist/owners.json says which number each name has in the store. Files change owner in passes. No pass gives out a
number that it also takes away: an interrupted pass can simply be done again, whatever image comes next.
"""

import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..errors import StoreError, because
from ..fs.accounts import Accounts
from ..fs.atomic import INVALID, read_json, write_json

NAME = b"owners.json"
LARGEST = 16 << 20  # bytes
PARKED = 1 << 30  # added to a number for a while, where two names exchange their numbers

Pairs = Tuple[Tuple[int, int], ...]  # of old and new numbers


class Pass(NamedTuple):
    """The numbers of users and of groups that change together."""

    users: Pairs = ()
    groups: Pairs = ()


class Owners(NamedTuple):
    """The names of the store's owners, and a Pass that was started, None for none."""

    accounts: Accounts
    started: Optional[Pass] = None


def read_owners(state_fd: int, state_path: str) -> Optional[Owners]:
    """The names of the store's owners, None if nobody wrote them yet. Raises StoreError if they cannot be read."""
    path = os.path.join(state_path, os.fsdecode(NAME))
    try:
        content = read_json(state_fd, NAME, LARGEST)
        begun = content["begun"]
        started = begun and Pass(*(tuple((int(old), int(new)) for old, new in begun[key]) for key in Pass._fields))
        return Owners(Accounts(_numbers(content["users"]), _numbers(content["groups"])), started or None)
    except FileNotFoundError:
        return None
    except INVALID as error:
        found = because(error) if isinstance(error, OSError) else "{}: {}".format(type(error).__name__, error)[:300]
        hint = "Move it away: the owners in the store are then taken for what this image calls them."
        raise StoreError(path, "the names of the store's owners cannot be read: {}".format(found), hint) from error


def write_owners(state_fd: int, owners: Owners):
    """Write the names of the store's owners, durably."""
    write_json(state_fd, NAME, dict(owners.accounts._asdict(), begun=owners.started and owners.started._asdict()))


def plan_passes(owners: Owners, accounts: Accounts) -> Tuple[List[Pass], List[str]]:
    """The passes by which the store's owners get the image's numbers (accounts), the started one first. Also the names that
    cannot be followed: two names had one number, and the image gives them two."""
    passes = [owners.started] if owners.started else []
    recorded = after(owners.accounts, owners.started) if owners.started else owners.accounts
    (users, split_users), (groups, split_groups) = (_passes_of(names, current) for names, current in zip(recorded, accounts))
    count = max(len(users), len(groups))
    pairs = zip(*(each + [()] * (count - len(each)) for each in (users, groups)))
    return passes + [Pass(*pair) for pair in pairs], split_users + split_groups


def after(accounts: Accounts, done: Pass) -> Accounts:
    """The accounts as they are in the store after a Pass."""
    pairs = dict(done.users), dict(done.groups)
    return Accounts(*({name: moved.get(old, old) for name, old in names.items()} for names, moved in zip(accounts, pairs)))


def known(recorded: Optional[Accounts], accounts: Accounts) -> Accounts:
    """All names, of the store and of the image, with the image's numbers."""
    return Accounts(*(dict(old, **new) for old, new in zip(recorded, accounts))) if recorded else accounts


def _passes_of(names: Dict[str, int], current: Dict[str, int]):
    moves, split = {}, []
    for name in sorted(set(names) & set(current)):
        old, new = names[name], current[name]
        if old in moves and moves[old] != new:
            split.append(name)
        elif old and new:  # root's number is root's everywhere
            moves[old] = new
    for name in sorted(set(names) - set(current)):
        # A number that another name gets: these files would be that name's for good.
        if names[name] in moves.values() and names[name] not in moves and names[name]:
            moves[names[name]] = names[name] + PARKED
    return _in_order({old: new for old, new in moves.items() if old != new}), split


def _in_order(moves: Dict[int, int]) -> List[Pairs]:
    """The moves in passes, so that no pass gives out a number that is still to be taken away."""
    passes = []
    while moves:
        ready = {old: new for old, new in moves.items() if new not in moves}
        if ready:
            moves = {old: new for old, new in moves.items() if old not in ready}
        else:  # they exchange numbers: one makes room
            old = min(moves)
            ready = {old: old + PARKED}
            moves = {(key + PARKED if key == old else key): new for key, new in moves.items()}
        passes.append(tuple(sorted(ready.items())))
    return passes


def _numbers(names):
    # By their types, as isinstance() takes True for a number.
    if set(map(type, names.values())) - {int} or min(names.values(), default=0) < 0:
        raise ValueError("no numbers")
    return dict(names)
