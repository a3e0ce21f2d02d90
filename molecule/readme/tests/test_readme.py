# SPDX-License-Identifier: Apache-2.0
"""Each command of the README, and of docs/, is run as it stands, on the stand-in for a manager's image; what stands for something
is filled in. What a command begins with says where it is run; one that nobody has thought of fails the last test.
"""

import re
import subprocess
import time

import pytest
from conftest import PROJECT, podman

NAME, MACHINE, VOLUME = "cm_persist-readme", "cm_persist-readme-machine", "cm_persist-readme-data"
BASE, IMAGE = "localhost/cloudify-manager:18.9", "localhost/cloudify-manager:18.9-persist"
PLAY = "/opt/cm_persist/container/play"
# Run by others: on the machine where make test runs, and by the scenario of machines with its own inventory. kubectl has a
# stand-in for a cluster in tests/filesystem/test_kubectl.py, and the manifests are played by the scenario of a pod.
ELSEWHERE = ("make ", "ansible-galaxy collection install ", "ansible-playbook -i inventory.yml playbooks/vm.yml", "kubectl ")


def commands():
    """The commands of the README and of docs/, without comments, in their order; not those that test_docs.py runs."""
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
    texts = [re.sub(r"<!-- test: [^>]+-->\n```sh\n.*?^```", "", page.read_text(), flags=re.S | re.M) for page in pages]
    blocks = re.findall(r"^```sh\n(.*?)^```", "\n".join(texts), re.S | re.M)
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def that_begin(words):
    """The commands that begin with these words; there must be one."""
    found = [line for line in commands() if line.startswith(words)]
    assert found, words
    DONE.update(found)
    return found


DONE = set()


def sh(command, **options):
    """Runs a command line; gives what it wrote."""
    done = subprocess.run(
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, "%s: %s" % (command, done.stdout)
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def clean():
    def take_away():
        podman("rm", "--force", "--ignore", "--time=0", NAME, MACHINE)
        podman("volume", "rm", "--force", VOLUME)
        podman("rmi", "--force", BASE)

    take_away()
    yield
    take_away()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone."""
    path = tmp_path_factory.mktemp("clone")
    sh("git clone --quiet %s %s" % (PROJECT, path))
    return path


def filled_in(command):
    command = re.sub(r"\bcm-data\b(?!\.tar)", VOLUME, command)
    return re.sub(r"\bIMAGE\b", IMAGE, re.sub(r"\bNAME\b", NAME, command))


def test_the_image_is_built_and_run(clone):
    podman("tag", "localhost/cm_persist/standin", BASE)
    for command in that_begin("container/build "):
        sh(command, cwd=clone)
    (command,) = that_begin("podman run --systemd")  # of the README and of the migration: one and the same
    sh(filled_in(command).replace("podman run", "podman run --detach --name " + NAME))
    for _second in range(90):
        if podman("exec", NAME, "/opt/cm_persist/container/probe", "ready").returncode == 0:
            break
        time.sleep(1)
    else:
        raise AssertionError(podman("logs", NAME).stdout)
    log = podman("logs", NAME).stdout
    assert "seeded, " in log and "cm_persist: first run (" in log


def test_in_that_container_the_playbooks_of_a_clone_run(clone):
    """A clone needs nothing but an ansible-playbook; the container's own, so that what is a machine here is this container."""
    podman("cp", str(clone), NAME + ":/root/clone")
    run = "podman exec --workdir /root/clone --env LC_ALL=C.UTF-8 %s /opt/cm_persist/venv/bin/%s"
    for command in that_begin("ansible-playbook playbooks/"):
        refused = "cm_persist_restore=aside" in command  # an original that was left to the image cannot be put back here
        looks = re.search(r"/(status|verify|audit|start)\.yml", command)  # and what is linked is not disturbed
        if "--check" not in command and not looks:
            command += " --check"  # it is taken off its volume below
        done = subprocess.run(run % (NAME, command), shell=True, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
        assert done.returncode == 0 if looks else ("in use" in done.stdout) or refused, done.stdout


def test_the_modules_are_documented_as_said(clone):
    text = (PROJECT / "README.md").read_text()
    words = re.findall(r"`((?:/opt/cm_persist/venv/bin/)?ansible-doc [^`]+)`", text)
    assert len(words) == 2
    for command in words:
        binary = "" if command.startswith("/") else "/opt/cm_persist/venv/bin/"
        said = sh("podman exec --workdir /root/clone --env LC_ALL=C.UTF-8 %s %s%s" % (NAME, binary, command))
        assert "OPTIONS" in said


def test_it_is_started_once_more_and_nothing_is_disturbed():
    text = " ".join((PROJECT / "README.md").read_text().split())
    for command in re.findall(r"`podman exec NAME ([^`]+)`", text):
        if command.split() == [PLAY, "start"]:
            assert "already linked" in sh("podman exec %s %s" % (NAME, command))
            return
    raise AssertionError("the README no longer says how to start once more")


@pytest.fixture(scope="module")
def backup(tmp_path_factory):
    return tmp_path_factory.mktemp("backup")


def on_the_volume(command, backup):
    """A command of a machine, as it is on this one: the volume and the backup have other names here."""
    place = sh("podman volume inspect --format '{{.Mountpoint}}' " + VOLUME).strip()
    return command.replace("/cfy-persist", place).replace("/backup", str(backup))


def test_the_volume_is_looked_at_and_copied(backup):
    sh(on_the_volume("mkdir -p /cfy-persist/.Trash-torn", backup))
    for words in ("cp --archive /cfy-persist/. ", "cat ", "df ", "du ", "fuser "):
        for command in that_begin(words):
            assert sh(on_the_volume(command, backup)) or words == "cp --archive /cfy-persist/. "
    for command in that_begin("podman ps "):
        assert NAME in sh(filled_in(command))


def test_it_is_taken_off_its_volume():
    sh("podman exec %s systemctl stop cloudify-restservice postgresql-9.5" % NAME)
    assert "off the store" in sh("podman exec %s %s restore" % (NAME, PLAY))
    sh("podman exec %s systemctl start cloudify-restservice" % NAME)
    for command in that_begin("podman stop "):
        sh(filled_in(command))


def test_the_volume_is_put_away_and_back(backup, tmp_path):
    for words in ("podman volume export ", "cp --archive /backup/"):
        for command in that_begin(words):
            sh(on_the_volume(filled_in(command), backup) if "backup" in command else filled_in(command), cwd=tmp_path)
    assert (tmp_path / "cm-data.tar").stat().st_size > 1 << 20
    (command,) = that_begin("podman run --rm -it ")
    sh(filled_in(command).replace(" -it ", " -i ") + " -c 'ls /cfy-persist/.cm_persist/record.json'")


def test_what_a_start_would_do_and_with_which_variables(tmp_path):
    for command in that_begin("podman run --rm -v cm-data:"):
        assert "check mode: nothing was changed" in sh(filled_in(command))
    (tmp_path / "vars").mkdir()
    (tmp_path / "vars/vars.yml").write_text("cm_persist_required: true\n")
    rest = "--rm -v %s:/cfy-persist %s true" % (VOLUME, IMAGE)
    for words in ("podman run -v ./vars:", "podman run -e "):
        (command,) = that_begin(words)
        assert "cm_persist: restart" in sh(
            command.replace("…", rest).replace("/etc/cloudify", "/opt/manager/resources"), cwd=tmp_path
        )


def test_on_a_machine_the_unit_and_the_mount():
    """A container that stands for a machine: init runs first, and then the start."""
    options = "--systemd=always --cap-add SYS_ADMIN --security-opt seccomp=unconfined -v %s:/cfy-persist" % VOLUME
    sh("podman run --detach --name %s %s --entrypoint /sbin/init %s" % (MACHINE, options, IMAGE))
    booted = "until [ -S /run/systemd/private ]; do sleep 0.1; done; systemctl is-system-running --wait"
    sh("podman exec %s timeout 90 sh -c '%s'" % (MACHINE, booted))
    sh("podman exec %s systemctl stop cloudify-restservice postgresql-9.5" % MACHINE)
    assert "restart (" in sh("podman exec %s %s start" % (MACHINE, PLAY))
    for command in that_begin("systemctl "):
        sh("podman exec %s %s" % (MACHINE, command))
    sh("podman exec %s sh -c 'echo /srv /cfy-persist none bind 0 0 >>/etc/fstab'" % MACHINE)
    for command in that_begin("mount "):
        sh("podman exec %s %s" % (MACHINE, command))


def test_no_command_was_passed_over():
    left = [command for command in commands() if command not in DONE and not command.startswith(ELSEWHERE)]
    assert left == []
