# SPDX-License-Identifier: Apache-2.0
"""Without a volume the container is what it would be without cm_persist, and says so."""

from conftest import DATABASE, podman


def test_each_path_is_the_images_own(host, declaration):
    for path in declaration.paths:
        assert host.file(path).is_directory
        assert not host.file(path).is_symlink


def test_nothing_is_touched(container, declaration):
    # What the container's own layer holds: lines such as 'C /opt/manager'. PostgreSQL writes to its directory.
    changed = [line.split(" ", 1)[1] for line in podman("diff", container).stdout.splitlines()]
    assert any(path.startswith(DATABASE) for path in changed), "podman diff shows nothing: this test would prove nothing"
    for path in declaration.paths:
        if path != DATABASE:
            assert not [change for change in changed if change.startswith(path)]
    assert not [change for change in changed if change.startswith(declaration.store) or change.endswith("-initial")]


def test_the_manager_runs_on_the_images_data(data_directory, manager):
    assert data_directory() == DATABASE
    assert sorted(manager()["blueprints"]) == ["dcae-inventory", "hello-world"]


def test_the_log_says_that_there_is_no_persistence(log):
    assert "no persistence" in log.lower()
