# SPDX-License-Identifier: Apache-2.0
"""What a copy of a directory alone would not tell: data elsewhere, a database left behind, data named after the host."""

import os
import socket

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.fs.dirfd import Opened
from module_utils.cm_persist.fs.node import Node
from module_utils.cm_persist.host.applications import CONFIGURED, MNESIA, RABBITMQ, Hazards, find_hazards
from module_utils.cm_persist.host.postgresql import find_databases
from module_utils.cm_persist.paths import StatePath
from module_utils.cm_persist.seed.checks import hazard_warnings
from module_utils.cm_persist.seed.observe import PathSeen
from tests.site import Site, run, write

from .test_bad_input import refused


def make_database(site, name="data", version="9.5"):
    """A data directory, as far as its links and its version go; a real one is in the scenarios."""
    top = site.path(name)
    for directory in ("base/1", "pg_tblspc", "pg_xlog"):
        os.makedirs(os.path.join(top, directory))
    for directory in ("", "base/1"):
        write(os.path.join(top, directory, "PG_VERSION"), version + "\n")
    return top


@pytest.fixture
def bare(top):
    return Site(top)


@pytest.mark.parametrize("below", ["", "/main", "/9.5/data", "/pgsql/9.5/data", "/lib/some/where/else/pgsql/9.5/data"])
@pytest.mark.parametrize("link", ["pg_tblspc/16384", "pg_xlog"])
def test_a_database_that_keeps_part_of_it_elsewhere_is_not_seeded_alone(bare, below, link):
    top = make_database(bare, "data" + below)
    os.makedirs(bare.path("fast/space"))
    place = os.path.join(top, link)
    if os.path.isdir(place):
        os.rmdir(place)
    os.symlink(bare.path("fast/space"), place)
    error = refused(bare, bare.seed, top, "elsewhere, at " + bare.path("fast/space"), kind=PathError)
    assert "cm_persist_paths" in error.hint
    assert bare.seed("data", "fast").changed


def databases_in(site, name="data"):
    """list of str: the data directories in a state path."""
    with Opened(os.open(site.image, os.O_RDONLY)) as descriptor:
        return [each.directory for each in find_databases(descriptor, name.encode(), site.path(name))]


def test_databases_at_different_depths_are_all_found(bare):
    names = ["data/a", "data/b/c/d/e", "data/b/f"]
    made = [make_database(bare, name) for name in names]
    assert databases_in(bare) == made, "and none of the databases of a cluster, which have a version of their own each"
    os.symlink("/nowhere", made[1] + "/pg_tblspc/1")
    refused(bare, bare.seed, made[1], "elsewhere, at /nowhere", kind=PathError)


def test_a_search_for_databases_is_at_home_at_any_depth(bare):
    descriptor = os.open(bare.fill(), os.O_RDONLY)
    for _level in range(3000):  # longer than a path can be, and deeper than there may be descriptors
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    with open(os.open("PG_VERSION", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor), "w") as file:
        file.write("9.5")
    os.close(descriptor)
    before = len(os.listdir("/proc/self/fd"))
    assert [len(each) for each in databases_in(bare)] == [len(bare.path()) + 2 * 3000]
    assert len(os.listdir("/proc/self/fd")) == before
    run("rm", "-rf", bare.path())  # Python's own way is not at home there


def test_a_link_within_the_state_paths_is_none(bare):
    top = make_database(bare)
    os.mkdir(top + "/logs")
    os.symlink("../logs", top + "/pg_tblspc/1")
    assert bare.seed().changed


def test_a_database_that_was_seeded_before_starts(bare):
    # Whoever added the tablespace since must not be kept from the rest.
    make_database(bare)
    bare.start()
    os.symlink("/nowhere", bare.stored("data/pg_tblspc/1"))
    assert not bare.seed().changed


def test_a_database_that_no_path_names_any_more_is_not_left_behind(bare):
    make_database(bare, "pgsql/9.5/data")
    bare.seed("pgsql/9.5/data")
    make_database(bare, "pgsql/14/data", version="14")
    error = refused(
        bare, lambda: bare.seed("pgsql/14/data"), bare.stored("pgsql/9.5/data"), "PostgreSQL 9.5", "(14)", kind=StoreError
    )
    assert "pg_upgrade" in error.hint
    assert bare.seed("pgsql/14/data", "pgsql/9.5/data").changed


def test_who_moves_the_old_one_away_begins_anew(bare):
    make_database(bare, "old")
    bare.seed("old")
    make_database(bare, "new", version="14")
    os.rename(bare.stored("old"), bare.store + "/kept")
    assert bare.seed("new").changed


def test_other_state_may_come_and_go(bare):
    make_database(bare, "db")
    bare.fill()
    bare.seed("db", "data")
    bare.fill("more")
    assert bare.seed("more").changed


def nodes(site, *names):
    for name in names:
        os.makedirs(site.path("data/mnesia/" + name))
    return site


def seen(path, **known):
    return PathSeen(StatePath(path), Node(), Node(), hazards=Hazards(**known))


@pytest.mark.parametrize("when", ["first run", "restart"])
def test_data_that_is_named_after_another_host_is_told_of(bare, when):
    nodes(bare, "rabbit@builder", "rabbit@builder-plugins-expand")
    write(bare.path("data/mnesia/rabbit@builder.pid"), "1")
    if when == "restart":
        bare.start()
    warnings = [warning for warning in bare.seed().warnings if "RabbitMQ" in warning]
    assert len(warnings) == 1 and "data of rabbit@builder there" in warnings[0] and socket.gethostname() in warnings[0]


@pytest.mark.parametrize("here", ["localhost", socket.gethostname(), socket.gethostname().split(".")[0]])
def test_data_of_this_host_is_fine(bare, here):
    nodes(bare, "rabbit@" + here, "rabbit@of-a-cluster")
    assert not bare.seed().warnings


def test_the_host_s_short_name_counts():
    assert not hazard_warnings(seen("/x", nodes=("rabbit@manager-0",), host="manager-0.example.org"), ["/x"])


def test_what_the_manager_removes_cannot_be_a_path_of_its_own():
    with pytest.raises(PathError, match="removes /var/lib/rabbitmq/mnesia .* and with it the link"):
        hazard_warnings(seen(MNESIA, manager=True), [MNESIA])


@pytest.mark.parametrize("named, expected", [([RABBITMQ], 1), ([RABBITMQ, CONFIGURED], 0)])
def test_the_manager_s_queue_needs_its_configuration(named, expected):
    assert len(hazard_warnings(seen(RABBITMQ, manager=True), named)) == expected


@pytest.mark.parametrize("path", [MNESIA, RABBITMQ])
def test_without_the_manager_a_queue_is_a_queue(path):
    assert not hazard_warnings(seen(path), [path])


def test_a_manager_is_known_by_its_program(bare, tmp_path):
    descriptor = os.open(bare.image, os.O_RDONLY)
    write(str(tmp_path / "cfy_manager"), "")
    assert find_hazards(descriptor, b"data", manager=str(tmp_path / "cfy_manager")).manager
    assert not find_hazards(descriptor, b"data", manager=str(tmp_path / "nothing")).manager
    os.close(descriptor)
