# SPDX-License-Identifier: Apache-2.0
"""What persist_info shows to people, line by line."""

from module_utils.cm_persist.report.table import Report

ASIDES = [
    {"path": "/var/lib/pgsql/9.5/data-initial", "bytes": 5242880, "files": 1000, "why": "the image's original"},
    {"path": "/var/lib/pgsql/9.5/data-initial.1", "bytes": 20, "files": 1, "why": "nothing proves that it is older"},
]


def described(path, **values):
    """dict: of a linked path."""
    made = {"path": path, "state": "linked", "origin": "seeded", "at": 1795521600, "files": 1285, "bytes": 48400000}
    made.update(diverged=False, hidden=3, aside=ASIDES, backups=1, replaced=[], verified=None)
    return dict(made, **values)


STORE = {
    "path": "/cfy-persist", "present": True, "state": "seeded", "source": "/dev/vdb1", "fs_type": "ext4", "dies_with": "",
    "read_only": False, "size_bytes": 10464022528, "free_bytes": 966367641, "free_inodes": 654011, "unclaimed": ["precious"],
    "lease": {"held": True, "here": True, "detail": "manager-0 since 2026-11-24T12:00:00Z"},
}  # fmt: skip
PATHS = [
    described("/var/lib/pgsql/9.5/data"),
    described("/opt/manager/resources", state="own", diverged=True, hidden=None, aside=[], backups=0, bytes=80, files=5),
    described("/opt/mgmtworker/work/deployments", origin="", at=None, files=None, bytes=None, hidden=0, aside=[], backups=0),
]


def test_the_table():
    words = "/opt/manager/resources: it is not as it should be, in many words that do not fit into a line of a hundred. Do this."
    assert Report(STORE, "", "manager:18.9.23", PATHS, [words]).lines(False) == [
        "store     /cfy-persist: seeded, ext4 on /dev/vdb1, 966.4 MB of 10.5 GB free, 654,011 inodes free",
        "lease     held here, manager-0 since 2026-11-24T12:00:00Z",
        "unclaimed precious",
        "image     manager:18.9.23",
        "",
        "PATH                              STATE           FILES     SIZE  SEEDED      HIDDEN   ASIDE  KEPT",
        "/var/lib/pgsql/9.5/data           linked          1,285  48.4 MB  2026-11-24       3  5.2 MB     1",
        "/opt/manager/resources            own (diverged)      5     80 B  2026-11-24       -       -     -",
        "/opt/mgmtworker/work/deployments  linked              -        -  -                0       -     -",
        "",
        "kept      /var/lib/pgsql/9.5/data-initial: 1,000 files, 5.2 MB: the image's original",
        "kept      /var/lib/pgsql/9.5/data-initial.1: 1 file, 20 B: nothing proves that it is older",
        "problem   /opt/manager/resources: it is not as it should be, in many words that do not fit into a",
        "          line of a hundred. Do this.",
    ]


def test_the_table_of_a_comparison():
    counts = {"changed": 1285, "missing": 1000, "added": 20000}
    lines = Report(STORE, "", "", [described(PATHS[2]["path"], verified=counts, aside=[]), dict(PATHS[0], aside=[])], []).lines(
        True
    )
    assert lines[3:] == [
        "",
        "PATH                              STATE   FILES     SIZE  SEEDED      CHANGED  MISSING   ADDED",
        "/opt/mgmtworker/work/deployments  linked  1,285  48.4 MB  2026-11-24    1,285    1,000  20,000",
        "/var/lib/pgsql/9.5/data           linked  1,285  48.4 MB  2026-11-24        -        -       -",
        "",
        "healthy",
    ]


def test_what_a_store_says_of_itself():
    store = dict(STORE, read_only=True, dies_with="a tmpfs", source="", free_inodes=None, unclaimed=[], state=None)
    store.update(lease={"held": False, "here": False, "detail": "No locks available (37)"}, free_bytes=7 * 10**15)
    assert Report(store, "", "", PATHS, []).lines(False)[:3] == [
        "store     /cfy-persist: not known, ext4, 7000.0 TB of 10.5 GB free, read-only, dies with the pod, as",
        "          it is a tmpfs",
        "lease     not held: No locks available (37)",
    ]
    store = dict(STORE, present=False, unclaimed=[])
    lines = Report(store, "no volume is mounted at /cfy-persist", "", PATHS[:1], []).lines(False)
    assert lines[:2] == ["store     /cfy-persist: absent, no volume is mounted at /cfy-persist", ""]


def test_only_long_paths_make_long_lines():
    paths = [dict(path, files=10**6 - 1) for path in PATHS]
    assert max(map(len, Report(STORE, "", "x" * 80, paths, ["/a: " + "word " * 99]).lines(False))) <= 100
    paths = [described("/opt/mgmtworker/work/deployments", verified=dict.fromkeys(("changed", "missing", "added"), 10**6 - 1))]
    assert max(map(len, Report(STORE, "", "", paths, []).lines(True))) <= 100
    assert any("/" + "p" * 99 in line for line in Report(STORE, "", "", [described("/" + "p" * 99)], []).lines(False))
