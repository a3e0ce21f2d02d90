# SPDX-License-Identifier: Apache-2.0
"""Owners in the store follow their names: a new image may give postgres another number than the image that filled the volume.

<store>/.cm_persist/owners.json says which number each name has in the store. Files change owner in passes:

- No pass gives out a number that it also takes away: an interrupted pass can simply be done again, whatever image comes next. It
  is finished before anything else, exactly as it was noted.
- No pass makes two owners one. Files whose number somebody else gets, and whose own name the image does not know, are parked:
  they get a number that nobody has, in image or store, until an image knows their name again.
- Files of a number that no name has are an owner, too. While they are parked, that number is their name, with a colon before it.
"""

import itertools
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ..errors import StoreError, because
from ..fs.accounts import NAMELESS, Accounts
from ..fs.atomic import INVALID, read_json, write_json

NAME = b"owners.json"
LARGEST = 16 << 20  # bytes
PARKED = 1 << 30  # the first of the numbers that files get while they are parked
ROOT = 0  # root's number is root's everywhere: no file gets it or loses it
KINDS = ("user", "group")

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


class InUse(NamedTuple):
    """The numbers that files in the store have, in their ACLs as well, each with the path of the first such file in the store."""

    users: Dict[int, bytes]
    groups: Dict[int, bytes]


class Parking(NamedTuple):
    """Files that are parked: whose they are ("user" or "group", and a name), the number that they had, the one that they get."""

    kind: str
    name: str
    old: int
    new: int


class Clash(NamedTuple):
    """Two names ("user" or "group") to which the image gives one number, and whose files in the store have two."""

    kind: str
    names: Tuple[str, str]
    number: int


class Changes(NamedTuple):
    """How the store's owners get the numbers of an image.

    passes: in their order, after the one that was started. begin: the names as they are to be noted before them, end: after them.
    split: names that cannot be followed: two names had one number, and the image gives them two. parked: whose
    files are parked. clashes: owners that would become one; nothing must be done then.
    """

    passes: Tuple[Pass, ...]
    begin: Accounts
    end: Accounts
    split: Tuple[str, ...] = ()
    parked: Tuple[Parking, ...] = ()
    clashes: Tuple[Clash, ...] = ()

    @property
    def any(self) -> bool:
        """True if files may have to get another number: then it has to be known which numbers are in use."""
        return bool(self.passes or self.split or self.clashes)


def plan_passes(owners: Owners, accounts: Accounts, in_use: Optional[InUse] = None) -> Changes:
    """How the store's owners get the image's numbers (accounts), once the pass that was started is finished. in_use is as it was
    before that; without it the numbers of all names count as in use."""
    started = owners.started or Pass()
    recorded = after(owners.accounts, started)
    kinds = []
    for kind, names, current, used, pairs in zip(KINDS, recorded, accounts, in_use or (None, None), started):
        moved = dict(pairs)
        used = used if used is None else {moved.get(number, number) for number in used}
        kinds.append(_Kind(kind, names, current, used))
    return Changes(
        tuple(Pass(*pair) for pair in itertools.zip_longest(*(each.passes for each in kinds), fillvalue=())),
        Accounts(*(each.names for each in kinds)),
        Accounts(*(each.at_the_end() for each in kinds)),
        *(tuple(item for each in kinds for item in getattr(each, field)) for field in ("split", "parked", "clashes")),
    )


def after(accounts: Accounts, done: Pass) -> Accounts:
    """The accounts as they are in the store after a Pass."""
    pairs = dict(done.users), dict(done.groups)
    return Accounts(*({name: moved.get(old, old) for name, old in names.items()} for names, moved in zip(accounts, pairs)))


def before(passes: List[Pass], uid: int, gid: int) -> Tuple[int, int]:
    """The numbers of a user and a group that become these in passes."""
    for done in reversed(passes):
        uid, gid = (next((old for old, new in pairs if new == each), each) for pairs, each in zip(done, (uid, gid)))
    return uid, gid


class _Kind:
    """The changes of users, or of groups. names are the record's, current the image's; used: numbers in use, None if unknown."""

    def __init__(self, kind: str, names: Dict[str, int], current: Dict[str, int], used: Optional[Set[int]]):
        self._kind, self._current = kind, current
        self._taken = set(current.values()) - {ROOT}
        self._used = set(names.values()) if used is None else used
        somebodys = self._taken | self._used | set(names.values()) | set(map(_home, names))
        free = (number for number in itertools.count(PARKED) if number not in somebodys)
        # A name without files has nothing to follow, and nothing that could be taken for another's.
        self.names = {name: number for name, number in names.items() if number in self._used or number == ROOT}
        self._name_the_nameless(names)
        holders = {}  # number to the names that it has in the store
        for name in sorted(self.names):
            holders.setdefault(self.names[name], []).append(name)
        holders.pop(ROOT, None)
        targets = self._follow(holders)
        self._find_clashes(targets, holders)
        moves = {old: new for old, new in targets.items() if old != new}
        absent = [number for number in sorted(holders) if number not in targets]
        self.parked = [Parking(kind, holders[old][0], old, next(free)) for old in absent if old in self._taken]
        moves.update((each.old, each.new) for each in self.parked)
        self._go_home(moves)
        self.passes = [] if self.clashes else _in_order(moves, free)
        self._moves = moves

    def at_the_end(self) -> Dict[str, int]:
        """The store's names with the numbers that they have after all passes, and those of the image that it did not know."""
        names = {name: self._moves.get(number, number) for name, number in self.names.items() if name not in self.split}
        names = {name: number for name, number in names.items() if _home(name) != number}
        names = {name: number for name, number in names.items() if number != ROOT or not self._current.get(name)}
        # Not a further name of an owner's number: the files there are his, should a later image part the two.
        new = {name: number for name, number in self._current.items() if name not in names and number not in names.values()}
        return dict(names, **new)

    def _name_the_nameless(self, names):
        # Files of a number that a name gets, which had another one until now: they were never that name's.
        news = {new for name, new in self._current.items() if names.get(name) not in (None, ROOT, new)}
        for number in (self._used & news) - set(names.values()) - {ROOT}:
            self.names[NAMELESS + str(number)] = number

    def _follow(self, holders):
        """The numbers that owners whom the image knows get; as many as names were split off are in self.split."""
        targets, self.split = {}, []
        for number, names in holders.items():
            followed = [name for name in names if self._current.get(name)]
            if followed:
                targets[number] = self._current[followed[0]]
                self.split += [name for name in followed if self._current[name] != targets[number]]
        return targets

    def _find_clashes(self, targets, holders):
        first, self.clashes = {}, []
        for old, new in sorted(targets.items()):
            other = first.setdefault(new, old)
            if other != old:
                names = tuple(next(name for name in holders[each] if self._current.get(name) == new) for each in (other, old))
                self.clashes.append(Clash(self._kind, names, new))

    def _go_home(self, moves):
        """Files that belong to no name get their number back once nobody has it."""
        stay = (set(self.names.values()) | self._used) - set(moves)
        for name, number in list(self.names.items()):
            home = _home(name)
            if home is None or home in self._taken or number in moves or number == home:
                continue
            if home in stay:  # others without a name have it by now
                del self.names[name]
            else:
                moves[number] = home


def _home(name):
    """The number that nameless files had before they were parked, None for a name."""
    return int(name[1:]) if name.startswith(NAMELESS) else None


def _in_order(moves: Dict[int, int], free: Iterator[int]) -> List[Pairs]:
    """The moves in passes, so that no pass gives out a number that is still to be taken away; nobody has the free numbers."""
    passes = []
    while moves:
        ready = {old: new for old, new in moves.items() if new not in moves}
        if ready:
            moves = {old: new for old, new in moves.items() if old not in ready}
        else:  # they exchange numbers: one makes room
            old = min(moves)
            ready = {old: next(free)}
            moves = {ready.get(key, key): new for key, new in moves.items()}
        passes.append(tuple(sorted(ready.items())))
    return passes


def _numbers(names):
    # By their types, as isinstance() takes True for a number.
    if set(map(type, names.values())) - {int} or min(names.values(), default=0) < 0:
        raise ValueError("no numbers")
    if any(name != "{}{}".format(NAMELESS, _home(name)) or _home(name) <= ROOT for name in names if name.startswith(NAMELESS)):
        raise ValueError("no name")
    return dict(names)
