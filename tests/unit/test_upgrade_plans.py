# SPDX-License-Identifier: Apache-2.0
"""What becomes of files, owners and images where versions meet: decided on data alone."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as some

from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.store import owners
from module_utils.cm_persist.store.state import Books, StoreSeen
from module_utils.cm_persist.tree.compare import Entry
from module_utils.cm_persist.upgrade.base import Base
from module_utils.cm_persist.upgrade.image import is_older
from module_utils.cm_persist.upgrade.plan import decide_owners
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


def rows_of_the_page():
    """list of list of str: the cells of the table of merges in docs/how-it-works.md."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "how-it-works.md")
    with open(path) as page:
        table = page.read().split("| base | volume | new image | what the merge does |\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]


@pytest.mark.parametrize("row", rows_of_the_page(), ids=" / ".join)
def test_a_merge_does_what_the_page_says(row):
    base, store, new, done = row
    trees = [{} if cell == "nothing" else {"x": cell[0]} for cell in (base, store, new)]
    kinds = {
        "takes": CHANGE,
        "removes": REMOVE,
        "adds": ADD,
        "leaves": None,
        "keeps": KEEP_BOTH if "next to it" in done else None,
    }
    assert decided(*trees, listed="without a list" not in base).get("x") == kinds[done.split()[0]]


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


def planned(old, new, in_use=None, begun=None):
    """Changes: of users that were called so in the store and are called so in the image; in_use has numbers."""
    used = in_use and owners.InUse(dict.fromkeys(in_use, b"x"), {})
    return owners.plan_passes(owners.Owners(Accounts(old, {}), begun), Accounts(new, {}), used)


@pytest.mark.parametrize("new", list(itertools.permutations([1, 2, 3, 9])))
def test_owners_change_places_in_any_way(new):
    """No pass gives out a number that it takes away: so one that is done again changes nothing more."""
    changes = planned({"a": 1, "b": 2, "c": 3, "d": 4}, dict(zip("abcd", new)))
    assert numbers_after([1, 2, 3, 4, 7], changes.passes) == [*new, 7] and not changes.split
    for moves in changes.passes:
        assert not {number for _old, number in moves.users} & {number for number, _new in moves.users}


def test_a_pass_that_was_begun_comes_first():
    begun = owners.Pass(((1, 2),), ())
    changes = planned({"a": 1}, {"a": 3}, begun=begun)
    assert changes.passes == (owners.Pass(((2, 3),), ()),), "from what it leaves"
    seen = StoreSeen("/store", Books(owners=owners.Owners(Accounts({"a": 1}, {}), begun)))
    steps = decide_owners(seen, Accounts({"a": 3}, {})).steps
    assert [step.moves for step in steps[:2]] == [begun, *changes.passes]


def test_a_pass_that_was_begun_has_given_out_numbers_that_are_in_use():
    begun = owners.Pass(((1, 5),), ())
    changes = planned({"a": 1, "b": 2}, {"a": 2, "b": 5}, [1, 2, 5], begun)
    assert numbers_after([5, 2], changes.passes) == [2, 5]


def test_the_number_of_a_name_that_is_gone_is_not_given_to_another_with_its_files():
    one, two = {"app": 1, "db": 2}, {"app": 2}
    changes = planned(one, two)
    files = numbers_after([1, 2], changes.passes)
    assert files == [2, owners.PARKED] and changes.parked == (owners.Parking("user", "db", 2, owners.PARKED),)
    assert numbers_after(files, planned(changes.end.users, one).passes) == [1, 2]


def test_root_is_root_and_two_names_of_one_number_are_not_parted():
    changes = planned({"root": 0, "a": 1, "b": 1}, {"root": 5, "a": 2, "b": 3})
    assert [moves.users for moves in changes.passes] == [((1, 2),)] and changes.split == ("b",)


def test_who_has_become_root_leaves_his_files():
    changes = planned({"a": 5}, {"a": 0, "new": 5}, [5])
    assert numbers_after([5], changes.passes) == [owners.PARKED] and changes.end.users == {"a": owners.PARKED, "new": 5}
    assert not planned(changes.end.users, {"a": 0, "new": 5}).any
    assert numbers_after([owners.PARKED], planned(changes.end.users, {"a": 5}).passes) == [5]


def test_files_without_a_name_do_not_come_home_to_others():
    parked = {"a": 3, ":1026": owners.PARKED}
    assert numbers_after([owners.PARKED], planned(parked, {"a": 3}, [3, owners.PARKED]).passes) == [1026]
    changes = planned(parked, {"a": 3}, [3, 1026, owners.PARKED])
    assert not changes.passes and changes.end.users == {"a": 3}, "nor are they looked for at each start"


def test_files_without_a_name_stay_where_only_a_new_name_has_their_number():
    """An image that gives a name to a number that a program has used before: the files are that program's."""
    assert not planned({"a": 3}, {"a": 3, "app": 1001}, [3, 1001]).any


NUMBERS = some.sampled_from([0, 1, 2, 3, 4, 5, 6, owners.PARKED, owners.PARKED + 1])
PEOPLE = some.dictionaries(some.sampled_from("abcdefg"), NUMBERS, max_size=7)


def met(names, image, files):
    """(Changes, list of int): what an image brings to a store with these names and numbers of files, each file another owner's;
    and the files' numbers after it."""
    changes = planned(names, image, files)
    noted = changes.begin.users
    for moves in changes.passes:
        assert all(old and new and new not in dict(moves.users) for old, new in moves.users), "root's, or one that it takes away"
        noted = owners.after(Accounts(noted, {}), moves).users
        files = numbers_after(files, [moves])
        assert len(set(files)) == len(files), "two owners have become one"
        rest = planned(noted, image, files).passes  # a run that was killed goes on
        assert len(set(numbers_after(files, rest))) == len(files)
    return changes, files


@given(PEOPLE, some.lists(PEOPLE, min_size=1, max_size=3), some.sets(NUMBERS, min_size=1))
def test_whatever_images_come_no_two_owners_become_one(names, images, files):
    files = sorted(files)
    for image in images:
        before = dict(zip(files, files))
        changes, files = met(names, image, files)
        after = dict(zip(before, files))
        if changes.clashes:
            assert not changes.passes
            (names_of, number), *_more = [(clash.names, clash.number) for clash in changes.clashes]
            assert {image[name] for name in names_of} == {number} and len({names[name] for name in names_of}) == 2
            return
        for number in {number for name, number in names.items() if number and number in before and image.get(name)}:
            assert after[number] == image[min(name for name in names if names[name] == number and image.get(name))]
        names = changes.end.users


@given(PEOPLE, PEOPLE, some.sets(NUMBERS, min_size=1))
def test_the_image_before_gives_all_owners_their_numbers_back(first, second, files):
    files = sorted(files)
    begin, there = met({}, first, files)
    changes, away = met(begin.end.users, second, there)
    if not changes.clashes:
        changes, back = met(changes.end.users, first, away)
        assert back == files and not changes.clashes
        changes, again = met(changes.end.users, first, back)
        assert not changes.any and again == files
        assert planned(changes.end.users, first, again).end == changes.end
