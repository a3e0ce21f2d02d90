# SPDX-License-Identifier: Apache-2.0
"""After the first start and after a restart in place: each path is a mount of the store, and no start writes a unit."""

from conftest import DATABASE, podman


def test_each_path_is_a_mount_of_the_store(host, declaration):
    for path in declaration.paths:
        assert host.file(path).is_directory and not host.file(path).is_symlink
        (mount,) = [line for line in host.file("/proc/1/mountinfo").content_string.splitlines() if line.split(" ")[4] == path]
        assert mount.split(" ")[3] == path, "what is mounted is the place in the volume that has the same path"


def test_postgresql_runs_there(host, data_directory):
    assert host.service("postgresql-9.5").is_running and data_directory() == DATABASE


def test_nothing_is_in_the_containers_layer(container):
    changed = [line.split(" ", 1)[1] for line in podman("diff", container).stdout.splitlines()]
    assert not [path for path in changed if path.endswith((".mount", "-initial"))]
    assert not [path for path in changed if path.startswith(DATABASE + "/")]


def test_all_that_was_uploaded_is_there(manager, scratch):
    ledger = scratch / "ledger/blueprints"
    uploads = [path.name for path in ledger.iterdir()] if ledger.exists() else []
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])


def test_the_log_says_where_the_original_is(log, declaration):
    for path in declaration.paths:
        (line,) = [line for line in log.splitlines() if line.startswith("cm_persist: %s: " % path)]
        assert line.endswith("linked (bind), original kept under it"), line


def test_another_run_changes_nothing(play):
    assert play("start") == 0
