# SPDX-License-Identifier: Apache-2.0
"""One manager per volume, however a second container comes about. The tests go on from one another, in this order."""

import time

import pytest
from conftest import IMAGE, podman

SECOND = "cm_persist-lease-second"
pytestmark = pytest.mark.usefixtures("host")  # without it in all of them, pytest would run those first that have it


@pytest.fixture(scope="module")
def second(scratch, declaration):
    """A function that starts another container on the volume."""

    def run(variables="{}", *command):
        podman("rm", "--force", "--ignore", "--time=0", SECOND)
        init = ["--systemd=always", "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"]
        volume = "--volume=%s:%s" % (scratch / "volume", declaration.store)
        done = podman("run", "--detach", "--name", SECOND, *init, volume, "--env=CM_PERSIST_VARS=" + variables, IMAGE, *command)
        assert done.returncode == 0, done.stdout

    yield run
    podman("rm", "--force", "--ignore", "--time=0", SECOND)


def boots(name):
    """Whether a container's init has started everything; waits for it."""
    question = "until [ -S /run/systemd/private ]; do sleep 0.1; done; systemctl is-system-running --wait"
    return podman("exec", name, "timeout", "90", "sh", "-c", question).stdout.strip() == "running"


def waits(name):
    """Whether a container is at its start still, and stays there for a while."""
    for _look in range(30):
        if not podman("exec", name, "cat", "/proc/1/cmdline").stdout.startswith("/bin/sh"):
            return False
        time.sleep(0.1)
    return True


def ask(name, sql):
    done = podman("exec", "--user=cfyuser", name, "psql", "-At", "--dbname=cloudify_db", "--command=" + sql)
    assert done.returncode == 0, done.stdout
    return done.stdout


def write(name, note):
    ask(name, "CREATE TABLE %s ()" % note)


def has(name, note):
    return note in ask(name, "SELECT relname FROM pg_class").splitlines()


def hostname(name):
    return podman("inspect", "--format={{.Config.Hostname}}", name).stdout.strip()


def test_the_process_that_keeps_it_is_init_s_child_and_belongs_to_no_unit(host):
    (keeper,) = host.check_output("grep -l '[c]m_persist-lease' /proc/[0-9]*/cmdline").splitlines()
    directory = keeper[: -len("/cmdline")]
    assert "PPid:\t1\n" in host.file(directory + "/status").content_string
    assert "/system.slice" not in host.file(directory + "/cgroup").content_string


def test_a_second_container_fails_when_it_has_waited_long_enough(second, container):
    second("cm_persist_lease_timeout: 1")
    assert podman("wait", SECOND).stdout.strip() not in ("0", "143")
    reason = podman("logs", SECOND).stdout.splitlines()[-2]
    assert "another manager uses this store, %s since 20" % hostname(container) in reason and "waited 1 seconds" in reason


def test_it_waits_while_the_first_serves_and_goes_on_when_that_is_stopped(second, container, manager):
    second()
    assert waits(SECOND), podman("logs", SECOND).stdout
    probes = [podman("exec", SECOND, "/opt/cm_persist/container/probe", question) for question in ("started", "alive")]
    assert [probe.returncode for probe in probes] == [1, 0]
    assert "waits for the lease of another manager, %s since" % hostname(container) in probes[0].stdout
    said = podman("logs", SECOND).stdout.splitlines()
    assert len(said) == 1 and said[0] in probes[0].stdout, "nothing else, and once"
    write(container, "while_another_waited")
    assert manager()["blueprints"].keys() >= {"hello-world"}
    assert podman("stop", container).returncode == 0
    assert boots(SECOND), podman("logs", SECOND).stdout
    assert has(SECOND, "while_another_waited")
    assert "warning: " in podman("logs", SECOND).stdout and "waited until another manager" in podman("logs", SECOND).stdout


def test_the_first_is_held_off_now_and_goes_on_when_the_second_is_killed(second, container):
    assert podman("start", container).returncode == 0
    assert waits(container), podman("logs", container).stdout
    write(SECOND, "before_the_kill")
    assert podman("kill", "--signal=KILL", SECOND).returncode == 0
    assert boots(container), podman("logs", container).stdout
    assert has(container, "before_the_kill")


def test_a_start_that_waits_stops_when_it_is_told_to(second):
    second()
    assert waits(SECOND)
    podman("kill", "--signal=TERM", SECOND)
    assert podman("wait", SECOND).stdout.strip() == "143"


def test_it_can_be_turned_off(second):
    # With a command that touches nothing: two managers would destroy the data.
    second("cm_persist_lease: false", "true")
    assert podman("wait", SECOND).stdout.strip() == "0", podman("logs", SECOND).stdout


def test_a_lease_that_nothing_keeps_any_more_is_noticed(host):
    ready = "/opt/cm_persist/container/probe ready"
    assert host.run(ready).rc == 0
    host.check_output("kill -KILL $(basename $(dirname $(grep -l '[c]m_persist-lease' /proc/[0-9]*/cmdline)))")
    done = host.run(ready)
    assert done.rc == 1 and "nothing keeps the lease" in done.stderr
