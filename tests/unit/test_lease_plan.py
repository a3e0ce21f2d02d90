# SPDX-License-Identifier: Apache-2.0
import os
import subprocess

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.lease.lease import (
    BY_NOBODY,
    BY_PROCESS,
    BY_UNIT,
    FREE,
    HELD,
    OURS,
    UNLOCKABLE,
    LeaseRequest,
    LeaseSeen,
    keeper,
)
from module_utils.cm_persist.lease.plan import LeasePlan, decide_steps, plan_giving_up
from module_utils.cm_persist.lease.unit import is_for, lease_unit
from tests.site import listen

WANTED = LeaseRequest(60, "manager-0")
UNIT = lease_unit("/store", "/store/.cm_persist/lease", WANTED, network=False)
CURRENT = UNIT._replace(current=True)
HOLD, REMOVE, END = ["HoldByUnit"], ["RemoveLeaseUnit"], ["EndLease"]

PLANS = {
    "a container": (WANTED, BY_PROCESS, None, FREE, False, []),
    "a container with a unit from when it ran": (WANTED, BY_PROCESS, None, FREE, True, REMOVE),
    "neither container nor systemd": (WANTED, BY_NOBODY, None, FREE, False, []),
    "a machine": (WANTED, BY_UNIT, UNIT, FREE, False, HOLD),
    "a machine, held elsewhere": (WANTED, BY_UNIT, UNIT, HELD, False, HOLD),
    "a machine whose unit is not up": (WANTED, BY_UNIT, CURRENT, FREE, True, HOLD),
    "a machine that holds it": (WANTED, BY_UNIT, CURRENT, OURS, True, []),
    "a machine with an older unit": (WANTED, BY_UNIT, UNIT, OURS, True, HOLD),
    "a running container that holds it": (WANTED, BY_UNIT, UNIT, OURS, False, []),
    "no locks": (WANTED, BY_UNIT, UNIT, UNLOCKABLE, False, []),
    "turned off": (None, "", None, FREE, False, []),
    "turned off on a machine that has it": (None, "", None, FREE, True, REMOVE),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan(case):
    wanted, by, unit, state, installed, expected = PLANS[case]
    steps = decide_steps("/store", LeasePlan(by, wanted, LeaseSeen(state), installed=installed), unit)
    assert [type(step).__name__ for step in steps] == expected and all("/store" in step.describe() for step in steps)


GIVEN_UP = {
    "kept by a process": (OURS, False, False, END),
    "kept by a unit": (OURS, True, False, REMOVE),
    "by a unit that is not up": (FREE, True, False, REMOVE),
    "something still leads there": (OURS, True, True, []),
    "held elsewhere": (HELD, False, False, []),
    "no lease": (FREE, False, False, []),
}


@pytest.mark.parametrize("case", GIVEN_UP)
def test_giving_up(case):
    state, installed, hanging, expected = GIVEN_UP[case]
    steps = plan_giving_up("/store", LeaseSeen(state), installed, [], hanging)
    assert [type(step).__name__ for step in steps] == expected and all("/store" in step.describe() for step in steps)


@pytest.mark.parametrize("case", GIVEN_UP)
def test_what_waits_for_it_goes_first(case):
    state, installed, hanging, expected = GIVEN_UP[case]
    steps = plan_giving_up("/store", LeaseSeen(state), installed, ["/units/db.service.d/cm_persist.conf"], hanging)
    assert [type(step).__name__ for step in steps] == ([] if hanging else ["RemoveDropIns", *expected])
    assert hanging or "db.service.d" in steps[0].describe()


def directives(unit):
    return dict(line.split("=", 1) for line in unit.text.splitlines() if "=" in line and not line.startswith("#"))


def test_the_unit_is_there_before_the_services_and_no_boot_depends_on_it():
    told = directives(UNIT)
    assert told["Before"] == "local-fs.target shutdown.target" and told["RequiresMountsFor"] == '"/store"'
    assert (told["WantedBy"], UNIT.pull, told["TimeoutStartSec"]) == ("local-fs.target", "wants", "90")


def test_over_a_network_it_comes_with_the_network():
    unit = lease_unit("/store", "/store/.cm_persist/lease", WANTED, network=True)
    assert (directives(unit)["WantedBy"], unit.target) == ("remote-fs.target", "remote-fs.target")


@pytest.mark.parametrize("timeout", [0, 0.5])
def test_no_wait_is_a_second_as_old_programs_take_no_zero(timeout):
    unit = lease_unit("/store", "/store/.cm_persist/lease", LeaseRequest(timeout, "x"), network=False)
    assert directives(unit)["ExecStart"].endswith('"x" 1')


@pytest.mark.parametrize("path", ["/store\nExecStart=/bin/sh", "/\udce9"])
def test_what_a_unit_cannot_name_is_refused(path):
    with pytest.raises(LinkError) as refusal:
        lease_unit(path, path + "/.cm_persist/lease", WANTED, network=False)
    assert "cm_persist_lease" in refusal.value.hint


def test_systemd_understands_it(tmp_path):
    # Its own verdict, of a unit whose names hold everything that means something in a unit file.
    if not os.path.exists("/usr/bin/systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine: Debian's package systemd has it")
    holder = 'a "$HOME" \\ 100%h'
    unit = lease_unit("/st ore", "/st ore/.cm_persist/lease", LeaseRequest(60, holder), network=False)
    (tmp_path / unit.name).write_text(unit.text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit.name)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert unit.name not in done.stdout, done.stdout


def test_who_keeps_it(tmp_path):
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").write_text("")
    systemd = Systemd(str(tmp_path), str(tmp_path / "private"))
    assert keeper(systemd, str(tmp_path)) == BY_PROCESS
    (tmp_path / "self/ns/pid").unlink()
    assert keeper(systemd, str(tmp_path)) == BY_PROCESS
    with listen(str(tmp_path / "private")):
        assert keeper(systemd, str(tmp_path)) == (BY_UNIT if os.geteuid() == 0 else BY_NOBODY)


def test_a_unit_is_known_by_its_store():
    assert is_for(UNIT.text, "/store") and not is_for(UNIT.text, "/stor") and not is_for("", "/store")
