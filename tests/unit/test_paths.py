# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as some

from module_utils.cm_persist.errors import SpecError
from module_utils.cm_persist.paths import StatePath, inside, normalise, parse_paths

REFUSED = {
    "relative": ("/s", ["var/lib"], "var/lib"),
    "dot": ("/s", ["."], "."),
    "empty": ("/s", [""], "''"),
    "root": ("/s", ["/"], "/"),
    "root, spelled at length": ("/s", ["/./"], "/"),
    "dots": ("/s", ["/a/../b"], "/a/../b"),
    "a number": ("/s", [7], "7"),
    "a list": ("/s", [["/a"]], "['/a']"),
    "nothing": ("/s", [None], "None"),
    "no paths": ("/s", [], "/s"),
    "twice": ("/s", ["/a", "/b", "/a/"], "/a"),
    "nested": ("/s", ["/a", "/a/b"], "/a/b"),
    "nested the other way": ("/s", ["/a/b", "/a"], "/a/b"),
    "inside the store": ("/s", ["/s/a"], "/s/a"),
    "around the store": ("/a/s", ["/a"], "/a/s"),
    "the store": ("/s", ["/s/"], "/s"),
    "no path in the entry": ("/s", [{"method": "bind"}], "cm_persist_paths"),
    "an unknown key": ("/s", [{"path": "/a", "mode": "0755"}], "/a"),
    "an unknown method": ("/s", [{"path": "/a", "method": "copy"}], "/a"),
    "an unknown policy": ("/s", [{"path": "/a", "on_image_change": "shrug"}], "/a"),
    "the store relative": ("s", ["/a"], "s"),
    "the store root": ("/", ["/a"], "/"),
    "the store not text": (None, ["/a"], "None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    store, entries, named = REFUSED[case]
    with pytest.raises(SpecError) as refusal:
        parse_paths(store, entries)
    assert refusal.value.path == named and str(refusal.value).startswith(named + ": ")
    assert refusal.value.hint.endswith(".")


def test_a_nul_is_refused():
    with pytest.raises(SpecError):
        parse_paths("/s", ["/a\0b"])


def test_entries_are_paths_or_dictionaries():
    store, specs = parse_paths("//s/", ["/a//b/./", {"path": "/c", "method": "bind"}, {"path": "/d"}], "symlink")
    assert store == "/s"
    assert specs == [StatePath("/a/b"), StatePath("/c", "bind"), StatePath("/d")]


def test_the_method_of_the_module_is_for_entries_that_name_none():
    _store, specs = parse_paths("/s", ["/a", {"path": "/b", "method": "symlink"}], "bind")
    assert [spec.method for spec in specs] == ["bind", "symlink"]


def test_names_that_only_begin_alike_do_not_overlap():
    assert len(parse_paths("/a/b", ["/a/bc", "/a/b-initial", "/a/b.d"])[1]) == 3


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/a", "/a/b", False), ("/a", "/", True)],
)
def test_inside(path, directory, expected):
    assert inside(path, directory) is expected


def test_relative_and_key_hold_any_bytes():
    spec = StatePath("/a/\udce9")
    assert spec.relative == b"a/\xe9" and spec.key == "/a/\udce9"


@given(some.text("ab./\n ", min_size=1).map(lambda text: "/" + text))
def test_a_normalised_path_stays_as_it_is(path):
    try:
        once = normalise(path, "it")
    except SpecError:
        assert ".." in path.split("/")
        return
    assert normalise(once, "it") == once and "//" not in once


@given(some.lists(some.sampled_from(["/a", "/a/b", "/a/b/c", "/b", "/ab"]), min_size=2))
def test_what_is_accepted_overlaps_nowhere(entries):
    overlap = any(
        inside(one, other) for index, one in enumerate(entries) for place, other in enumerate(entries) if place != index
    )
    try:
        parse_paths("/s", entries)
    except SpecError:
        assert overlap
    else:
        assert not overlap


@pytest.mark.parametrize("other", ["/var/data-initial", "/var/data-initial.12"])
def test_where_an_original_would_be_kept_is_no_state_path(other):
    with pytest.raises(SpecError) as refusal:
        parse_paths("/store", ["/var/data", other])
    assert refusal.value.path == other and "/var/data" in refusal.value.found
    assert len(parse_paths("/store", [other])[1]) == 1
