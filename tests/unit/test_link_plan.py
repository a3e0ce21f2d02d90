# SPDX-License-Identifier: Apache-2.0
"""The plan of linking: every branch and every refusal, as tables."""

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.fs.node import DIRECTORY, FILE, LINK, OTHER, Node
from module_utils.cm_persist.host.systemd import Unit
from module_utils.cm_persist.link.plan import plan_link
from module_utils.cm_persist.link.seen import AtPath, CopyBackSeen, Evidence, LinkSeen, MountSeen
from module_utils.cm_persist.original.notes import BY_START, BY_UNIT, Aside, PathNotes
from module_utils.cm_persist.original.pristine import Manifest
from module_utils.cm_persist.paths import StatePath
from module_utils.cm_persist.tree.manifest import Difference

PATH, BOUND = StatePath("/var/data"), StatePath("/var/data", "bind")
PLACE, INITIAL, NEXT = "/store/var/data", "/var/data-initial", "/var/data-initial.1"
REAL, LINKED, GONE = Node(DIRECTORY), Node(LINK, PLACE), Node()
OF_IMAGE, OF_SEED = Manifest("/opt/image.manifest", "var/data"), Manifest("/store/manifest")
OTHER_TIME = Difference(b"row", "new or changed")
PARTS = {"at_path": AtPath, "notes": PathNotes, "mount": MountSeen, "evidence": Evidence, "copy_back": CopyBackSeen}
UNIT = Unit("var-data.mount", "text", "local-fs.target", True)
STALE_UNIT = UNIT._replace(current=False)


def seen(current=REAL, stored=REAL, spec=PATH, asides=(), **known):
    """LinkSeen: its fields, and those of the values in it, by their names; asides are paths."""
    known.update(node=current, asides=tuple(Aside(path, True) for path in asides), free_aside=NEXT if asides else INITIAL)
    values = {name: known.pop(name) for name in LinkSeen._fields if name in known}
    for name, kind in PARTS.items():
        values[name] = kind(**{field: known.pop(field) for field in kind._fields if field in known})
    assert not known
    return LinkSeen(spec, stored=stored, **values)


def names(plan):
    return [type(step).__name__ for step in plan.steps]


# name: (path, state, what became of the original, aside, steps)
LINKS = {
    "an original": (seen(), "linked", "kept", INITIAL, ["SetAside", "MakeLink"]),
    "an original as in the image": (seen(proof=OF_IMAGE), "linked", "kept", INITIAL, ["SetAside", "MakeLink"]),
    "a file": (seen(Node(FILE), Node(FILE)), "linked", "kept", INITIAL, ["SetAside", "MakeLink"]),
    "nothing there": (seen(GONE), "linked", "none", None, ["MakeLink"]),
    "nothing there, kept before": (seen(GONE, asides=(INITIAL,)), "linked", "kept", INITIAL, ["MakeLink"]),
    "nothing there, and a note": (seen(GONE, removal_begun=True), "linked", "none", None, ["MakeLink", "Clear"]),
    "linked": (seen(LINKED), "already", "none", None, []),
    "linked, kept": (seen(LINKED, asides=(INITIAL,)), "already", "kept", INITIAL, []),
    "linked, and a note": (seen(LINKED, removal_begun=True), "already", "none", None, ["Clear"]),
    "linked, and leftover_copy": (seen(LINKED, leftover_copy=True), "already", "none", None, ["Clear"]),
    "an original and leftover_copy": (seen(leftover_copy=True), "linked", "kept", INITIAL, ["SetAside", "MakeLink", "Clear"]),
    "nothing there, and leftover_copy": (seen(GONE, leftover_copy=True), "linked", "none", None, ["MakeLink", "Clear"]),
    "linked, its directory read-only": (seen(LINKED, writable=False), "already", "none", None, []),
    "overlayfs, as in the image": (
        seen(overlay=True, proof=OF_IMAGE),
        "linked",
        "discarded",
        None,
        ["Discard", "MakeLink", "Clear"],
    ),
    "overlayfs, a file as in the image": (
        seen(Node(FILE), Node(FILE), overlay=True, proof=OF_IMAGE),
        "linked",
        "discarded",
        None,
        ["Discard", "MakeLink", "Clear"],
    ),
    "overlayfs, as it was seeded": (
        seen(overlay=True, proof=OF_SEED),
        "linked",
        "discarded",
        None,
        ["SetAside", "MakeLink", "Clear"],
    ),
    "overlayfs, a file as it was seeded": (
        seen(Node(FILE), Node(FILE), overlay=True, proof=OF_SEED),
        "linked",
        "kept",
        INITIAL,
        ["SetAside", "MakeLink", "Clear"],
    ),
    "overlayfs, empty": (
        seen(overlay=True, empty=True),
        "linked",
        "discarded",
        None,
        ["SetAside", "MakeLink", "Clear"],
    ),
    "overlayfs, adopted": (seen(overlay=True), "linked", "kept", INITIAL, ["SetAside", "MakeLink", "Clear"]),
    "diverged": (
        seen(asides=(INITIAL,), difference=OTHER_TIME),
        "linked",
        "kept",
        NEXT,
        ["NoteKept", "SetAside", "MakeLink", "ForgetKept"],
    ),
    "its removal interrupted": (seen(removal_begun=True), "linked", "discarded", None, ["FinishRemoval", "MakeLink", "Clear"]),
    "its removal interrupted, kept": (
        seen(removal_begun=True, asides=(INITIAL,)),
        "linked",
        "kept",
        INITIAL,
        ["FinishRemoval", "MakeLink", "Clear"],
    ),
    "linked, and was bound": (seen(LINKED, mounted_by=BY_UNIT), "already", "none", None, ["RemoveUnit", "ForgetMount"]),
    "in neither": (seen(GONE, GONE), "missing", "none", None, []),
    "bind": (seen(spec=BOUND), "linked", "kept", None, ["NoteMount", "Bind"]),
    "bind, nothing there": (seen(GONE, spec=BOUND), "linked", "none", None, ["NoteMount", "MakeMountPoint", "Bind"]),
    "bind, half removed": (
        seen(spec=BOUND, removal_begun=True),
        "linked",
        "discarded",
        None,
        ["NoteMount", "FinishRemoval", "MakeMountPoint", "Bind", "Clear"],
    ),
    "bind, and leftover_copy": (seen(spec=BOUND, leftover_copy=True), "linked", "kept", None, ["NoteMount", "Bind", "Clear"]),
    "bind, below it a mount, bound": (
        seen(spec=BOUND, bound=True, mounted_by=BY_START, others=("/var/data/m",)),
        "already",
        "kept",
        None,
        [],
    ),
    "bound": (seen(spec=BOUND, bound=True, mounted_by=BY_START), "already", "kept", None, []),
    "bound, and a note of a removal": (
        seen(spec=BOUND, bound=True, mounted_by=BY_START, removal_begun=True),
        "already",
        "kept",
        None,
        ["Clear"],
    ),
    "bound, and no note": (seen(spec=BOUND, bound=True), "already", "kept", None, ["NoteMount"]),
    "was bound": (seen(spec=BOUND, mounted_by=BY_START), "linked", "kept", None, ["NoteMount", "Bind"]),
    "bind, systemd runs": (
        seen(spec=BOUND, unit=STALE_UNIT, may_mount=False),
        "linked",
        "kept",
        None,
        ["NoteMount", "BindByUnit"],
    ),
    "bound by a unit": (seen(spec=BOUND, bound=True, mounted_by=BY_UNIT, unit=UNIT), "already", "kept", None, []),
    "bound by a unit that is gone": (
        seen(spec=BOUND, bound=True, mounted_by=BY_UNIT, unit=STALE_UNIT),
        "already",
        "kept",
        None,
        ["BindByUnit"],
    ),
    "bound by a unit, systemd does not run": (
        seen(spec=BOUND, bound=True, mounted_by=BY_UNIT),
        "already",
        "kept",
        None,
        [],
    ),
    "was bound by a unit, a link is wanted": (
        seen(mounted_by=BY_UNIT),
        "linked",
        "kept",
        INITIAL,
        ["RemoveUnit", "SetAside", "MakeLink", "ForgetMount"],
    ),
}


@pytest.mark.parametrize("case", LINKS)
def test_link(case):
    path, state, original, aside, steps = LINKS[case]
    plan = plan_link("/store", [path])
    expected = {"path": "/var/data", "state": state, "method": path.spec.method, "original": original, "aside": aside}
    assert list(plan.paths) == [dict(expected, diverged=case == "diverged")]
    assert names(plan) == steps and all("/var/data" in step.describe() for step in plan.steps)


# name: (path, the path that is named, words)
REFUSALS = {
    "a link to elsewhere": (seen(Node(LINK, "/else")), "/var/data", ["/else"]),
    "a device": (seen(Node(OTHER)), "/var/data", ["special file"]),
    "a link in the store": (seen(stored=Node(LINK, "/x")), PLACE, ["symbolic link"]),
    "a device in the store": (seen(stored=Node(OTHER)), PLACE, ["special file"]),
    "not in the store": (seen(stored=GONE), "/var/data", [PLACE, "persist_seed"]),
    "not in the store, linked": (seen(LINKED, GONE), "/var/data", [PLACE, "Mount", "re-create"]),
    "not in the store, linked and kept": (seen(LINKED, GONE, asides=(INITIAL,)), "/var/data", [PLACE, INITIAL]),
    "another type": (seen(Node(FILE)), "/var/data", ["file", "directory"]),
    "a mount in it": (seen(others=("/var/data/m",)), "/var/data", ["/var/data/m", "Unmount"]),
    "the store's own": (seen(is_store_copy=True), "/var/data", ["store's own", "cm_persist_paths"]),
    "bind, a mount in the store": (
        seen(spec=BOUND, hidden=("/store/var/data/m",)),
        "/var/data",
        ["/store/var/data/m", "symlink"],
    ),
    "bound, a link is wanted": (seen(bound=True), "/var/data", ["bind", "restore.yml"]),
    "linked, bind is wanted": (seen(LINKED, spec=BOUND), "/var/data", ["symbolic link", "restore.yml"]),
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


def test_what_diverged_is_warned_of_with_its_place():
    (warning,) = plan_link("/store", [seen(asides=(INITIAL,), difference=OTHER_TIME)]).warnings
    assert "/var/data" in warning and NEXT in warning and "row" in warning


DIVERGED = {
    "nothing to compare with": (seen(), False),
    "not what was seeded": (seen(difference=OTHER_TIME), True),
    "another original is kept": (seen(asides=(INITIAL,)), True),
    "what was seeded, put there once more": (seen(asides=(INITIAL,), proof=OF_SEED), False),
    "half removed": (seen(removal_begun=True, difference=OTHER_TIME), False),
    "gone, and the original is kept": (seen(GONE, asides=(INITIAL,)), False),
    "gone, and what is kept is not what was seeded": (seen(GONE, asides=(INITIAL,), difference=OTHER_TIME), True),
    "gone, and more than one is kept": (seen(GONE, asides=(INITIAL, NEXT)), True),
    "nobody knows what it was": (seen(compared=True), True),
    "to be mounted over": (seen(spec=BOUND, difference=OTHER_TIME), True),
    "to be mounted over, on overlayfs": (seen(spec=BOUND, difference=OTHER_TIME, overlay=True), True),
    "half removed, and nobody has said what was kept": (seen(removal_begun=True, asides=(INITIAL,), untold=True), True),
    "gone, and nobody has said what was kept": (seen(GONE, asides=(INITIAL,), untold=True), True),
    "to be mounted over, emptied": (seen(spec=BOUND, difference=OTHER_TIME, empty=True), True),
    "to be mounted over, a mount point": (seen(spec=BOUND, difference=OTHER_TIME, empty=True, mounted_by=BY_START), False),
    "linked, and nobody has said what was kept": (seen(LINKED, asides=(INITIAL,), untold=True), True),
    "linked": (seen(LINKED, asides=(INITIAL,)), False),
}


@pytest.mark.parametrize("case", DIVERGED)
def test_what_counts_as_diverged(case):
    path, diverged = DIVERGED[case]
    plan = plan_link("/store", [path])
    assert plan.paths[0]["diverged"] is diverged and bool(plan.warnings) is diverged


def test_what_may_be_newer_is_not_left_where_a_mount_hides_it_unless_that_takes_a_copy():
    plan = plan_link("/store", [seen(spec=BOUND, difference=OTHER_TIME)])
    assert names(plan) == ["NoteMount", "NoteKept", "SetAside", "MakeMountPoint", "Bind", "ForgetKept"]
    assert plan.paths[0]["aside"] == INITIAL
    plan = plan_link("/store", [seen(spec=BOUND, difference=OTHER_TIME, overlay=True)])
    assert names(plan) == ["NoteMount", "NoteKept", "Bind", "ForgetKept"] and "under the mount" in plan.warnings[0]


@pytest.mark.parametrize(
    ("path", "intact"),
    [
        (seen(spec=BOUND), True),
        (seen(spec=BOUND, mounted_by=BY_START), False),
        (seen(GONE, spec=BOUND), False),
        (seen(spec=BOUND, removal_begun=True), False),
        (seen(spec=BOUND, difference=OTHER_TIME), False),
    ],
)
def test_a_mount_that_fails_is_forgotten_only_where_the_original_is_as_it_was(path, intact):
    (bind,) = [step for step in plan_link("/store", [path]).steps if type(step).__name__ == "Bind"]
    assert bind.intact is intact


def test_only_what_the_image_has_is_discarded_without_an_attempt_to_keep_it():
    for proof in (None, OF_SEED, OF_IMAGE):
        for overlay in (False, True):
            plan = plan_link("/store", [seen(proof=proof, overlay=overlay)])
            assert ("Discard" in names(plan)) is (overlay and proof is OF_IMAGE)
            (aside,) = [step for step in plan.steps if type(step).__name__ == "SetAside"] or [None]
            assert aside is None or aside.manifests == ((proof,) if overlay and proof else ())


@pytest.mark.parametrize(
    ("path", "mounted_by"),
    [
        (seen(spec=BOUND), BY_START),
        (seen(spec=BOUND, mounted_by=BY_START), BY_START),
        (seen(spec=BOUND, unit=UNIT), BY_UNIT),
        (seen(spec=BOUND, mounted_by=BY_UNIT), BY_UNIT),
        (seen(spec=BOUND, bound=True), BY_START),
    ],
)
def test_a_unit_stays_noted_until_it_is_removed(path, mounted_by):
    (note,) = [step for step in plan_link("/store", [path]).steps if type(step).__name__ == "NoteMount"]
    assert note.mounted_by == mounted_by


def test_a_copy_aside_says_what_would_spare_it():
    for manifests, word in (((), "Containerfile"), ((OF_SEED,), "seeded"), ((OF_IMAGE, OF_SEED), "image")):
        plan = plan_link("/store", [seen(overlay=True, manifests=manifests)])
        assert word in plan.steps[0].avoid_copy


def test_what_is_in_neither_is_warned_of():
    (warning,) = plan_link("/store", [seen(GONE, GONE)]).warnings
    assert "/var/data" in warning


def test_one_path_that_is_refused_refuses_all():
    with pytest.raises(LinkError):
        plan_link("/store", [seen(), seen(Node(OTHER), spec=StatePath("/opt/other"))])


def test_no_link_is_ever_made_to_what_is_not_there():
    for current in (REAL, LINKED, GONE, Node(FILE), Node(OTHER)):
        try:
            plan = plan_link("/store", [seen(current, GONE)])
        except LinkError:
            continue
        assert not plan.steps
