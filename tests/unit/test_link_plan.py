# SPDX-License-Identifier: Apache-2.0
"""The plan of linking and unlinking: every branch and every refusal, as tables."""

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.link_plan import LinkSeen, plan_link, plan_unlink
from module_utils.cm_persist.places import DIRECTORY, FILE, LINK, OTHER, Place
from module_utils.cm_persist.spec import StatePath

PATH, BOUND = StatePath("/var/data"), StatePath("/var/data", "bind")
PLACE, INITIAL, NEXT = "/store/var/data", "/var/data-initial", "/var/data-initial.1"
REAL, LINKED, GONE = Place(DIRECTORY), Place(LINK, PLACE), Place()


def seen(current=REAL, stored=REAL, spec=PATH, **known):
    return LinkSeen(spec, current, stored, **dict({"free_aside": NEXT if known.get("aside") else INITIAL}, **known))


def names(plan):
    return [type(step).__name__ for step in plan.steps]


# name: (path, state, what became of the original, aside, steps)
LINKS = {
    "an original": (seen(), "linked", "kept", INITIAL, ["SetAside", "MakeLink"]),
    "a file": (seen(Place(FILE), Place(FILE)), "linked", "kept", INITIAL, ["SetAside", "MakeLink"]),
    "nothing there": (seen(GONE), "linked", "none", None, ["MakeLink"]),
    "nothing there, kept before": (seen(GONE, aside=INITIAL), "linked", "kept", INITIAL, ["MakeLink"]),
    "nothing there, and a note": (seen(GONE, removing=True), "linked", "none", None, ["MakeLink", "Clear"]),
    "linked": (seen(LINKED), "already", "none", None, []),
    "linked, kept": (seen(LINKED, aside=INITIAL), "already", "kept", INITIAL, []),
    "linked, and a note": (seen(LINKED, removing=True), "already", "none", None, ["Clear"]),
    "linked, and litter": (seen(LINKED, litter=True), "already", "none", None, ["Clear"]),
    "an original and litter": (seen(litter=True), "linked", "kept", INITIAL, ["SetAside", "MakeLink", "Clear"]),
    "nothing there, and litter": (seen(GONE, litter=True), "linked", "none", None, ["MakeLink", "Clear"]),
    "linked, its directory read-only": (seen(LINKED, writable=False), "already", "none", None, []),
    "on overlayfs": (seen(overlay=True, manifest="m"), "linked", "discarded", None, ["SetAside", "MakeLink", "Clear"]),
    "on overlayfs, adopted": (seen(overlay=True), "linked", "kept", INITIAL, ["SetAside", "MakeLink", "Clear"]),
    "diverged": (seen(aside=INITIAL), "linked", "kept", NEXT, ["SetAside", "MakeLink"]),
    "its removal begun": (seen(removing=True), "linked", "discarded", None, ["FinishRemoval", "MakeLink", "Clear"]),
    "its removal begun, kept": (
        seen(removing=True, aside=INITIAL),
        "linked",
        "kept",
        INITIAL,
        ["FinishRemoval", "MakeLink", "Clear"],
    ),
    "in neither": (seen(GONE, GONE), "missing", "none", None, []),
    "bind": (seen(spec=BOUND), "linked", "kept", None, ["NoteMount", "Bind"]),
    "bind, nothing there": (seen(GONE, spec=BOUND), "linked", "none", None, ["MakeMountPoint", "NoteMount", "Bind"]),
    "bound": (seen(spec=BOUND, bound=True, was_bound=True), "already", "kept", None, []),
    "bound, and no note": (seen(spec=BOUND, bound=True), "already", "kept", None, ["NoteMount"]),
    "was bound": (seen(spec=BOUND, was_bound=True), "linked", "kept", None, ["NoteMount", "Bind"]),
}


@pytest.mark.parametrize("case", LINKS)
def test_link(case):
    path, state, original, aside, steps = LINKS[case]
    plan = plan_link("/store", [path])
    expected = {"path": "/var/data", "state": state, "method": path.spec.method, "original": original, "aside": aside}
    assert plan.paths == [expected]
    assert names(plan) == steps and all("/var/data" in step.describe() for step in plan.steps)


# name: (path, the path that is named, words)
REFUSALS = {
    "a link to elsewhere": (seen(Place(LINK, "/else")), "/var/data", ["/else"]),
    "a device": (seen(Place(OTHER)), "/var/data", ["special file"]),
    "a link in the store": (seen(stored=Place(LINK, "/x")), PLACE, ["symbolic link"]),
    "a device in the store": (seen(stored=Place(OTHER)), PLACE, ["special file"]),
    "not in the store": (seen(stored=GONE), "/var/data", [PLACE, "persist_seed"]),
    "not in the store, linked": (seen(LINKED, GONE), "/var/data", [PLACE, "Mount", "re-create"]),
    "not in the store, linked and kept": (seen(LINKED, GONE, aside=INITIAL), "/var/data", [PLACE, INITIAL]),
    "another type": (seen(Place(FILE)), "/var/data", ["file", "directory"]),
    "a mount in it": (seen(mounts=("/var/data/m",)), "/var/data", ["/var/data/m", "Unmount"]),
    "bound, a link is wanted": (seen(bound=True), "/var/data", ["bind", "unlinked"]),
    "linked, bind is wanted": (seen(LINKED, spec=BOUND), "/var/data", ["symbolic link", "unlinked"]),
    "bind, and no capability": (seen(spec=BOUND, may_mount=False), "/var/data", ["SYS_ADMIN", "symlink"]),
    "not allowed to mount": (seen(spec=BOUND, may_mount=False), "/var/data", ["SYS_ADMIN", "symlink"]),
    "not writable": (seen(writable=False), "/var/data", ["root"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    path, named, words = REFUSALS[case]
    with pytest.raises(LinkError) as refusal:
        plan_link("/store", [path])
    assert refusal.value.path == named and named in str(refusal.value) and refusal.value.hint.endswith(".")
    assert [word for word in words if word not in str(refusal.value)] == []


UNLINKS = {
    "linked": (seen(LINKED), "unlinked", "none", None, ["CopyBack"]),
    "linked, kept": (seen(LINKED, aside=INITIAL), "unlinked", "kept", INITIAL, ["CopyBack"]),
    "cut off": (seen(GONE, aside=INITIAL), "unlinked", "kept", INITIAL, ["CopyBack"]),
    "bound": (seen(bound=True, spec=BOUND), "unlinked", "kept", INITIAL, ["Unbind", "SetAside", "CopyBack"]),
    "was bound": (seen(was_bound=True, spec=BOUND), "unlinked", "kept", INITIAL, ["SetAside", "CopyBack"]),
    "unlinked, and litter": (seen(litter=True), "already", "none", None, ["Clear"]),
    "unlinked": (seen(REAL), "already", "none", None, []),
    "a link to elsewhere": (seen(Place(LINK, "/else")), "already", "none", None, []),
}


@pytest.mark.parametrize("case", UNLINKS)
def test_unlink(case):
    path, state, original, aside, steps = UNLINKS[case]
    plan = plan_unlink("/store", [path])
    assert [plan.paths[0][key] for key in ("state", "original", "aside")] == [state, original, aside]
    assert names(plan) == steps


@pytest.mark.parametrize("path", [seen(LINKED, GONE), seen(GONE, GONE), seen(LINKED, writable=False)])
def test_unlink_refusal(path):
    with pytest.raises(LinkError) as refusal:
        plan_unlink("/store", [path])
    assert refusal.value.path == "/var/data" and refusal.value.hint


def test_what_diverged_is_warned_of_with_its_place():
    (warning,) = plan_link("/store", [seen(aside=INITIAL)]).warnings
    assert "/var/data" in warning and NEXT in warning


def test_what_is_in_neither_is_warned_of():
    (warning,) = plan_link("/store", [seen(GONE, GONE)]).warnings
    assert "/var/data" in warning


def test_one_path_that_is_refused_refuses_all():
    with pytest.raises(LinkError):
        plan_link("/store", [seen(), seen(Place(OTHER), spec=StatePath("/opt/other"))])


def test_no_link_is_ever_made_to_what_is_not_there():
    for current in (REAL, LINKED, GONE, Place(FILE), Place(OTHER)):
        try:
            plan = plan_link("/store", [seen(current, GONE)])
        except LinkError:
            continue
        assert plan.steps == []
