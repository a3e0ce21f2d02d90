# SPDX-License-Identifier: Apache-2.0
"""Starts that run another command than init, that fail, and that are stopped half-way."""

import shutil
import subprocess
import time

import pytest
from conftest import IMAGE, is_as_expected, listing_of, podman

NAME = "cm_persist-entrypoint"
MARK = "the command was started"
SAY = ["echo", MARK]


class Run:
    """Containers of one name with one store."""

    def __init__(self, store, target):
        self.options = ["--name", NAME, "--volume", "%s:%s" % (store, target)]

    def start(self, *command, options=()):
        """Runs a container and leaves it running."""
        podman("rm", "--force", "--ignore", "--time=0", NAME)
        done = podman("run", "--detach", *self.options, *options, IMAGE, *command)
        assert done.returncode == 0, done.stdout

    def wait(self):
        """Waits for the container's end: its exit code and the lines of its log."""
        code = int(podman("wait", NAME).stdout)
        return code, podman("logs", NAME).stdout.splitlines()

    def __call__(self, *command, options=()):
        self.start(*command, options=options)
        return self.wait()


@pytest.fixture
def store(scratch):
    """A fresh directory on the volume. Mounted into a container it is a mount of its own there."""
    directory = scratch / "volume" / ("store-%d" % time.monotonic_ns())
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def run(store, declaration):
    yield Run(store, declaration.store)
    podman("rm", "--force", "--ignore", "--time=0", NAME)


def stored(store, declaration):
    """What the store holds at each state path, listed in a container so that the names are the image's."""
    mount = "%s:%s" % (store, declaration.store)
    look = ["podman", "run", "--rm", "--interactive", "--volume", mount, "--entrypoint=python3", IMAGE]
    found = listing_of(*look, paths=[declaration.stored(path) for path in declaration.paths])
    return {path: found[declaration.stored(path)] for path in declaration.paths}


def test_another_command_finds_the_state_in_the_store(run, store, declaration, originals):
    code, lines = run("sh", "-c", "readlink " + " ".join(declaration.paths))
    assert code == 0, lines
    assert is_as_expected(lines), lines
    assert lines[-len(declaration.paths) :] == [declaration.stored(path) for path in declaration.paths]
    assert stored(store, declaration) == originals


def test_the_commands_arguments_exit_code_and_descriptor_3(run):
    code, lines = run("sh", "-c", 'echo "$2" >&3; exit 7', "sh", "one", "two  words")
    assert (code, lines[-1]) == (7, "two  words")


def test_the_commands_environment_is_the_containers(run):
    code, lines = run("sh", "-c", "echo begin; env")
    assert code == 0
    after = lines[lines.index("begin") :]
    assert not [line for line in after if line.startswith(("ANSIBLE_", "LC_ALL"))]


def test_the_command_works_in_the_store_where_it_was_told_to_work_in_a_state_path(run, store, declaration):
    path = declaration.paths[1]
    code, lines = run("sh", "-c", "pwd -P; echo row >written", options=["--workdir", path])
    assert (code, lines[-1]) == (0, declaration.stored(path)), lines
    assert (store / path.lstrip("/") / "written").read_text() == "row\n"


BROKEN = [
    # variables from the environment, and what the last line has to name
    ({"CM_PERSIST_VARS": "cm_persist_paths: [opt/manager/resources]"}, "opt/manager/resources"),
    ({"CM_PERSIST_VARS": "cm_persist_paths: [/]"}, "/"),
    ({"CM_PERSIST_VARS": "cm_persist_paths: [/opt/manager, /opt/manager/resources]"}, "/opt/manager/resources"),
    ({"CM_PERSIST_VARS": "cm_persist_paths: [/not/there]"}, "/not/there"),
    ({"CM_PERSIST_VARS": "cm_persist_paths: ["}, "CM_PERSIST_VARS"),
    ({"CM_PERSIST_VARS": "cm_persist_paths"}, "CM_PERSIST_VARS"),
    ({"CM_PERSIST_VARS": "cm_persist_missing: perhaps"}, "perhaps"),
    ({"CM_PERSIST_VARS": "cm_persist_path: [/opt/manager/resources]"}, "cm_persist_path"),
    ({"CM_PERSIST_VARS_FILE": "/no/such/file.yml"}, "/no/such/file.yml"),
]


@pytest.mark.parametrize(("environment", "named"), BROKEN, ids=[" ".join(environment.values()) for environment, _ in BROKEN])
def test_a_failed_start_ends_with_its_reason(run, store, environment, named):
    options = [option for item in environment.items() for option in ("--env", "=".join(item))]
    code, lines = run(*SAY, options=options)
    assert code not in (0, 143)
    assert named in lines[-2] and lines[-2].startswith("cm_persist: FAILED: ")
    assert lines[-1].startswith("cm_persist: what to do: ")
    assert MARK not in lines
    assert list(store.iterdir()) == []


def test_variables_from_a_file(run, tmp_path):
    variables = tmp_path / "vars.yml"
    variables.write_text("cm_persist_paths:\n  - opt/manager/resources\n")
    mount = ["--volume", "%s:/etc/cm_persist/vars.yml:ro" % variables]
    code, lines = run(*SAY, options=mount)
    assert code != 0
    assert "opt/manager/resources" in lines[-2]
    # The environment wins over the file.
    code, lines = run(*SAY, options=[*mount, "--env", 'CM_PERSIST_VARS={"cm_persist_paths": ["/opt/manager/resources"]}'])
    assert (code, lines[-1]) == (0, MARK), lines


def test_the_paths_of_a_profile(run, declaration):
    # plugins, which a manager would make at its first boot, is made; what this one lacks altogether is passed over.
    look = "/opt/cm_persist/container/probe ready && cd /opt/manager/resources && stat -c '%N %U %a' plugins/. && readlink -f *"
    code, log = run("sh", "-c", look, options=["--env", "CM_PERSIST_VARS={cm_persist_profile: cloudify-5.1}"])
    assert code == 0, log
    linked = {name: declaration.stored("/opt/manager/resources/" + name) for name in ("blueprints", "plugins", "snapshots")}
    assert set(linked.values()) <= set(log) and "'plugins/.' cfyuser 755" in log
    assert not [line for line in log if "warning" in line]
    code, log = run(
        "/opt/cm_persist/container/probe", "ready", options=["--env", "CM_PERSIST_VARS={cm_persist_profile: cloudify-7}"]
    )
    assert code != 0 and "/var/lib/pgsql/14/data: neither the image nor the store has it" in log[-2]


def test_variables_in_a_file_that_nobody_reads(run, tmp_path):
    (tmp_path / "vars.yaml").write_text("cm_persist_required: true\n")
    code, lines = run(*SAY, options=["--volume", "%s:/etc/cm_persist:ro" % tmp_path])
    assert code == 4 and "vars.yaml" in lines[-2] and "no vars.yml" in lines[-2] and MARK not in lines


def test_a_required_store_that_is_not_there(declaration):
    done = podman("run", "--rm", "--env", "CM_PERSIST_VARS=cm_persist_required: true", IMAGE, *SAY)
    assert done.returncode != 0
    assert declaration.store in done.stdout.splitlines()[-2]
    assert MARK not in done.stdout


# 37 is SIGRTMIN+3, which the image names as its stop signal. At once is the shell alone, later there is Ansible.
@pytest.mark.parametrize(("signal", "delay"), [("TERM", 0), ("TERM", 0.4), ("INT", 0.4), ("37", 0.4)])
def test_a_signal_stops_the_start(run, signal, delay):
    # The command outlives the test: an exit code other than its own can only come from the signal.
    run.start("sleep", "infinity")
    time.sleep(delay)
    podman("kill", "--signal", signal, NAME)
    code, lines = run.wait()
    assert code == (130 if signal == "INT" else 143), lines
    assert "stopped by a signal" in lines[-1]


def test_no_process_of_a_stopped_start_survives(run):
    # The end of process 1 ends all others; so here, as in a pod with shared processes, it is another.
    # (The brackets keep the search from finding itself.)
    script = """
        /opt/cm_persist/container/entrypoint true & start=$!
        until grep -l "[a]nsible-playbook" /proc/[0-9]*/cmdline 2>/dev/null; do sleep 0.05; done
        kill -TERM $start; wait $start; echo "exit code $?"
        grep -l "[a]nsible-playbook" /proc/[0-9]*/cmdline
        exit 0"""
    code, lines = run("sh", "-c", script)
    assert code == 0
    at = lines.index("exit code 143")
    assert [line for line in lines[:at] if line.startswith("/proc/")], "it was not running: this test would prove nothing"
    assert not [line for line in lines[at:] if line.startswith("/proc/")]


@pytest.fixture
def slow_volume(scratch):
    """Makes each write to the volume wait for the disk, so that a copy takes long enough to be hit."""
    subprocess.run(["mount", "-o", "remount,sync,dirsync", scratch / "volume"], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,async", scratch / "volume"], check=True)


def test_a_start_that_is_stopped_in_the_middle_of_the_copy(run, store, declaration, originals, slow_volume):
    run.start(*SAY)
    staging = store / ".cm_persist/staging"
    deadline = time.monotonic() + 30
    while not (staging.is_dir() and len(list(staging.rglob("*"))) > 100):
        assert time.monotonic() < deadline, podman("logs", NAME).stdout
        time.sleep(0.01)
    podman("kill", "--signal", "TERM", NAME)
    code, lines = run.wait()
    assert code == 143, lines
    assert MARK not in lines
    # It was in the middle: copied files in staging, and the last path is not published.
    assert list(staging.iterdir())
    assert not (store / declaration.paths[-1].lstrip("/")).exists()

    code, lines = run(*SAY)
    assert (code, lines[-1]) == (0, MARK), lines
    assert not staging.exists()
    assert stored(store, declaration) == originals
