# SPDX-License-Identifier: Apache-2.0
"""What becomes of files, owners and images where versions meet: decided on data alone."""

import itertools

import pytest

from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.store import owners
from module_utils.cm_persist.tree.compare import Entry
from module_utils.cm_persist.upgrade.base import Base
from module_utils.cm_persist.upgrade.image import is_older
from module_utils.cm_persist.upgrade.three_way import ADD, CHANGE, KEEP_BOTH, KEEP_OWN, PART, REMOVE, REPLACE, decide

OLDER = [
    ("manager:1.0", "manager:1.1"), ("manager:1.9", "manager:1.10"), ("r.example:5000/manager:1", "r.example:5000/manager:2"),
    ("manager:18.9.9", "manager:18.10"),
]  # fmt: skip
NOT_OLDER = [
    ("manager:1.1", "manager:1.0"), ("manager:1.0", "manager:1.0"), ("manager:1.0", "other:2.0"), ("manager", "manager:2.0"),
    ("manager:latest", "manager:2.0"), ("manager:1.0", ""), ("", "manager:1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), OLDER)
def test_an_older_version_is_known(one, other):
    assert is_older(one, other) and not is_older(other, one)


@pytest.mark.parametrize(("one", "other"), NOT_OLDER)
def test_what_cannot_be_compared_is_not_older(one, other):
    assert not is_older(one, other)


def entry(path, content):
    """Entry: a file with this content, of a directory if that is "/", of a link if it begins with ">"."""
    kind, target = (b"d", b"-") if content == "/" else (b"l", content.encode()) if content[0] == ">" else (b"f", b"-")
    size = b"%d" % len(content) if kind == b"f" else b"-"
    fields = [kind, b"644", b"0", b"0", size, b"1", path.encode(), target]
    return Entry(fields, path.encode(), (b"root", b"root"), content.encode() if kind == b"f" else b"")


def decided(base, store, new, listed=True):
    """dict: path to what becomes of it; each tree is a dict of path to content; listed: the base is an image's list."""
    trees = [[entry(path, tree[path]) for path in sorted(tree, key=lambda path: path.split("/"))] for tree in (base, store, new)]
    return {action.path.decode(): action.what for action in decide(Base(trees[0], listed), *trees[1:])}


@pytest.mark.parametrize(
    ("base", "store", "new", "what"),
    [
        ("a", "a", "a", None), ("a", "a", "b", CHANGE), ("a", "b", "a", None), ("a", "b", "b", None), ("a", "b", "c", KEEP_BOTH),
        ("a", "a", None, REMOVE), ("a", "b", None, None), ("a", None, "b", None), ("a", None, None, None), (None, None, "a", ADD),
        (None, "a", None, None), (None, "a", "a", None), (None, "a", "b", KEEP_BOTH), ("a", "a", "/", REPLACE),
        ("a", "b", "/", KEEP_BOTH), ("/", "/", "a", KEEP_BOTH), ("/", "a", "b", KEEP_BOTH), (">a", ">a", ">b", CHANGE),
        ("a", ">a", "b", KEEP_BOTH),
    ],
)  # fmt: skip
def test_what_becomes_of_a_file(base, store, new, what):
    trees = [{"x": content} if content else {} for content in (base, store, new)]
    assert decided(*trees).get("x") == what


@pytest.mark.parametrize(
    ("base", "store", "new", "what"),
    [
        ("a", "a", "b", KEEP_BOTH), ("a", "a", None, None), ("a", "a", "/", KEEP_BOTH), ("a", None, "b", None),
        (None, None, "a", ADD), ("a", "b", "c", KEEP_BOTH), ("a", "a", "a", None), ("a", "b", "b", None), ("/", "/", None, None),
    ],
)  # fmt: skip
def test_without_a_list_of_the_image_nothing_is_replaced_or_removed(base, store, new, what):
    trees = [{"x": content} if content else {} for content in (base, store, new)]
    assert decided(*trees, listed=False).get("x") == what


def test_what_is_below_a_directory_that_goes_beside_goes_with_it():
    new = {"x": "/", "x/y": "/", "x/y/z": "new", "xx": "new"}
    assert decided({"x": "a"}, {"x": "b"}, new) == {"x": KEEP_BOTH, "x/y": PART, "x/y/z": PART, "xx": ADD}


def test_what_is_below_a_directory_that_was_deleted_stays_deleted():
    assert decided({"x": "/", "x/y": "a"}, {}, {"x": "/", "x/y": "b", "x/new": "c"}) == {}


def test_where_no_name_is_left_for_the_images_version_the_stores_hides_it():
    name = "x" * 250
    assert decided({name: "a"}, {name: "b"}, {name: "c"}) == {name: KEEP_OWN}
    assert decided({".": "a"}, {".": "b"}, {".": "c"}) == {".": KEEP_OWN}


def numbers_after(files, passes):
    """list of int: the numbers of files' users after all passes, each done twice, as one that was killed at its end is."""
    for moves in passes:
        for _turn in range(2):
            files = [dict(moves.users).get(number, number) for number in files]
    return files


@pytest.mark.parametrize("new", list(itertools.permutations([1, 2, 3, 9])))
def test_owners_change_places_in_any_way(new):
    """No pass gives out a number that it takes away: so one that is done again changes nothing more."""
    old = {"a": 1, "b": 2, "c": 3, "d": 4}
    now = dict(zip("abcd", new))
    passes, torn = owners.plan_passes(owners.Owners(Accounts(old, {})), Accounts(now, {}))
    assert numbers_after([1, 2, 3, 4, 7], passes) == [*new, 7] and not torn
    for moves in passes:
        assert not {number for _old, number in moves.users} & {number for number, _new in moves.users}


def test_a_pass_that_was_begun_comes_first():
    begun = owners.Pass(((1, 2),), ())
    passes, _torn = owners.plan_passes(owners.Owners(Accounts({"a": 1}, {}), begun), Accounts({"a": 3}, {}))
    assert passes == [begun, owners.Pass(((2, 3),), ())]


def test_the_number_of_a_name_that_is_gone_is_not_given_to_another_with_its_files():
    one, two = Accounts({"app": 1, "db": 2}, {}), Accounts({"app": 2}, {})
    passes, _torn = owners.plan_passes(owners.Owners(one), two)
    files = numbers_after([1, 2], passes)
    assert files[0] == 2 and files[1] not in (1, 2)
    recorded = one
    for moves in passes:
        recorded = owners.after(recorded, moves)
    back, _torn = owners.plan_passes(owners.Owners(owners.known(recorded, two)), one)
    assert numbers_after(files, back) == [1, 2]


def test_root_is_root_and_two_names_of_one_number_are_not_parted():
    old = Accounts({"root": 0, "a": 1, "b": 1}, {})
    passes, torn = owners.plan_passes(owners.Owners(old), Accounts({"root": 5, "a": 2, "b": 3}, {}))
    assert [moves.users for moves in passes] == [((1, 2),)] and torn == ["b"]
