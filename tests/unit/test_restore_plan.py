# SPDX-License-Identifier: Apache-2.0
"""The plan of taking paths off the store: every branch and every refusal, as tables."""

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.fs.node import LINK, Node
from module_utils.cm_persist.link.restore_plan import plan_restore
from module_utils.cm_persist.original.notes import BY_START, BY_UNIT
from module_utils.cm_persist.tree.manifest import Difference
from module_utils.cm_persist.tree.scan import Room, ScanResult

from .test_link_plan import BOUND, GONE, INITIAL, LINKED, NEXT, OF_IMAGE, PLACE, REAL, names, seen

# name: (path, state, what became of the original, aside, steps)
FROM_STORE = {
    "linked": (seen(LINKED), "unlinked", "none", None, ["CopyBack"]),
    "linked, kept": (seen(LINKED, asides=(INITIAL,)), "unlinked", "kept", INITIAL, ["CopyBack"]),
    "cut off": (seen(GONE, asides=(INITIAL,)), "unlinked", "kept", INITIAL, ["CopyBack"]),
    "bound": (
        seen(bound=True, spec=BOUND, mounted_by=BY_START),
        "unlinked",
        "kept",
        INITIAL,
        ["Unmount", "SetAside", "CopyBack"],
    ),
    "bound by a unit": (
        seen(bound=True, spec=BOUND, mounted_by=BY_UNIT),
        "unlinked",
        "kept",
        INITIAL,
        ["Unmount", "SetAside", "RemoveUnit", "CopyBack"],
    ),
    "was bound": (seen(mounted_by=BY_START, spec=BOUND), "unlinked", "kept", INITIAL, ["SetAside", "CopyBack"]),
    "its removal interrupted": (seen(removal_begun=True), "unlinked", "discarded", None, ["FinishRemoval", "CopyBack"]),
    "its removal interrupted, kept": (
        seen(removal_begun=True, asides=(INITIAL,)),
        "unlinked",
        "kept",
        INITIAL,
        ["FinishRemoval", "CopyBack"],
    ),
    "unlinked, and leftover_copy": (seen(leftover_copy=True), "already", "none", None, ["Clear"]),
    "unlinked": (seen(REAL), "already", "none", None, []),
    "unlinked, its directory read-only": (seen(REAL, writable=False), "already", "none", None, []),
    "in neither": (seen(GONE, GONE), "missing", "none", None, []),
}
FROM_ASIDE = {
    "linked": (seen(LINKED, asides=(INITIAL,)), "unlinked", "none", None, ["ReturnAside"]),
    "linked, the store is gone": (seen(LINKED, GONE, asides=(INITIAL,)), "unlinked", "none", None, ["ReturnAside"]),
    "linked, and leftover_copy": (
        seen(LINKED, asides=(INITIAL,), leftover_copy=True),
        "unlinked",
        "none",
        None,
        ["ReturnAside", "Clear"],
    ),
    "cut off": (seen(GONE, asides=(INITIAL,)), "unlinked", "none", None, ["ReturnAside"]),
    "bound": (seen(bound=True, spec=BOUND, mounted_by=BY_START), "unlinked", "none", None, ["Unmount", "ForgetMount"]),
    "bound, and a note of a removal": (
        seen(bound=True, spec=BOUND, mounted_by=BY_START, removal_begun=True, asides=(INITIAL,)),
        "unlinked",
        "none",
        None,
        ["Unmount", "ReturnUncovered", "ForgetMount", "Clear"],
    ),
    "bound by a unit": (
        seen(bound=True, spec=BOUND, mounted_by=BY_UNIT),
        "unlinked",
        "none",
        None,
        ["Unmount", "RemoveUnit", "ForgetMount"],
    ),
    "was bound": (seen(mounted_by=BY_UNIT, spec=BOUND), "unlinked", "none", None, ["RemoveUnit", "ForgetMount"]),
    "bound, and something is kept": (
        seen(bound=True, spec=BOUND, mounted_by=BY_START, asides=(INITIAL,)),
        "unlinked",
        "none",
        None,
        ["Unmount", "ReturnUncovered", "ForgetMount"],
    ),
    "was bound, nothing there": (
        seen(GONE, mounted_by=BY_UNIT, asides=(INITIAL,)),
        "unlinked",
        "none",
        None,
        ["RemoveUnit", "ReturnAside", "ForgetMount"],
    ),
    "half removed, a copy is kept": (
        seen(removal_begun=True, asides=(INITIAL,)),
        "unlinked",
        "none",
        None,
        ["FinishRemoval", "ReturnAside", "Clear"],
    ),
    "removed, a copy is kept": (
        seen(GONE, removal_begun=True, asides=(INITIAL,)),
        "unlinked",
        "none",
        None,
        ["ReturnAside", "Clear"],
    ),
    "unlinked": (seen(REAL, asides=(INITIAL,)), "already", "none", None, []),
}
CASES = [("store", case, *FROM_STORE[case]) for case in FROM_STORE] + [("aside", case, *FROM_ASIDE[case]) for case in FROM_ASIDE]


@pytest.mark.parametrize(("restore", "case", "path", "state", "original", "aside", "steps"), CASES)
def test_restore(restore, case, path, state, original, aside, steps):
    plan = plan_restore("/store", [path], restore)
    assert [plan.paths[0][key] for key in ("state", "original", "aside")] == [state, original, aside]
    assert names(plan) == steps and all("/var/data" in step.describe() for step in plan.steps)
    assert bool(plan.warnings) is (state == "unlinked"), "a warning says that the next start links it again"


REFUSALS = {
    "the store has nothing": ("store", seen(LINKED, GONE), [PLACE, "Mount"]),
    "the store has nothing, kept": ("store", seen(LINKED, GONE, asides=(INITIAL,)), [PLACE, INITIAL]),
    "nothing there, the store has nothing": ("store", seen(GONE, GONE, asides=(INITIAL,)), [PLACE]),
    "not writable": ("store", seen(LINKED, writable=False), ["root"]),
    "no original": ("aside", seen(LINKED), ["image", "Re-create"]),
    "half removed": ("aside", seen(removal_begun=True), ["Re-create"]),
    "a link to another store": ("store", seen(Node(LINK, "/else")), ["/else", "cm_persist_store"]),
    "a mount that is not ours": ("aside", seen(mounted_by=BY_START, others=("/var/data",)), ["/var/data", "Unmount"]),
    "a mount below ours": ("store", seen(bound=True, others=("/var/data/m",)), ["/var/data/m", "Unmount"]),
    "immutable": ("store", seen(LINKED, fixed=True), ["chattr", PLACE]),
    "too little space": ("store", seen(LINKED, scan=ScanResult(space=9999), room=Room(9998)), ["10.0 kB free", "aside"]),
    "too few inodes": ("store", seen(LINKED, scan=ScanResult(inodes=99), room=Room(1 << 40, 98)), ["98 free"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    restore, path, words = REFUSALS[case]
    with pytest.raises(LinkError) as refusal:
        plan_restore("/store", [path], restore)
    assert refusal.value.path in ("/var/data", PLACE) and refusal.value.hint.endswith(".")
    assert [word for word in words if word not in str(refusal.value)] == []


def test_space_is_counted_for_each_file_system():
    def one(device, space):
        return seen(LINKED, scan=ScanResult(space=space), room=Room(1_000_000), device=device)

    assert plan_restore("/store", [one(1, 900_000), one(2, 900_000)], "store").steps
    with pytest.raises(LinkError):
        plan_restore("/store", [one(1, 600_000), one(1, 600_000)], "store")


def test_what_goes_aside_gets_a_free_name():
    path = seen(asides=(INITIAL,), bound=True, spec=BOUND, mounted_by=BY_START)
    plan = plan_restore("/store", [path], "store")
    assert plan.paths[0]["aside"] == NEXT and plan.steps[1].aside == NEXT


@pytest.mark.parametrize("bound", [True, False])
def test_under_a_mount_or_where_one_was_whatever_may_list_the_original_is_asked_when_it_is_done(bound):
    path = seen(bound=bound, spec=BOUND, mounted_by=BY_START, overlay=True, manifests=(OF_IMAGE,))
    (aside,) = [step for step in plan_restore("/store", [path], "store").steps if type(step).__name__ == "SetAside"]
    assert aside.manifests == (OF_IMAGE,)


def test_an_original_that_is_not_what_was_seeded_is_put_back_with_a_warning():
    path = seen(LINKED, asides=(INITIAL,), difference=Difference(b"row", "new or changed"))
    assert any("not what was seeded" in warning for warning in plan_restore("/store", [path], "aside").warnings)
