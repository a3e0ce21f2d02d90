# SPDX-License-Identifier: Apache-2.0
"""The credentials that systemd hid are back, before the services that need them start, follow their rotation, and stay."""

import base64
import json
import os
import time

import pytest
from conftest import podman


@pytest.fixture
def rotate(scratch):
    """A function that replaces the token, as kubelet does it: the new link beside the old one, then a rename over it."""

    def replace(token, *lacking):
        account = scratch / "serviceaccount"
        generation = account / ("..generation-%d" % (len(list(account.glob("..generation-*"))) + 1))
        generation.mkdir()
        for name, content in {"token": token, "ca.crt": "not a certificate", "namespace": "onap"}.items():
            if name not in lacking:
                (generation / name).write_text(content)
        os.symlink(generation.name, account / "..data_tmp")
        os.rename(account / "..data_tmp", account / "..data")

    return replace


@pytest.fixture
def comes_back(host, declaration):
    """A function that waits until the link is there again and its unit rests."""

    def wait(target=declaration.secret_target):
        deadline = time.monotonic() + 30
        while not (host.file(target).is_symlink and idle(host)):
            assert time.monotonic() < deadline, host.run("systemctl status --no-pager 'cm_persist-*'").stdout
            time.sleep(0.2)
        return host.file(target).linked_to

    return wait


def idle(host):
    states = [host.service("cm_persist-secret" + suffix).systemd_properties["ActiveState"] for suffix in (".service", ".path")]
    return states == ["inactive", "active"]


def test_systemd_hides_what_kubelet_mounted(host):
    # Without this the scenario would prove nothing: kubelet's mount is there, and a later one covers /run.
    points = [line.split()[4] for line in host.check_output("cat /proc/1/mountinfo").splitlines()]
    assert "/run" in points[points.index("/run/secrets/kubernetes.io/serviceaccount") :]


def test_the_target_is_a_link_to_the_source(host, declaration):
    target = host.file(declaration.secret_target)
    assert target.is_symlink
    assert target.linked_to == declaration.secret_source


def test_services_found_the_token_when_they_started(manager):
    assert manager()["token"] == "first token"


def test_the_unit_did_it(host):
    unit = host.service("cm_persist-secret")
    assert unit.is_enabled
    assert unit.systemd_properties["Result"] == "success"
    assert idle(host)


def test_the_unit_ran_once(host):
    # Its own work in the directory that is watched must not start it again.
    runs = host.check_output("journalctl --no-pager --output=cat --unit=cm_persist-secret --grep='^Finished'").splitlines()
    assert len(runs) == 1


def test_a_rotated_token_is_seen_at_once(host, declaration, rotate):
    rotate("second token")
    assert host.file(declaration.secret_target + "/token").content_string == "second token"


def test_a_second_run_changes_nothing(play):
    assert play("secret") == 0


DAMAGE = {
    "removed": "rm {}",
    "removed with the directories above it": "rm -r /run/secrets",
    "replaced by an empty directory": "rm {0} && mkdir {0}",
    "replaced by another link": "ln -sfn /nowhere {}",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_link_that_something_took_away_comes_back(host, declaration, comes_back, how):
    services = ["postgresql-9.5", "cloudify-restservice"]
    pids = [host.service(name).systemd_properties["MainPID"] for name in services]
    host.check_output(DAMAGE[how].format(declaration.secret_target))
    time.sleep(0.1)  # a link that is still there would do
    assert comes_back() == declaration.secret_source
    assert [host.service(name).systemd_properties["MainPID"] for name in services] == pids != ["0", "0"]


def test_credentials_that_come_late_are_linked_when_they_come(host, declaration, rotate, comes_back):
    host.check_output("systemctl stop cm_persist-secret.path && rm %s", declaration.secret_target)
    rotate("none", "token")
    assert host.run("systemctl start cm_persist-secret").rc != 0
    assert "it lacks token" in host.check_output("journalctl --no-pager --unit=cm_persist-secret --lines=30")
    rotate("second token")
    assert comes_back() == declaration.secret_source
    assert host.file(declaration.secret_target + "/token").content_string == "second token"


def test_run_mounted_once_more(host, declaration):
    script = "mount -t tmpfs none /run && /opt/cm_persist/container/play secret && cat %s/namespace"
    done = host.run("unshare --mount sh -ec %s", script % declaration.secret_target)
    assert done.rc == 0 and done.stdout.splitlines()[-1] == "onap", done.stdout + done.stderr


def test_another_target_is_watched_too(host, declaration, comes_back):
    target = "/run/100%/account"
    host.check_output("systemctl set-environment %s", "CM_PERSIST_VARS=cm_persist_secret_target: " + target)
    try:
        host.check_output("systemctl start cm_persist-secret")
        for _time in range(2):
            assert comes_back(target) == declaration.secret_source
            host.check_output("rm %s", target)
            time.sleep(0.1)
        assert comes_back(target) == declaration.secret_source
    finally:
        host.check_output("systemctl unset-environment CM_PERSIST_VARS")
    host.check_output("rm -r /run/100* && systemctl start cm_persist-secret")
    host.check_output("rm %s", declaration.secret_target)
    assert comes_back() == declaration.secret_source


def test_the_token_is_in_no_output(host, container, declaration, rotate, comes_back):
    parts = [
        json.dumps(part).encode() for part in ({"alg": "RS256"}, {"exp": 1234567890, "sub": "system:serviceaccount:onap:manager"})
    ]
    secrets = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts] + ["1234567890", "serviceaccount:onap"]
    rotate(".".join([*secrets[:2], "c2lnbmF0dXJl"]))
    secrets += ["c2lnbmF0dXJl", "first token", "second token", "not a certificate"]
    host.check_output("systemctl stop cm_persist-secret.path && rm %s", declaration.secret_target)
    said = []
    for callback in ("cm_persist", "default"):
        for _changed_then_not in range(2):
            done = host.run(
                "ANSIBLE_KEEP_REMOTE_FILES=1 ANSIBLE_STDOUT_CALLBACK=%s /opt/cm_persist/container/play secret -vvv --diff",
                callback,
            )
            assert done.rc == 0, done.stdout + done.stderr
            said += [done.stdout, done.stderr]
        host.check_output("rm %s", declaration.secret_target)
    host.check_output("systemctl start cm_persist-secret.service")
    comes_back()
    assert "has expired" in said[0], "the token was not looked at: this test would prove nothing"
    said += [podman("logs", container).stdout, host.check_output("journalctl --no-pager --output=verbose")]
    everything = "\n".join(said)
    assert declaration.secret_source in everything
    assert [secret for secret in secrets if secret in everything] == []
    # Nor did Ansible leave any of it in a file.
    for secret in secrets:
        found = host.run(
            "grep --recursive --fixed-strings --files-with-matches -e %s /run/cm_persist /root /tmp /var/tmp /etc/cm_persist",
            secret,
        )
        assert found.stdout == ""
