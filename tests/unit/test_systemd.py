# SPDX-License-Identifier: Apache-2.0
"""Mount units without a systemd: what is written, and what is asked of systemctl.

The commands are stand-ins here, but for systemd-escape's answers, which are the real one's. A real systemd mounts by them, and
mounts again after a reboot, in the molecule scenario bind.
"""

import os
import subprocess
from types import SimpleNamespace

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.host.mounts import Mount
from module_utils.cm_persist.host.systemd import Systemd
from tests.site import listen

PATH, PLACE = "/var/lib/pgsql/9.5/data", "/cfy-persist/var/lib/pgsql/9.5/data"
NAME = "var-lib-pgsql-9.5-data.mount"


class Machine:
    """A directory of units, and commands that are written down; enabling makes the link that systemctl would make."""

    def __init__(self, top, fails=()):
        self.units, self.running = os.path.join(top, "units"), os.path.join(top, "private")
        os.mkdir(self.units)
        self.called, self._fails, self.mounts = [], fails, True
        self.systemd = Systemd(self.units, self.running, self.call)

    def call(self, command, **_options):
        self.called.append(" ".join(command))
        if command[1] in self._fails:
            return SimpleNamespace(returncode=1, stdout="", stderr="Job failed.\nSee the journal.\n")
        if command[1] == "reenable":
            wants = os.path.join(self.units, "local-fs.target.requires")
            os.makedirs(wants)
            os.symlink("../" + command[-1], os.path.join(wants, command[-1]))
        return SimpleNamespace(returncode=0, stdout=NAME + "\n" if command[0] == "systemd-escape" else "", stderr="")

    def install(self):
        unit = self.systemd.observe_mount(PATH, PLACE, network=False)
        self.systemd.install(unit, PATH, lambda: self.mounts, "mount it")
        return unit

    def file(self):
        with open(os.path.join(self.units, NAME)) as file:
            return file.read()


@pytest.fixture
def machine(tmp_path):
    return Machine(str(tmp_path))


def test_it_runs_where_its_socket_is(machine):
    assert not machine.systemd.runs()
    with listen(machine.running):
        assert machine.systemd.runs()
    assert os.path.exists(machine.running) and not machine.systemd.runs(), "one that a container's /run has outlived"


def test_a_unit_is_written_reloaded_started_and_then_enabled(machine):
    unit = machine.install()
    assert unit.name == NAME and not unit.current
    assert machine.file() == unit.text and os.stat(os.path.join(machine.units, NAME)).st_mode & 0o777 == 0o644
    assert machine.called[1:] == ["systemctl daemon-reload", "systemctl start " + NAME, "systemctl reenable --quiet " + NAME]
    assert machine.systemd.observe_mount(PATH, PLACE, network=False).current


@pytest.mark.parametrize("lost", ["its link", "its file", "its text"])
def test_a_unit_that_lost_something_is_not_current(machine, lost):
    machine.install()
    if lost == "its text":
        with open(os.path.join(machine.units, NAME), "a") as file:
            file.write("Options=ro\n")
    else:
        os.unlink(os.path.join(machine.units, "local-fs.target.requires" if lost == "its link" else "", NAME))
    assert not machine.systemd.observe_mount(PATH, PLACE, network=False).current


def test_the_text_mounts_that_over_this_and_never_what_is_not_there(machine):
    lines = machine.systemd.observe_mount(PATH, PLACE, network=False).text.splitlines()
    assert {"What=" + PLACE, "Where=" + PATH, "Type=none", "Options=bind", "RequiredBy=local-fs.target"} <= set(lines)
    assert "AssertPathExists=" + PLACE in lines, "systemd makes what is missing, and would mount an empty directory"


def test_over_a_network_it_is_mounted_when_there_is_one(machine):
    lines = machine.systemd.observe_mount(PATH, PLACE, network=True).text.splitlines()
    assert {"Options=bind,_netdev", "RequiredBy=remote-fs.target"} <= set(lines)


def test_percent_signs_are_no_specifiers(machine):
    lines = machine.systemd.observe_mount("/var/100%h", "/store/var/100%h", network=False).text.splitlines()
    assert {"Where=/var/100%%h", "What=/store/var/100%%h"} <= set(lines)


@pytest.mark.parametrize("path", ["/var/a\nExecStart=/bin/sh", "/var/end ", "/var/\udce9", "/var/continued\\"])
def test_a_path_that_a_unit_cannot_name_is_refused(machine, path):
    with pytest.raises(LinkError) as refusal:
        machine.systemd.observe_mount(path, "/store" + path, network=False)
    assert "symlink" in refusal.value.hint and machine.called == []


def test_a_unit_is_disabled_and_removed(machine):
    machine.install()
    del machine.called[:]
    with listen(machine.running):
        machine.systemd.remove(NAME, PATH)
    assert machine.called == ["systemctl disable --quiet " + NAME, "systemctl daemon-reload"]
    assert not os.path.exists(os.path.join(machine.units, NAME))
    machine.systemd.remove(NAME, PATH)  # as after a kill: there is nothing to do


def test_a_unit_of_somebody_else_is_neither_replaced_nor_removed(machine):
    with open(os.path.join(machine.units, NAME), "w") as file:
        file.write("[Mount]\nWhat=/dev/vg/pg\n")
    with pytest.raises(LinkError) as refusal:
        machine.install()
    assert NAME in str(refusal.value) and refusal.value.hint
    machine.systemd.remove(NAME, PATH)
    assert machine.file().startswith("[Mount]") and not [call for call in machine.called if call.startswith("systemctl")]


def test_drop_ins_of_ours_are_removed_and_nothing_else(machine):
    ours, shared, foreign = (os.path.join(machine.units, name + ".service.d") for name in ("ours", "shared", "foreign"))
    for directory in (ours, shared, foreign):
        os.mkdir(directory)
        with open(os.path.join(directory, "cm_persist.conf"), "w") as file:
            file.write("" if directory == foreign else "# Made by cm_persist (playbooks/vm.yml)\n")
            file.write("[Unit]\nAssertPathExists=/store/.cm_persist/record.json\n")
    with open(os.path.join(shared, "other.conf"), "w"):
        pass
    assert machine.systemd.drop_ins("/other") == []
    assert machine.systemd.drop_ins("/store") == [os.path.join(directory, "cm_persist.conf") for directory in (ours, shared)]
    with listen(machine.running):
        machine.systemd.remove_drop_ins("/store")
    assert machine.systemd.drop_ins("/store") == [] and machine.called == ["systemctl daemon-reload"]
    assert not os.path.exists(ours) and os.listdir(shared) == ["other.conf"] and os.listdir(foreign) == ["cm_persist.conf"]


def test_a_unit_that_mounts_something_else_is_no_success_and_does_not_stay(machine):
    machine.mounts = False
    with pytest.raises(LinkError):
        machine.install()
    assert os.listdir(machine.units) == [], "the next boot must not wait for it"


def test_a_link_on_the_way_is_followed_as_systemd_wants_none(machine, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    lines = machine.systemd.observe_mount(str(tmp_path / "link/db"), PLACE, network=False).text.splitlines()
    assert "Where={}".format(tmp_path / "real/db") in lines


@pytest.mark.parametrize("verb", ["daemon-reload", "reenable", "start"])
def test_a_command_that_fails_is_an_error_that_says_why(tmp_path, verb):
    machine = Machine(str(tmp_path), fails=(verb,))
    with pytest.raises(LinkError) as failure:
        machine.install()
    assert verb == "reenable" or os.listdir(machine.units) == [], "the next boot must not wait for it"
    assert verb in str(failure.value) and "Job failed. See the journal." in str(failure.value) and failure.value.path == PATH
    assert "journalctl" in failure.value.hint


def test_a_command_that_is_not_there_is_an_error(tmp_path):
    def missing(*_arguments, **_options):
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(LinkError) as failure:
        Systemd(str(tmp_path), str(tmp_path), missing).name(PATH)
    assert "systemd-escape" in str(failure.value) and "symlink" in failure.value.hint


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (PATH, NAME),
        ("/opt/with blank", r"opt-with\x20blank.mount"),
        ("/.hidden-dash", r"\x2ehidden\x2ddash.mount"),
    ],
)
def test_the_names_are_those_that_systemd_wants(path, name):
    if not os.path.exists("/usr/bin/systemd-escape"):
        pytest.skip("no systemd-escape on this machine: Debian's package systemd has it")
    assert Systemd(call=subprocess.run).name(path) == name


@pytest.mark.parametrize(
    ("fs_type", "before", "network"),
    [("ext4", "local-fs.target umount.target", False), ("ext4", "umount.target remote-fs.target", True), ("nfs4", "", True)],
)
def test_whether_a_store_waits_for_the_network_systemd_knows(fs_type, before, network):
    def answer(command, **_options):
        answered = "srv-state.mount" if command[0] == "systemd-escape" else "Before=" + before
        return SimpleNamespace(returncode=0, stdout=answered + "\n", stderr="")

    mount = Mount(1, "/", "/srv/state", (), fs_type, "/dev/sdb")
    assert Systemd(call=answer).waits_for_network(mount) is network
    assert Systemd(call=answer).waits_for_network(None) is False
