# SPDX-License-Identifier: Apache-2.0
"""One manager per store on machines: the unit that holds the lease, with a stand-in for systemd, and what the unit runs.

A real systemd runs it in the molecule scenario machine.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys

import pytest

from module_utils.cm_persist.errors import CopyError, LinkError
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.lease import lease
from module_utils.cm_persist.lease import unit as lease_unit
from module_utils.cm_persist.seed.steps import Copy
from tests.leases import Container, fails, held_elsewhere
from tests.site import read, run, write
from tests.tree import footprint

pytestmark = pytest.mark.root  # whoever holds a lease is found in /proc, where only root sees everything


class Machine(Systemd):
    """A stand-in for systemd: starting the unit of a lease makes this process hold it, or fails where another does.

    A real one is in the molecule scenario machine.
    """

    def __init__(self, top):
        self.units = os.path.join(top, "units")
        os.mkdir(self.units)
        self.held, self.called = {}, []
        super().__init__(self.units, call=self.act)

    def runs(self):
        return True

    def act(self, command, **_options):
        verb, code = command[1], 0
        self.called.append(verb)
        if verb == "start":
            (line,) = (line for line in read(os.path.join(self.units, command[-1])).splitlines() if line.startswith("ExecStart="))
            path = line.split('"')[-4]
            fd = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.held[command[-1]] = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", lease.PROGRAM, lease.MARK, path], pass_fds=[fd], stdout=subprocess.PIPE
                )
                self.held[command[-1]].stdout.read()
            except BlockingIOError:
                code = 1
            os.close(fd)
        elif verb == "stop" and command[-1] in self.held:
            self.held[command[-1]].kill()
            self.held.pop(command[-1]).wait()
        elif verb == "reenable":
            os.makedirs(os.path.join(self.units, "local-fs.target.wants"), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.symlink("../" + command[-1], os.path.join(self.units, "local-fs.target.wants", command[-1]))
        return subprocess.CompletedProcess(command, code, "", "Job failed.")


@pytest.fixture
def machine(site):
    made = Container(site)
    made.systemd = site.systemd = Machine(site.top)
    yield made
    made.end()


def units_of(machine):
    return [name for name in os.listdir(machine.systemd.units) if name.endswith(".service")]


def test_a_machine_s_lease_is_a_unit_s(machine):
    outcome = machine.start()
    assert "cm_persist-lease.service" in outcome.steps[0] and not machine.is_free()
    (warning,) = outcome.warnings
    assert "Requires=" in warning and "cm_persist-lease.service" in warning
    before = footprint(machine.site.top)
    again = machine.start()
    assert (again.changed, again.warnings) == (False, []) and footprint(machine.site.top) == before


def test_a_machine_is_refused_too_and_nothing_of_its_unit_stays(machine):
    machine.site.seed()
    with held_elsewhere(machine):
        machine.refused("another manager", "manager-0 on node-2")
    assert units_of(machine) == [] and machine.systemd.called[-2:] == ["stop", "daemon-reload"]


def test_a_first_start_that_fails_takes_its_unit_back(machine, monkeypatch):
    monkeypatch.setattr(Copy, "execute", fails)
    with pytest.raises(CopyError):
        machine.start()
    assert units_of(machine) == [] and machine.is_free()


def test_a_later_start_that_fails_leaves_the_unit_alone(machine, monkeypatch):
    machine.start()
    machine.systemd.act(["systemctl", "stop", "cm_persist-lease.service"])
    machine.site.fill("more")
    monkeypatch.setattr(Copy, "execute", fails)
    with pytest.raises(CopyError):
        machine.start(paths=[machine.site.path(), machine.site.path("more")])
    assert units_of(machine) == ["cm_persist-lease.service"] and not machine.is_free()


def test_another_store_on_the_same_machine_is_refused_and_its_way_back_ends_no_lease(machine):
    machine.start()
    other = os.path.join(machine.site.top, "other")
    os.mkdir(other)
    before = footprint(machine.site.top)
    with pytest.raises(LinkError) as refusal:
        machine.start(store=other)
    assert other in str(refusal.value) and "another store" in str(refusal.value) and footprint(machine.site.top) == before
    assert machine.site.link(state="unlinked", store=other).steps == []
    machine.start(store=other, lease=False)
    assert units_of(machine) == ["cm_persist-lease.service"] and not machine.is_free()


def test_turned_off_the_unit_goes(machine):
    machine.start()
    assert "remove the unit" in machine.start(lease=False).steps[0] and units_of(machine) == [] and machine.is_free()


def test_the_unit_goes_when_nothing_leads_into_the_store(machine):
    machine.start()
    machine.site.link()
    assert "remove the unit" in machine.site.link(state="unlinked").steps[-1] and units_of(machine) == [] and machine.is_free()


def test_without_the_store_nobody_knows_what_leads_there_and_the_unit_stays(machine):
    machine.start()
    machine.site.link()
    machine.end()
    os.rename(machine.site.store, machine.site.store + "-lost")
    outcome = machine.site.link(state="unlinked", restore="aside")
    assert units_of(machine) == ["cm_persist-lease.service"]
    assert any("systemctl disable --now cm_persist-lease.service" in warning for warning in outcome.warnings)


def test_a_machine_whose_store_cannot_have_a_lease_is_a_warning(machine, mounts):
    machine.site.seed()
    mounts("--bind", machine.site.store, machine.site.store)
    run("mount", "-o", "remount,bind,ro", machine.site.store)
    outcome = machine.start()
    (warning,) = outcome.warnings
    assert machine.path in warning and not outcome.changed and units_of(machine) == []


class Unit:
    """What the unit of a machine runs, run by the shell that systemd would take."""

    def __init__(self, path, timeout=1):
        command = ["sh", "-c", lease_unit.SCRIPT, lease.MARK, path, "this machine", str(timeout)]
        self.process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.code = self.process.wait()

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def container(site):
    made = Container(site)
    site.seed()
    return made


@pytest.fixture
def unit(container):
    units = []

    def run_it(**options):
        units.append(Unit(container.path, **options))
        return units[-1]

    yield run_it
    for each in units:
        each.end()


def test_the_unit_holds_the_lease_and_says_who_it_is(container, unit):
    write(container.path, "a longer text that was there before, of one that is gone")
    assert unit().code == 0 and not container.is_free()
    assert re.fullmatch(r"this machine since 20[0-9-]{8}T[0-9:]{8}Z", read(container.path))


def test_the_unit_does_not_take_it_from_another(container, unit):
    with held_elsewhere(container, "manager-0\n\x1b[31m" + 1000 * "x"):
        failed = unit()
        assert failed.code == 1
    said = failed.process.stderr.read().rstrip("\n")
    assert "another manager uses the store: manager-0" in said and said.isprintable() and len(said) < 300


@pytest.mark.parametrize("kind", ["link", "fifo", "nothing"])
def test_the_unit_follows_no_link_and_makes_nothing(container, unit, kind):
    precious = os.path.join(container.site.top, "precious")
    write(precious, "mine")
    if kind == "link":
        os.symlink(precious, container.path)
    elif kind == "fifo":
        os.mkfifo(container.path)
    assert unit().code != 0 and read(precious) == "mine" and os.path.lexists(container.path) == (kind != "nothing")


def test_the_unit_does_not_write_to_a_file_that_has_another_name(container, unit):
    precious = os.path.join(container.site.store, "precious")
    write(precious, "mine")
    os.link(precious, container.path)
    assert unit().code == 0 and not container.is_free() and read(precious) == "mine"


def test_the_unit_holds_the_lease_of_a_store_that_it_cannot_write_to(container, unit, mounts):
    write(container.path, "")
    mounts("--bind", container.site.store, container.site.store)
    run("mount", "-o", "remount,bind,ro", container.site.store)
    assert unit().code == 0 and not container.is_free()
