# SPDX-License-Identifier: Apache-2.0
"""Owners in the store follow their names: an image may give postgres another number than the one that filled the volume did.

What each name's number is in the store is written down in <store>/.cm_persist/owners.json. Files change owner in passes, of which
none gives out a number that it takes away: so one that was interrupted is simply done again, whatever image comes next.
"""

import json
import os
from typing import NamedTuple, Optional, Tuple

from ..errors import StoreError, because
from ..fs.accounts import Accounts
from ..fs.atomic import write_file
from ..fs.dirfd import open_regular

NAME = b"owners.json"
LARGEST = 16 << 20  # bytes
PARKED = 1 << 30  # added to a number that is on its way, where two numbers change places


class Pass(NamedTuple):
    """Numbers of users and of groups, each as pairs of old and new."""

    users: Tuple[Tuple[int, int], ...] = ()
    groups: Tuple[Tuple[int, int], ...] = ()


class Owners(NamedTuple):
    """What the owners in the store are called: accounts; and a Pass that was begun, None for none."""

    accounts: Accounts
    begun: Optional[Pass] = None


def read_owners(state_fd, state_path):
    """Read what the owners in the store are called.

    Args:
        state_fd (int): the open state directory.
        state_path (str): the same for errors.

    Returns:
        Owners; None where nobody wrote it down yet.

    Raises:
        StoreError: it cannot be read.
    """
    path = os.path.join(state_path, os.fsdecode(NAME))
    try:
        with open(open_regular(NAME, state_fd, LARGEST), "rb") as file:
            content = json.loads(file.read().decode("ascii"))
        begun = content["begun"] and Pass(*(_pairs(content["begun"][key]) for key in ("users", "groups")))
        return Owners(Accounts(_numbers(content["users"]), _numbers(content["groups"])), begun or None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = because(error) if isinstance(error, OSError) else "{}: {}".format(type(error).__name__, error)[:300]
        hint = "Move it away: the owners in the store are then taken for what this image calls them."
        raise StoreError(path, "the names of the store's owners cannot be read: {}".format(found), hint) from error


def write_owners(state_fd, owners):
    """Write down, durably, what the owners in the store are called (Owners)."""
    begun = owners.begun and {"users": owners.begun.users, "groups": owners.begun.groups}
    content = {"users": owners.accounts.users, "groups": owners.accounts.groups, "begun": begun}
    write_file(state_fd, NAME, json.dumps(content, sort_keys=True).encode("ascii") + b"\n")


def plan_passes(owners, accounts):
    """Plan how the owners in the store follow an image.

    Args:
        owners (Owners): what is written down.
        accounts (Accounts): the image's.

    Returns:
        tuple: (list of Pass, list of str), and names that cannot be followed, as two of one number parted.
    """
    passes = [owners.begun] if owners.begun else []
    recorded = after(owners.accounts, owners.begun) if owners.begun else owners.accounts
    both, torn = [], []
    for names, current in zip(recorded, accounts):
        moves = {}
        for name in sorted(set(names) & set(current)):
            old, new = names[name], current[name]
            if old in moves and moves[old] != new:
                torn.append(name)
            elif old and new:  # root's number is root's everywhere
                moves[old] = new
        for name in sorted(set(names) - set(current)):  # a number that another gets: its files would be that one's for good
            if names[name] in moves.values() and names[name] not in moves and names[name]:
                moves[names[name]] = names[name] + PARKED
        both.append(_in_order({old: new for old, new in moves.items() if old != new}))
    count = max(map(len, both))
    users, groups = (each + [()] * (count - len(each)) for each in both)
    return passes + [Pass(*pair) for pair in zip(users, groups)], torn


def after(accounts, done):
    """Accounts: as they are in the store after a Pass."""
    pairs = dict(done.users), dict(done.groups)
    return Accounts(*({name: moved.get(old, old) for name, old in names.items()} for names, moved in zip(accounts, pairs)))


def known(recorded, accounts):
    """Accounts: all names, of the store and of the image."""
    return Accounts(*(dict(old, **new) for old, new in zip(recorded, accounts))) if recorded else accounts


def _in_order(moves):
    """list of tuples of pairs: moves (dict of numbers), so that no pass gives out a number that is still to be taken away."""
    passes = []
    while moves:
        ready = {old: new for old, new in moves.items() if new not in moves}
        if ready:
            moves = {old: new for old, new in moves.items() if old not in ready}
        else:  # they change places: one makes room
            old = min(moves)
            ready = {old: old + PARKED}
            moves = {(key + PARKED if key == old else key): new for key, new in moves.items()}
        passes.append(tuple(sorted(ready.items())))
    return passes


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(names):
    if not all(isinstance(name, str) and _is_number(number) for name, number in names.items()):
        raise ValueError("no numbers")
    return dict(names)


def _pairs(pairs):
    return tuple((int(old), int(new)) for old, new in pairs)
