# SPDX-License-Identifier: Apache-2.0
"""What the scenarios' tests share: the declaration they test against, the container they look into, its log."""

import json
import os
import pathlib
import re
import subprocess
from typing import NamedTuple

import pytest
import yaml

PROJECT = pathlib.Path(__file__).parent.parent
LISTING = PROJECT / "molecule/shared/listing.py"
IMAGE = "localhost/cm_persist/manager"
DATABASE = "/var/lib/pgsql/9.5/data"


MOST_LINES = 15  # of a log where all is well
# What stands for something in expected.log, whose parts are parted by blank lines, and what for.
STANDS_FOR = {r"\#": r"[\d,]+(?:\.\d+)?", "SIZE": r"[\d.]+ (?:bytes|kB|MB|GB)", r"\.\.\.": ".*"}


def is_as_expected(log, most=MOST_LINES):
    """Whether the lines of a log that are cm_persist's are, one by one, those of a part of the scenario's expected.log, and not
    more than so many."""
    lines = [line for line in log if line.startswith("cm_persist: ")]
    text = re.escape((PROJECT / "molecule" / os.environ["MOLECULE_SCENARIO_NAME"] / "expected.log").read_text().rstrip("\n"))
    for sign, meaning in STANDS_FOR.items():
        text = text.replace(sign, meaning)
    parts = text.split("\\\n\\\n")
    return len(lines) <= most and any(re.fullmatch(part, "\n".join(lines)) for part in parts)


def podman(*arguments, **options):
    """Runs podman here, not in the container, and gives what it did: code and both streams."""
    return subprocess.run(
        ["podman", *arguments], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options
    )


class Declaration(NamedTuple):
    """What the role is told by default: all expectations come from here."""

    store: str
    paths: list
    secret_source: str
    secret_target: str

    def stored(self, path):
        """Where the store keeps a state path."""
        return self.store + path


@pytest.fixture(scope="session")
def declaration():
    defaults = yaml.safe_load((PROJECT / "roles/cm_persist/defaults/main.yml").read_text())
    return Declaration(*[defaults["cm_persist_" + name] for name in Declaration._fields])


@pytest.fixture(scope="session")
def scratch():
    """The scenario's directory on this machine."""
    return pathlib.Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def container_name():
    """The scenario's container; the pod's is called by podman, after the manifest."""
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    return "cloudify-manager-pod-0-manager" if scenario == "pod" else "cm_persist-" + scenario


@pytest.fixture(scope="session")
def container():
    return container_name()


def listing_of(*command, paths):
    """What listing.py finds at these paths when run by a command that ends in a Python interpreter."""
    found = subprocess.run(
        [*command, "-", *paths], check=True, stdout=subprocess.PIPE, input=LISTING.read_text(), text=True, timeout=120
    )
    return json.loads(found.stdout)


@pytest.fixture(scope="session")
def originals(declaration):
    """The state paths as the image has them."""
    return listing_of("podman", "run", "--rm", "--interactive", "--entrypoint=python3", IMAGE, paths=declaration.paths)


@pytest.fixture
def list_in(container):
    """A function that lists trees in the scenario's container."""
    return lambda *paths: listing_of("podman", "exec", "--interactive", container, "python3", paths=paths)


@pytest.fixture
def log(container):
    """What the container's last start wrote before init took over."""
    since = podman("inspect", '--format={{.State.StartedAt.Format "2006-01-02T15:04:05.999999999Z07:00"}}', container).stdout
    text = podman("logs", "--since", since.strip(), container).stdout
    assert text, "the container's log is empty"
    return text


@pytest.fixture
def manager(host):
    """A function that asks the manager's REST service what it has."""
    ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8100/').read().decode())"
    return lambda: json.loads(host.check_output("python3 -c %s", ask))


@pytest.fixture
def query(host):
    """A function that asks the database, as the administrator would."""
    return lambda sql: host.check_output("runuser -u postgres -- psql --no-psqlrc -At -d cloudify_db -c %s", sql).splitlines()


@pytest.fixture
def data_directory(host):
    """A function that says where PostgreSQL really works: its working directory, with all links resolved."""

    def find():
        pid = host.service("postgresql-9.5").systemd_properties["MainPID"]
        # As its own user: root in a container may not look into other users' processes.
        return host.check_output("runuser -u postgres -- readlink /proc/%s/cwd", pid)

    return find


@pytest.fixture
def play(host):
    """A function that runs a playbook in the container, as its start does, and gives how many tasks changed something."""

    def run(name):
        done = host.run("ANSIBLE_STDOUT_CALLBACK=default /opt/cm_persist/container/play %s", name)
        assert done.rc == 0, done.stdout + done.stderr
        return int(re.search(r"changed=(\d+)", done.stdout).group(1))

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """A failed test shows the container's log and journal: the reason is most often there."""
    report = yield
    name = container_name()
    if report.failed and podman("container", "exists", name).returncode == 0:
        report.sections.append(("log of " + name, podman("logs", name).stdout))
        report.sections.append(("journal of " + name, podman("exec", name, "journalctl", "--no-pager", "--lines=80").stdout))
    return report
