# SPDX-License-Identifier: Apache-2.0
"""The pod of the manifests: after its first start, and when it was deleted and played again with another token."""

import pytest
import yaml
from conftest import DATABASE, PROJECT

# As capabilities(7) and linux/capability.h number them, from 0.
CAPABILITIES = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
    "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN",
]  # fmt: skip


@pytest.fixture(scope="session")
def manifest():
    documents = yaml.safe_load((PROJECT / "deploy/kubernetes/base/deployment.yaml").read_text())
    return documents["spec"]["template"]["spec"]["containers"][0]


@pytest.fixture(scope="session")
def uploads(scratch):
    """Names of the blueprints that were uploaded; none before the pod was replaced."""
    return [path.name for path in scratch.glob("ledger/blueprints/*")]


def test_it_has_the_capabilities_of_the_manifest_and_no_other(host, manifest):
    (line,) = [line for line in host.file("/proc/1/status").content_string.splitlines() if line.startswith("CapBnd:")]
    bits = int(line.split()[1], 16)
    wanted = manifest["securityContext"]["capabilities"]["add"]
    assert {number for number in range(64) if bits >> number & 1} == {CAPABILITIES.index(name) for name in wanted}


def test_init_has_started_everything(host):
    assert host.check_output("systemctl is-system-running") == "running"
    assert "/sbin/init" in host.file("/proc/1/cmdline").content_string


def test_the_state_lies_on_the_claim(host, declaration, data_directory):
    for path in declaration.paths:
        assert host.file(path).linked_to == declaration.stored(path)
    assert data_directory() == declaration.stored(DATABASE)


def test_all_that_was_uploaded_is_there(manager, query, uploads):
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"]) == set(query("SELECT id FROM blueprints"))


def test_services_found_the_token_of_this_pod(host, manager, declaration, uploads):
    token = "second token" if uploads else "first token"
    assert manager()["token"] == host.file(declaration.secret_target + "/token").content_string == token
    assert host.file(declaration.secret_target).linked_to == declaration.secret_source


def test_the_manager_s_user_reads_it(host, declaration):
    assert host.run("runuser -u cfyuser -- cat %s/token", declaration.secret_target).stdout.endswith(" token")


@pytest.mark.parametrize("probe", ["startup", "readiness", "liveness"])
def test_the_probe_of_the_manifest_says_yes(host, manifest, probe):
    done = host.run(" ".join(manifest[probe + "Probe"]["exec"]["command"]))
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")


LOSSES = {
    "a path": ("/opt/manager/resources", "does not lead into the store any more"),
    "the credentials": ("/var/run/secrets/kubernetes.io/serviceaccount", "leads to no token"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_lost_makes_it_unready_and_does_not_kill_it(host, loss):
    path, reason = LOSSES[loss]
    # The unit that watches the credentials would bring them back.
    host.check_output("systemctl stop cm_persist-secret.path && mv %s %s-away && mkdir %s", path, path, path)
    try:
        ready, alive = (host.run("/opt/cm_persist/container/probe " + question) for question in ("ready", "alive"))
    finally:
        host.check_output("rmdir %s && mv %s-away %s && systemctl start cm_persist-secret.path", path, path, path)
    assert ready.rc == 1 and path in ready.stderr and reason in ready.stderr
    assert alive.rc == 0, alive.stderr
    assert host.run("/opt/cm_persist/container/probe ready").rc == 0


def test_a_probe_that_is_asked_nothing_says_what_it_can_be_asked(host):
    for question in ("", "--help", "ready alive"):
        done = host.run("/opt/cm_persist/container/probe " + question)
        assert done.rc == 2 and done.stderr == "usage: probe started|ready|alive\n"


def test_the_log_says_which_start_it_was(log, uploads):
    assert ("cm_persist: restart (" if uploads else "cm_persist: first run (") in log, log
