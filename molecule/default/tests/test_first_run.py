# SPDX-License-Identifier: Apache-2.0
"""After the first start with a fresh volume: the state is in the store, the manager runs on it, all is as in the image."""

from conftest import DATABASE


def quiet(declaration):
    """The state paths in which no program writes while the tests look."""
    return [path for path in declaration.paths if path != DATABASE]


def test_each_path_is_a_link_into_the_store(host, declaration):
    for path in declaration.paths:
        assert host.file(path).is_symlink, path
        assert host.file(path).linked_to == declaration.stored(path)


def test_the_store_holds_what_the_image_holds(declaration, originals, list_in):
    for path in quiet(declaration):
        stored = declaration.stored(path)
        assert list_in(stored)[stored] == originals[path]


def test_the_database_directory_is_as_postgresql_wants_it(host, declaration):
    directory = host.file(declaration.stored(DATABASE))
    assert (directory.user, directory.group, directory.mode) == ("postgres", "postgres", 0o700)


def test_postgresql_runs_on_the_store(host, declaration, data_directory):
    assert host.service("postgresql-9.5").is_running
    assert data_directory() == declaration.stored(DATABASE)


def test_the_manager_has_what_the_image_had(manager, query):
    assert sorted(manager()["blueprints"]) == ["dcae-inventory", "hello-world"]
    assert query("SELECT count(*) FROM events") == ["1000"]


def test_lost_and_found_is_left_alone(host, declaration):
    assert host.file(declaration.store + "/lost+found").is_directory


def test_the_log_names_each_path(log, declaration):
    for path in declaration.paths:
        assert path in log


def test_a_second_run_changes_nothing(declaration, list_in, play):
    watched = [declaration.store + "/.cm_persist"] + [declaration.stored(path) for path in quiet(declaration)]
    before = list_in(*watched)
    assert play("start") == 0
    assert list_in(*watched) == before
