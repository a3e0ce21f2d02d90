# SPDX-License-Identifier: Apache-2.0
"""After each step: a machine that was moved serves from its volume, the other as before, and neither has lost a row."""

import pytest
from conftest import DATABASE, is_as_expected

SERVICES = ("postgresql-9.5", "cloudify-restservice")
PATHS = 16  # of the profile
DEPENDENT = "exporter"  # named nowhere: it requires the database
UNITS = "/etc/systemd/system"


@pytest.fixture
def name(host):
    return host.backend.name


@pytest.fixture
def moved(scratch, name):
    """Whether this machine is to be on its volume."""
    return (scratch / "ledger" / name).exists()


def test_the_services_are_up(host, manager):
    assert all(host.service(name).is_running for name in (*SERVICES, DEPENDENT))
    assert {"hello-world", "dcae-inventory"} <= set(manager()["blueprints"])


def test_no_row_is_lost_that_the_database_had_taken(host, query):
    # Those first: what is noted later may be newer than what the database is asked for.
    acknowledged = set(host.check_output("cat /var/lib/client/acknowledged").split())
    rows = set(query("SELECT substring(message from 6) FROM events WHERE message LIKE 'tick %'"))
    assert acknowledged and acknowledged <= rows


def test_the_database_works_where_it_should(host, moved):
    pid = host.service("postgresql-9.5").systemd_properties["MainPID"]
    works = host.check_output("readlink /proc/%s/cwd", pid)
    assert works == ("/cfy-persist" + DATABASE if moved else DATABASE)
    assert host.file(DATABASE).is_symlink is moved


def test_the_paths_are_those_of_the_profile(host, moved):
    for path in ("/opt/manager/resources/blueprints", "/opt/manager/rest-security.conf", "/opt/mgmtworker/work/admin_token"):
        assert host.file(path).exists and host.file(path).is_symlink is moved
    assert not host.file("/opt/manager/resources").is_symlink and not host.file("/opt/manager/env").is_symlink


def test_each_service_waits_for_the_volume_and_the_lease(host, moved):
    for name in SERVICES:
        drop_in = host.file("%s/%s.service.d/cm_persist.conf" % (UNITS, name))
        assert drop_in.exists is moved
        needed = host.check_output("systemctl show --property=Requires,After,RequiresMountsFor %s", name)
        assert ("cm_persist-lease.service" in needed) is moved and ("/cfy-persist" in needed) is moved
    assert host.file(UNITS + "/cm_persist-lease.service").exists is moved
    assert host.service("cm_persist-lease").is_running is moved


def test_the_volume_is_mounted_by_fstab(host, moved, scratch, name):
    restored = not moved and (scratch / "ledger").joinpath("cm_persist-vm-2").exists()
    if not restored:  # after restore.yml the volume is still there, for whoever wants it
        assert ("/cfy-persist" in host.file("/etc/fstab").content_string) is moved
        assert host.mount_point("/cfy-persist").exists is moved


def test_what_failed_leaves_nothing_in_the_store(moved, scratch, name):
    if moved or (scratch / "ledger" / "cm_persist-vm-2").exists():
        return
    assert not [path for path in (scratch / name).rglob("*") if path.is_file() and ".cm_persist" not in path.parts]


def test_the_log_of_the_move_says_what_was_done_to_both(scratch):
    log = scratch / "moved.log"
    if log.exists():  # of both machines: a line for each path, and one closing line
        assert is_as_expected(log.read_text().splitlines(), most=2 * (PATHS + 1))


def test_the_database_was_stopped_once_to_be_moved_and_never_again(host, name, moved, scratch):
    journal = host.check_output("journalctl --boot --no-pager --output=cat --unit=postgresql-9.5")
    stops = journal.count("Stopped postgresql-9.5.service")
    if name.endswith("1") and moved:  # the first one goes through all the runs, of which one alone is about it
        rebooted = (scratch / "ledger/rebooted").exists()
        assert stops == (0 if rebooted else 2)  # one for its disk, before
