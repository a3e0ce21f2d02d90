# SPDX-License-Identifier: Apache-2.0
"""The labels as a plan: SELinux cannot be enabled on the machine of these tests, so its files and programs are stood in for."""

import subprocess
from types import SimpleNamespace

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.host.mounts import Mount
from module_utils.cm_persist.host.selinux import Labels, Selinux, plan_labels

STORE = "/cfy-persist"
EQUATE = "semanage fcontext --add --equal / /cfy-persist"
RELABEL = "restorecon -R -- /cfy-persist/opt /cfy-persist/var; restorecon -- /cfy-persist"
NEW = Labels(enabled=True, held=True)
DONE = Labels(enabled=True, held=True, equal=True, done=True)


def plan(labels, filled=False, read_only=False):
    decision = plan_labels(STORE, labels, ["var", "opt", "opt"], filled, read_only)
    return [step.describe() for step in decision.steps], list(decision.warnings)


@pytest.mark.parametrize(
    "labels, filled, read_only, steps",
    [
        (Labels(), True, False, []),  # not enabled: whatever else was seen
        (NEW, True, False, [EQUATE, RELABEL]),
        (NEW, False, False, [EQUATE, RELABEL]),  # the volume of another machine
        (DONE, True, False, [RELABEL]),
        (DONE, False, False, []),  # a restart
        (DONE._replace(done=False), False, False, [RELABEL]),  # killed between the two
        (NEW, False, True, [EQUATE]),
        (DONE._replace(done=False), False, True, []),
        (DONE._replace(lacking=("semanage",)), False, False, []),  # what is not needed may be missing
    ],
)
def test_what_is_done(labels, filled, read_only, steps):
    assert plan(labels, filled, read_only) == (steps, [])


def test_a_file_system_without_labels_is_told_of():
    steps, (text,) = plan(NEW._replace(held=False), filled=True)
    assert not steps and STORE in text and "context=" in text


def test_one_label_for_all_is_somebodys_choice():
    assert plan(NEW._replace(held=False, fixed=True), filled=True) == ([], [])


def test_a_program_that_is_missing_is_told_before_anything_is_done():
    with pytest.raises(StoreError) as refusal:
        plan(NEW._replace(lacking=("semanage", "restorecon")), filled=True)
    assert "semanage and restorecon is not installed" in str(refusal.value) and "policycoreutils" in refusal.value.hint


def test_a_store_without_paths_is_labelled_alone():
    (step,) = plan_labels(STORE, DONE, [], filled=True, read_only=False).steps
    assert step.commands == (("restorecon", "--", STORE),)


@pytest.fixture
def machine(tmp_path):
    """A machine on which SELinux is enabled, as far as files tell."""
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/enforce").write_text("1")
    rules = tmp_path / "etc/mls/contexts/files"
    rules.mkdir(parents=True)
    (tmp_path / "etc/config").write_text("# a comment\nSELINUX=enforcing\nSELINUXTYPE=mls\n")
    return SimpleNamespace(fs=tmp_path / "fs", etc=tmp_path / "etc", rules=rules / "file_contexts.subs", labels={}, ran=[])


def selinux(machine, code=0, programs=("semanage", "restorecon")):
    def run(command, **options):
        machine.ran.append(command)
        assert options["env"]["PATH"].endswith(":/usr/sbin:/sbin")
        return subprocess.CompletedProcess(command, code, stdout="ValueError: no\n")

    def getxattr(path, name):
        assert name == "security.selinux"
        if path not in machine.labels:
            raise OSError(95, "Operation not supported")
        return machine.labels[path]

    def which(program, path):
        assert path.endswith(":/usr/sbin:/sbin")
        return program if program in programs else None

    return Selinux(str(machine.fs), str(machine.etc), run, which, getxattr)


def mount(*options):
    return Mount(1, "/", STORE, options, "ext4", "/dev/vdb")


def test_a_new_volume(machine):
    machine.labels.update({"/": b"system_u:object_r:root_t:s0\0", STORE: b"system_u:object_r:unlabeled_t:s0\0"})
    assert selinux(machine).observe(STORE, mount("rw", "seclabel")) == NEW


def test_a_volume_that_is_labelled(machine):
    machine.labels.update({"/": b"system_u:object_r:root_t:s0\0", STORE: b"unconfined_u:object_r:root_t:s0\0"})
    machine.rules.write_text("/srv/other /home\n/cfy-persist /\n")
    assert selinux(machine).observe(STORE, mount("rw", "seclabel")) == DONE


@pytest.mark.parametrize("rule", ["", "\n", "/cfy-persist-2 /\n", "/ /cfy-persist\n"])
def test_a_rule_for_something_else_is_none(machine, rule):
    machine.rules.write_text(rule)
    assert not selinux(machine).observe(STORE, None).equal


def test_an_administrators_own_rule_is_left(machine):
    machine.rules.write_text("/cfy-persist /srv/managers\n")
    assert selinux(machine).observe(STORE, mount("rw", "seclabel")).equal


@pytest.mark.parametrize(
    "options, held, fixed", [(("seclabel",), True, False), (("rootcontext=x",), False, True), ((), False, False)]
)
def test_what_the_file_system_holds(machine, options, held, fixed):
    seen = selinux(machine).observe(STORE, mount(*options))
    assert (seen.held, seen.fixed) == (held, fixed)


def test_where_it_is_not_enabled_nothing_is_looked_at(machine):
    (machine.fs / "enforce").unlink()
    assert selinux(machine, programs=()).observe(STORE, mount("seclabel")) == Labels()


def test_what_is_not_installed_is_named(machine):
    assert selinux(machine, programs=("restorecon",)).observe(STORE, None).lacking == ("semanage",)


def test_a_command_that_fails_is_told_with_what_it_says(machine):
    with pytest.raises(StoreError, match="semanage x failed: ValueError: no"):
        selinux(machine, code=1).call(STORE, ("semanage", "x"))
