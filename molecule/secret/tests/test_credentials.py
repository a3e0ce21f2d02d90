"""The credentials that systemd hid are back, before the services that need them start, and follow their rotation."""

import os


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


def test_a_rotated_token_is_seen_at_once(host, declaration, scratch):
    account = scratch / "serviceaccount"
    generation = "..generation-%d" % (len(list(account.glob("..generation-*"))) + 1)
    (account / generation).mkdir()
    (account / generation / "token").write_text("token of " + generation)
    # As kubelet does it: the new link beside the old one, then a rename over it.
    os.symlink(generation, account / "..data_tmp")
    os.rename(account / "..data_tmp", account / "..data")
    assert host.file(declaration.secret_target + "/token").content_string == "token of " + generation


def test_a_second_run_changes_nothing(play):
    assert play("secret") == 0
