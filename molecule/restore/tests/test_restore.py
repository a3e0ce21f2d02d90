# SPDX-License-Identifier: Apache-2.0
"""Off the volume, the manager runs on directories of its own, with the data that was written while it was on it."""

from conftest import DATABASE


def test_each_path_is_a_directory_of_the_containers_own(host, declaration):
    for path in declaration.paths:
        assert host.file(path).is_directory and not host.file(path).is_symlink
        assert host.run("findmnt --noheadings --target %s --output TARGET", path).stdout.strip() == "/"


def test_nothing_is_left_beside_them(host, declaration):
    for path in declaration.paths:
        directory, name = path.rsplit("/", 1)
        beside = [other for other in host.check_output("ls -A %s", directory).split() if name in other]
        assert beside == [name]


def test_the_volume_is_gone(host, declaration):
    assert host.file(declaration.store).listdir() == []


def test_postgresql_runs_there(host, data_directory):
    assert host.service("postgresql-9.5").is_running and data_directory() == DATABASE
    directory = host.file(DATABASE)
    assert (directory.user, directory.group, directory.mode) == ("postgres", "postgres", 0o700)


def test_the_data_that_was_written_is_there(manager, query, scratch):
    uploads = sorted(path.name for path in (scratch / "ledger/blueprints").iterdir())
    assert uploads and query("SELECT id FROM blueprints WHERE id LIKE 'upload-%' ORDER BY id") == uploads
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])


def test_it_can_be_written_to(query):
    query("INSERT INTO events (message) VALUES ('off the volume')")
    assert query("SELECT count(*) FROM events") == ["1001"]
    query("DELETE FROM events WHERE message = 'off the volume'")


def test_the_volume_was_left_as_it_was(scratch):
    before, after = (sorted(said(scratch, name)) for name in ("before", "after"))
    assert len(before) > 1000 and before == after


def said(scratch, name):
    return (scratch / "ledger" / name).read_text().splitlines()


def test_the_log_says_what_was_done(scratch, declaration):
    lines = said(scratch, "restored")
    for path in declaration.paths:
        assert "cm_persist: %s: off the store" % path in lines
        assert [line for line in lines if "warning" in line and path in line and "cm_persist_paths" in line]
    assert lines[-1].startswith("cm_persist: off the store, with what it has")


def test_the_plan_was_what_was_done(scratch, declaration):
    plans = [[line for line in said(scratch, name) if line.startswith("cm_persist: + ")] for name in ("rehearsed", "restored")]
    assert plans[0] == plans[1]
    copies = ["cm_persist: + copy %s back to %s" % (declaration.stored(path), path) for path in declaration.paths]
    assert plans[0] == [*copies, "cm_persist: + give up the lease of " + declaration.store]
