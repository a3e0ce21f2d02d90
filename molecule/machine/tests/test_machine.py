# SPDX-License-Identifier: Apache-2.0
"""After the units were made and after each reboot: they are active, and the manager runs on the volume."""

import json
import time

import pytest
from conftest import DATABASE, IMAGE, podman

PLAY = "ANSIBLE_STDOUT_CALLBACK=default /opt/cm_persist/container/play start --diff \
-e cm_persist_method=bind -e cm_persist_lease_timeout=3"


@pytest.fixture
def units(host, declaration):
    """State path to its unit's name."""
    return {path: host.check_output("systemd-escape --path --suffix=mount %s", path) for path in declaration.paths}


def test_each_path_is_mounted_by_its_unit(host, declaration, units):
    for path, unit in units.items():
        found = host.check_output("systemctl show --property=ActiveState,UnitFileState,Where %s", unit).splitlines()
        assert {"ActiveState=active", "UnitFileState=enabled", "Where=" + path} == set(found)
        mounted = json.loads(host.check_output("findmnt --json --mountpoint %s", path))["filesystems"]
        assert len(mounted) == 1 and mounted[0]["source"].endswith("[%s]" % path), mounted


def test_the_services_wait_for_it(host, units):
    for unit in units.values():
        assert "local-fs.target" in host.check_output("systemctl show --property=RequiredBy --value %s", unit).split()


def test_postgresql_runs_on_the_volume(host, data_directory):
    assert host.service("postgresql-9.5").is_running and data_directory() == DATABASE


def test_all_that_was_uploaded_is_there(manager, scratch):
    uploads = [path.name for path in (scratch / "ledger/blueprints").iterdir()]
    assert uploads and {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])


def test_another_run_changes_nothing(host):
    done = host.run(PLAY)
    assert done.rc == 0 and "changed=0" in done.stdout, done.stdout


def test_a_unit_that_was_lost_is_made_again(host, units):
    unit = "/etc/systemd/system/" + units[DATABASE]
    text = host.file(unit).content_string
    host.check_output("rm %s", unit)
    done = host.run(PLAY)
    assert done.rc == 0 and "changed=1" in done.stdout, done.stdout
    assert host.file(unit).content_string == text and host.service("postgresql-9.5").is_running
    assert "changed=0" in host.run(PLAY).stdout


def test_a_unit_holds_the_lease(host, container, declaration, scratch):
    unit = host.service("cm_persist-lease")
    assert unit.is_running and unit.is_enabled
    assert host.file(declaration.store + "/.cm_persist/lease").content_string.startswith(
        host.check_output("hostname") + " since "
    )
    options = ["--volume=%s:%s" % (scratch / "volume", declaration.store), "--env=CM_PERSIST_VARS=cm_persist_lease_timeout: 1"]
    other = podman("run", "--rm", *options, IMAGE, "true")
    assert other.returncode != 0 and "another manager uses this store, " + host.check_output("hostname") in other.stdout


def test_a_holder_that_was_killed_is_replaced(host):
    def holder():
        return host.check_output("systemctl show --property=ActiveState,MainPID --value cm_persist-lease").split()

    pid, _active = sorted(holder())
    host.check_output("kill -KILL %s", pid)
    deadline = time.monotonic() + 30
    while "active" not in holder() or {pid, "0"} & set(holder()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
