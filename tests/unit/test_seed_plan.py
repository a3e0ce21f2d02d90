# SPDX-License-Identifier: Apache-2.0
"""The plan of seeding: every branch and every refusal, as tables."""

import pytest

from module_utils.cm_persist.errors import PathError, PersistError, StoreError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.fs.node import DIRECTORY, FILE, LINK, NONE, OTHER, Node
from module_utils.cm_persist.original.notes import Aside, PathNotes
from module_utils.cm_persist.paths import StatePath
from module_utils.cm_persist.seed.decide import SeedPolicy
from module_utils.cm_persist.seed.observe import Obstacles, PathSeen, Seen
from module_utils.cm_persist.seed.plan import plan_seed
from module_utils.cm_persist.store.owners import Owners
from module_utils.cm_persist.store.state import Books, StoreSeen, Volume, store_state
from module_utils.cm_persist.text import size
from module_utils.cm_persist.tree.scan import Room, ScanResult
from module_utils.cm_persist.upgrade.image import Image
from module_utils.cm_persist.upgrade.observe import ImageContext

PATH, OTHER_PATH = StatePath("/var/data"), StatePath("/opt/other")
IMAGE = {"id": "one", "name": "manager:1"}
ENTRY = {
    "origin": "seeded", "kind": "directory", "files": 7, "bytes": 70, "manifest": "data-1", "base": None,
    "listed": False, "at": 1, "image": IMAGE, "left": None, "databases": [],
    "seen": IMAGE, "top": {"uid": 0, "gid": 0, "mode": 0},
}  # fmt: skip
NAMES = Accounts({"root": 0, "pg": 26}, {})
CONTEXT = ImageContext(Image("one", "manager:1"), "", False, NAMES, NAMES, [], NAMES)
FULL, EMPTY = Node(DIRECTORY), Node(DIRECTORY, empty=True)
SURVEY = ScanResult(files=3, data=30, space=300, inodes=4, lines=800)
KEPT = (Aside("/var/data-initial", True),)
# What one copy's books take, at first: state directory, lock, lease, staging, manifests, owners, record and the one that replaces
# it; its private directory, pool, manifest and entry; /store/var.
BOOKS = 3 + 5 + 4 + 1
NEEDED = 300 + 800 + BOOKS * 4096


def store(**known):
    """StoreSeen: with these parts, named without the group that they are in."""
    values = dict({"bytes": 10**6, "inodes": 10**3, "owners": Owners(NAMES)}, **known)
    groups = {"books": Books, "volume": Volume, "room": Room}
    parts = {name: kind(**{key: values.pop(key) for key in kind._fields if key in values}) for name, kind in groups.items()}
    return StoreSeen("/store", **parts, **values)


def seen(spec=PATH, original=FULL, stored=Node(), **known):  # noqa: B008 (immutable)
    values = dict({"scan": SURVEY}, **known)
    obstacles = Obstacles(**{key: values.pop(key) for key in Obstacles._fields if key in values})
    notes = PathNotes(removal_begun=values.pop("removal_begun", False), asides=values.pop("asides", ()))
    return PathSeen(spec, original, stored, notes=notes, obstacles=obstacles, **values)


def plan_of(found, *paths, **policy):
    return plan_seed(Seen(found, list(paths), CONTEXT), SeedPolicy(**policy))


def names(plan):
    return [type(step).__name__ for step in plan.steps]


COPY = ["Copy", "Sync", "Publish", "WriteRecord", "RemoveStaging"]
# name: (store, path, result's state, files and bytes in it, steps)
PLANS = {
    "first run": (store(), seen(), "seeded", 3, 30, COPY),
    "a single file": (store(), seen(original=Node(FILE)), "seeded", 3, 30, COPY),
    "an empty original": (store(), seen(original=EMPTY), "seeded", 3, 30, COPY),
    "restart": (store(record={PATH.key: ENTRY}), seen(stored=FULL, entry=ENTRY), "already", 7, 70, []),
    "restart, linked": (
        store(record={PATH.key: ENTRY}), seen(original=Node(LINK, "/store/var/data"), stored=FULL, entry=ENTRY),
        "already", 7, 70, [],
    ),
    "restart, the image has it no longer": (
        store(record={PATH.key: ENTRY}), seen(original=Node(), stored=FULL, entry=ENTRY), "already", 7, 70, [],
    ),
    "a seeded directory that is empty now": (
        store(record={PATH.key: ENTRY}), seen(stored=EMPTY, entry=ENTRY), "already", 7, 70, [],
    ),
    "added later": (store(record={"/else": ENTRY}), seen(), "seeded", 3, 30, COPY),
    "adopted": (store(), seen(stored=FULL), "adopted", 3, 30, ["Adopt", "WriteRecord", "RemoveStaging"]),
    "adopted, already linked": (
        store(), seen(original=Node(LINK, "/store/var/data"), stored=FULL), "adopted", 3, 30,
        ["Adopt", "WriteRecord", "RemoveStaging"],
    ),
    "adopted, not in the image": (
        store(), seen(original=Node(), stored=FULL), "adopted", 3, 30, ["Adopt", "WriteRecord", "RemoveStaging"],
    ),
    "an empty directory in the way": (store(), seen(stored=EMPTY), "seeded", 3, 30, ["RemoveEmpty", *COPY]),
    "an empty directory for an empty one": (
        store(), seen(original=EMPTY, stored=EMPTY), "adopted", 3, 30, ["Adopt", "WriteRecord", "RemoveStaging"],
    ),
    "published, not recorded": (
        store(staging=("data-1",), published={PATH.key: ENTRY}), seen(stored=FULL), "seeded", 7, 70,
        ["RecordPublished", "WriteRecord"],
    ),
    "published, not recorded, and another's leftover": (
        store(staging=("data-1", "other"), published={PATH.key: ENTRY}), seen(stored=FULL), "seeded", 7, 70,
        ["RecordPublished", "WriteRecord"],
    ),
    "leftovers before a copy": (store(staging=("data-1",)), seen(), "seeded", 3, 30, ["ClearStaging", *COPY]),
    "leftovers of a recorded path": (
        store(record={PATH.key: ENTRY}, staging=("data-1",)), seen(stored=FULL, entry=ENTRY), "already", 7, 70,
        ["ClearStaging", "RemoveStaging"],
    ),
    "leftovers on a store that is read-only": (
        store(record={PATH.key: ENTRY}, staging=("data-1",), read_only=True), seen(stored=FULL, entry=ENTRY),
        "already", 7, 70, [],
    ),
    "exactly enough": (store(bytes=NEEDED, inodes=4 + BOOKS), seen(), "seeded", 3, 30, COPY),
    "with the state directory and its lock there already": (
        store(exist=True, inodes=2 + BOOKS), seen(), "seeded", 3, 30, COPY,
    ),
    "an empty staging directory": (store(staging=()), seen(entry=ENTRY, stored=FULL), "already", 7, 70, ["RemoveStaging"]),
    "one on a read-only store": (store(staging=(), read_only=True), seen(entry=ENTRY, stored=FULL), "already", 7, 70, []),
    "inodes that are not counted": (store(inodes=None), seen(), "seeded", 3, 30, COPY),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANS)
def test_plan(case):
    found, path, state, files, size, steps = PLANS[case]
    plan = plan_of(found, path)
    assert list(plan.paths) == [{"path": "/var/data", "state": state, "files": files, "bytes": size, "seconds": 0.0}]
    assert names(plan) == steps and all(step.describe() for step in plan.steps)


# name: (store, path, the path that is named, words of the message)
REFUSALS = {
    "foreign": (store(foreign=("theirs",)), seen(), "/store", ["theirs", "cm_persist_allow_foreign"]),
    "read-only": (store(read_only=True), seen(), "/store", ["read-only", "read-write"]),
    "read-only, to be adopted": (store(read_only=True), seen(stored=FULL), "/store", ["read-only"]),
    "too little space": (store(bytes=NEEDED - 1), seen(), "/store", ["1 byte short: {} needed".format(size(NEEDED))]),
    "too few inodes": (store(inodes=3 + BOOKS), seen(), "/store", ["1 inodes short: {} needed".format(4 + BOOKS)]),
    "too little of both": (store(bytes=0, inodes=0), seen(), "/store", ["kB short", "inodes short"]),
    "a link in the store": (store(), seen(stored=Node(LINK, "/x")), "/store/var/data", ["symbolic link"]),
    "a device in the store": (store(), seen(stored=Node(OTHER)), "/store/var/data", ["special file"]),
    "a file in the store": (store(), seen(stored=Node(FILE)), "/store/var/data", ["file", "directory"]),
    "an empty directory in the store for a file": (
        store(), seen(original=Node(FILE), stored=EMPTY), "/store/var/data", ["directory", "file"],
    ),
    "recorded and gone": (
        store(record={PATH.key: ENTRY}), seen(entry=ENTRY), "/store/var/data", ["7 files", "nothing is there"],
    ),
    "recorded and gone, kept aside": (
        store(record={PATH.key: ENTRY}), seen(original=Node(LINK, "/store/var/data"), entry=ENTRY, asides=KEPT),
        "/store/var/data", ["remove the link", "/var/data-initial"],
    ),
    "recorded, its database is gone": (
        store(record={PATH.key: ENTRY}), seen(stored=FULL, entry=ENTRY, lost_databases=("9.5/data",)),
        "/store/var/data/9.5/data", ["PG_VERSION is gone"],
    ),
    "no longer named, half removed": (
        store(dropped=(("/old", False, "an earlier start has begun to remove it"),)), seen(), "/old", ["no longer names it"],
    ),
    "recorded as another type": (
        store(record={PATH.key: ENTRY}), seen(stored=Node(FILE), entry=ENTRY), "/store/var/data", ["file", "directory"],
    ),
    "around a recorded path": (store(record={"/var/data/sub": ENTRY}), seen(), "/var/data", ["/var/data/sub"]),
    "inside a recorded path": (store(record={"/var": ENTRY}), seen(), "/var/data", ["overlaps /var"]),
    "a link into an emptied store": (
        store(), seen(original=Node(LINK, "/store/var/data"), asides=KEPT), "/var/data",
        ["/store/var/data", "/var/data-initial", "Mount"],
    ),
    "a link into an emptied store, in a container": (
        store(), seen(original=Node(LINK, "/store/var/data")), "/var/data", ["re-create the container"],
    ),
    "a link to elsewhere": (store(), seen(original=Node(LINK, "/else")), "/var/data", ["/else"]),
    "a device": (store(), seen(original=Node(OTHER)), "/var/data", ["neither a directory nor a regular file"]),
    "in neither": (store(), seen(original=Node()), "/var/data", ["cm_persist_missing"]),
    "in neither, but kept aside": (
        store(), seen(original=Node(), asides=KEPT), "/var/data", ["/var/data-initial"],
    ),
    "half removed": (store(), seen(removal_begun=True), "/var/data", ["half or whole"]),
    "wholly removed": (store(), seen(original=Node(), removal_begun=True), "/var/data", ["removed", "Mount that volume"]),
    "immutable itself": (store(), seen(fixed=True), "/var/data", ["immutable", "chattr"]),
    "its place on another mount": (store(), seen(other_mount=True), "/store/var/data", ["another mount"]),
    "an empty directory for a link": (
        store(), seen(original=Node(LINK, "/store/var/data"), stored=EMPTY), "/var/data", ["link into the store"],
    ),
    "a mount in it": (store(), seen(mounts=("/var/data/m",)), "/var/data", ["/var/data/m", "Unmount"]),
    "another's files": (
        store(uid=1000), seen(scan=SURVEY._replace(others="/var/data/x")), "/var/data/x", ["another user", "root"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    found, path, named, words = REFUSALS[case]
    with pytest.raises(PersistError) as refusal:
        plan_of(found, path)
    assert isinstance(refusal.value, (PathError, StoreError)) and refusal.value.path == named
    assert named in str(refusal.value) and refusal.value.hint.endswith(".")
    assert [word for word in words if word not in str(refusal.value)] == []


def test_one_path_that_is_refused_refuses_all():
    with pytest.raises(PathError):
        plan_of(store(), seen(), seen(OTHER_PATH, original=Node()))


def test_all_are_copied_before_the_first_is_published_and_recorded_once():
    plan = plan_of(store(), seen(), seen(OTHER_PATH))
    assert names(plan) == ["Copy", "Copy", "Sync", "Publish", "Publish", "WriteRecord", "RemoveStaging"]


def test_space_is_counted_for_all_together():
    with pytest.raises(StoreError):
        plan_of(store(bytes=NEEDED + 1500), seen(), seen(OTHER_PATH))


def test_missing_can_be_skipped_with_a_warning():
    plan = plan_of(store(), seen(original=Node(), scan=ScanResult()), missing="skip")
    assert plan.steps == [] and plan.paths[0]["state"] == "missing" and "/var/data" in plan.warnings[0]


def test_foreign_can_be_allowed():
    assert names(plan_of(store(foreign=("theirs",)), seen(), allow_foreign=True)) == COPY


# name: (store, path, words of its only warning; None for no warning)
WARNINGS = {
    "none": (store(), seen(), None),
    "an emptyDir": (store(dies_with="an emptyDir"), seen(), ["/store", "an emptyDir"]),
    "an owner that cannot enter": (store(mode=0o750), seen(original=FULL._replace(uid=26)), ["/store", "0750", "26"]),
    "an owner that can": (store(mode=0o751), seen(original=FULL._replace(uid=26)), None),
    "no locks over the network": (store(locks_locally=True), seen(), ["/store", "nolock"]),
    "emptied": (
        store(record={PATH.key: ENTRY}), seen(stored=EMPTY, entry=ENTRY), ["/store/var/data", "empty", "7 files"],
    ),
    "no longer named": (store(dropped=(("/old", False, ""),)), seen(), ["/old", "cm_persist_paths", "at the path"]),
    "no longer named, still linked": (store(dropped=(("/old", True, ""),)), seen(), ["/old", "still leads", "restore.yml"]),
    "adopted": (store(), seen(stored=FULL), ["/store/var/data", "3 files", "complete"]),
    "adopted, lacking": (store(), seen(stored=FULL, lacking=tuple("abcdefg")), ["a, b, c, d, e and 2 more"]),
    "adopted, of another owner": (store(), seen(stored=FULL._replace(uid=1, gid=2)), ["1:2", "0:0"]),
}  # fmt: skip


def test_the_way_to_begin_again_never_removes_content_of_its_own():
    path = seen(entry=ENTRY, asides=KEPT)
    with pytest.raises(StoreError) as failure:
        plan_of(store(record={PATH.key: ENTRY}), path)
    assert "/var/data-initial" not in failure.value.hint


@pytest.mark.parametrize("case", WARNINGS)
def test_warning(case):
    found, path, words = WARNINGS[case]
    warnings = plan_of(found, path).warnings
    assert len(warnings) == (words is not None)
    assert [word for word in words or () if word not in warnings[0]] == []


STATES = {
    "empty": (store(), seen()),
    "foreign": (store(foreign=("x",)), seen()),
    "partial, content": (store(foreign=("x",)), seen(stored=FULL)),
    "partial, leftovers": (store(staging=("x",)), seen()),
    "partial, path added": (store(record={}), seen()),
    "partial, leftovers beside the record": (store(record={PATH.key: ENTRY}, staging=("x",)), seen(stored=FULL, entry=ENTRY)),
    "seeded": (store(record={PATH.key: ENTRY}), seen(stored=FULL, entry=ENTRY)),
    "seeded, a path that nobody has": (store(record={}), seen(original=Node(NONE))),
}


@pytest.mark.parametrize("case", STATES)
def test_state(case):
    found, path = STATES[case]
    assert store_state(found, [path]) == case.split(",")[0]
