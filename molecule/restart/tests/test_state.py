# SPDX-License-Identifier: Apache-2.0
"""After each restart: all that was ever uploaded is there, each path is a link, the store's records are untouched."""

import os

import pytest


@pytest.fixture
def uploads(scratch):
    """What the side effects put into the manager so far."""
    found = sorted(path.name for path in (scratch / "ledger/blueprints").iterdir())
    assert found
    return found


def test_every_row_is_there(query, uploads):
    assert query("SELECT id FROM blueprints WHERE id LIKE 'upload-%' ORDER BY id") == uploads


def test_the_images_rows_are_there(query):
    assert query("SELECT count(*) FROM events") == ["1000"]


def test_the_manager_serves_every_upload(manager, uploads):
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])


def test_each_path_is_a_link_into_the_store(host, declaration):
    for path in declaration.paths:
        assert host.file(path).is_symlink, path
        assert host.file(path).linked_to == declaration.stored(path)


def test_the_log_says_that_nothing_was_copied(log, declaration):
    lines = log.splitlines()
    for path in declaration.paths:
        assert [line for line in lines if line.startswith("cm_persist: %s: already in the store" % path)], log
    assert "seeded," not in log


def test_no_restart_touches_the_stores_records(scratch):
    # But for the lease, which has the name of its holder, and no more.
    now = os.popen("find %s/volume/.cm_persist -printf '%%P %%T@ %%C@\\n'" % scratch).read()
    times = [sorted(text.splitlines()) for text in (now, (scratch / "ledger/times").read_text())]
    records = [[line for line in lines if not line.startswith("lease ")] for lines in times]
    assert records[0] == records[1] and [len(lines) for lines in times] == 2 * [len(records[0]) + 1]


def test_another_run_changes_nothing(play):
    assert play("start") == 0
