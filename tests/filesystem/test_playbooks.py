# SPDX-License-Identifier: Apache-2.0
"""The same through the real playbooks, run by ansible-playbook: results, refusals, check mode, diff, and the log."""

import json
import os

import pytest

from tests.plays import play, results
from tests.site import read, run, write
from tests.tree import assert_same, footprint
from tests.upgrades import texts, upgraded


@pytest.fixture
def wanted(site):
    """dict: the variables for the site, without a mount of its own."""
    return {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}


@pytest.fixture
def secret(top):
    """dict: the variables for credentials that lie in a scratch directory."""
    os.mkdir(os.path.join(top, "secret"))
    write(os.path.join(top, "secret", "token"), "do not print this")
    target = os.path.join(top, "run", "secrets", "account")
    return {"cm_persist_secret_source": os.path.join(top, "secret"), "cm_persist_secret_target": target}


def test_first_run_then_restart(site, wanted):
    code, told = results("start.yml", wanted)
    assert code == 0 and told["persist_seed"]["changed"] and told["persist_link"]["changed"]
    assert told["persist_seed"]["store_state"] == "empty" and told["persist_seed"]["paths"][0]["state"] == "seeded"
    assert told["persist_link"]["paths"][0]["aside"] == site.path("data-initial")
    assert_same(site.path("data-initial"), site.stored())
    before = site.untouched()
    code, told = results("start.yml", wanted)
    assert code == 0 and not told["persist_seed"]["changed"] and not told["persist_link"]["changed"]
    assert site.untouched() == before


def test_check_and_diff_print_the_steps_that_a_real_run_takes(site, wanted):
    before = site.untouched()
    _code, rehearsed = results("start.yml", wanted, "--check", "--diff")
    assert site.untouched() == before
    code, told = results("start.yml", wanted, "--diff")
    assert code == 0
    for module in ("persist_seed", "persist_link"):
        assert rehearsed[module]["changed"] and rehearsed[module]["steps"] == told[module]["steps"]
        assert rehearsed[module]["diff"] == told[module]["diff"]
        assert rehearsed[module]["diff"]["prepared"].splitlines() == ["+ " + step for step in told[module]["steps"]]


@pytest.mark.parametrize("choice", ["store", "aside"])
def test_restore_check_and_diff_then_for_real_then_again(site, wanted, choice):
    site.start()
    write(site.path("data/row"), "newer than the image")
    wanted["cm_persist_restore"] = choice
    before = site.untouched()
    _code, rehearsed = results("restore.yml", wanted, "--check", "--diff")
    assert site.untouched() == before
    code, told = results("restore.yml", wanted, "--diff")
    assert code == 0 and told["persist_link"]["steps"] == rehearsed["persist_link"]["steps"] != []
    assert told["persist_link"]["diff"] == rehearsed["persist_link"]["diff"]
    assert os.path.exists(site.path("data/row")) is (choice == "store") and not os.path.islink(site.path())
    code, again = results("restore.yml", wanted)
    assert code == 0 and not again["persist_link"]["changed"]


def test_rollback_check_and_diff_then_for_real(top):
    site = upgraded(top, "upgraded")
    before = texts(site.stored())
    site.start_as(policy="merge")
    wanted = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}
    untouched = site.untouched()
    _code, rehearsed = results("rollback.yml", wanted, "--check", "--diff")
    assert site.untouched() == untouched
    code, told = results("rollback.yml", wanted, "--diff")
    assert code == 0 and told["persist_seed"]["steps"] == rehearsed["persist_seed"]["steps"] != []
    assert told["persist_seed"]["diff"] == rehearsed["persist_seed"]["diff"] and texts(site.stored()) == before
    lines = play("rollback.yml", wanted, "--check", "--diff", ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    assert lines[0].startswith("cm_persist: + take back what was kept of ")
    assert lines[-1] == "cm_persist: check mode: nothing was changed"
    assert any("would be rolled back, " in line for line in lines)


def test_the_log_of_those_that_only_look(site, wanted):
    site.start()
    before = site.untouched()
    for book in ("status.yml", "verify.yml"):
        done = play(book, wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist")
        assert done.returncode == 0 and site.path() in done.stdout and "cm_persist: healthy (" in done.stdout, done.stdout
    done = play("status.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist", CM_PERSIST_LOG="json")
    (event,) = map(json.loads, done.stdout.splitlines())
    assert event["event"] == "info" and event["healthy"] and event["paths"][0]["path"] == site.path()
    os.rename(site.stored(), site.stored() + "-away")
    done = play("status.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist")
    assert done.returncode != 0 and done.stdout.splitlines()[-2].startswith("cm_persist: FAILED: " + site.stored())
    os.rename(site.stored() + "-away", site.stored())
    assert site.untouched().keys() == before.keys()
    done = play("audit.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist")  # no image was built here
    assert done.returncode != 0 and "container/build" in done.stdout.splitlines()[-1]


def test_the_log_of_a_restore(site, wanted):
    site.start()
    lines = play("restore.yml", wanted, "--check", ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    said = "off the store, the original is still at {}-initial".format(site.path())
    assert "cm_persist: {}: would be {}".format(site.path(), said) in lines
    lines = play("restore.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    assert "cm_persist: {}: {}".format(site.path(), said) in lines
    assert lines[-1].startswith("cm_persist: off the store, with what it has")
    lines = play("restore.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    assert lines[:-1] == ["cm_persist: {}: not linked".format(site.path())]
    failed = play("restore.yml", dict(wanted, cm_persist_restore="perhaps"), ANSIBLE_STDOUT_CALLBACK="cm_persist")
    assert failed.returncode != 0 and "cm_persist_restore" in failed.stdout.splitlines()[-2]


def test_the_log_of_a_link_that_an_application_replaced(site, wanted):
    site.start()
    os.unlink(site.path())
    os.mkdir(site.path())
    write(site.path("data/newer"), "than the store")
    lines = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    kept = site.path("data-initial.1")
    assert any("warning: " + site.path() in line and kept in line for line in lines)
    assert any(line.endswith("content that may be newer kept at " + kept) for line in lines)


@pytest.mark.root
def test_the_log_of_a_failed_link_tells_what_is_kept_before_the_reason(site, wanted):
    site.fill("other")
    wanted["cm_persist_paths"] = [site.path(), site.path("other")]
    site.start("data", "other")
    for name in ("data", "other"):
        os.unlink(site.path(name))
        os.mkdir(site.path(name))
        write(site.path(name + "/newer"), "than the store")
    run("chattr", "+i", site.path("other"))  # which nobody can rename
    lines = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist").stdout.splitlines()
    run("chattr", "-i", site.path("other"))
    assert "FAILED" in lines[-2] and site.path("other") in lines[-2]
    assert any("warning: " in line and site.path("data-initial.1") in line for line in lines[:-2])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cm_persist_paths": ["relative"]}, "relative"),
        ({"cm_persist_paths": ["/a", "/a/b"]}, "/a/b"),
        ({"cm_persist_paths": ["/nowhere/at/all"]}, "/nowhere/at/all"),
        ({"cm_persist_store": "/etc/hostname"}, "/etc/hostname"),
        ({"cm_persist_store": "/nowhere", "cm_persist_required": True}, "/nowhere"),
    ],
    ids=lambda value: json.dumps(value),
)
def test_a_refusal_is_a_failure_that_names_path_and_remedy(site, wanted, change, named):
    before = site.untouched()
    code, told = results("start.yml", dict(wanted, **change))
    failure = told["persist_seed"]
    assert code != 0 and "persist_link" not in told
    assert failure["where"] == named and named in failure["msg"] and failure["hint"] in failure["msg"]
    assert "Traceback" not in json.dumps(told) and site.untouched() == before


def test_a_store_of_a_newer_schema_is_told_as_such(site, wanted):
    site.start()
    write(os.path.join(site.books, "record.json"), '{"schema": 99}')
    before = site.untouched()
    code, told = results("start.yml", wanted)
    assert code != 0 and told["persist_seed"]["store_state"] == "newer" and site.untouched() == before


def test_the_role_refuses_an_unknown_choice(site, wanted):
    before = site.untouched()
    done = play("start.yml", dict(wanted, cm_persist_missing="perhaps"))
    assert done.returncode != 0 and "cm_persist_missing" in done.stdout and site.untouched() == before


@pytest.mark.parametrize("book", ["start.yml", "restore.yml"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"cm_persist_profile": "cloudify-99"}, "cm_persist_profile"),
        ({"cm_persist_profile": "auto"}, "No known Cloudify Manager is installed here."),
        (
            {"cm_persist_profile": "onap-2018", "cm_persist_paths": ["/var/lib/other"]},
            "Both cm_persist_profile and cm_persist_paths",
        ),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(site, book, variables, said):
    before = site.untouched()
    done = play(book, dict({"cm_persist_store": site.store, "cm_persist_require_mount": False}, **variables))
    assert done.returncode != 0 and said in done.stdout and site.untouched() == before


def test_a_profile_stands_for_its_paths(site):
    # None of them is on this machine: the first that must be is missed, and those that need not be are not spoken of.
    variables = {"cm_persist_store": site.store, "cm_persist_require_mount": False, "cm_persist_profile": "cloudify-7"}
    code, told = results("start.yml", variables)
    assert code != 0 and told["persist_seed"]["where"] == "/var/lib/pgsql/14/data"


def test_without_a_volume_it_says_so_and_succeeds(site, wanted):
    before = site.untouched()
    done = play("start.yml", dict(wanted, cm_persist_require_mount=True), ANSIBLE_STDOUT_CALLBACK="cm_persist")
    assert done.returncode == 0 and "no persistence" in done.stdout.splitlines()[-1]
    assert site.untouched() == before


def test_the_last_two_lines_of_the_log_are_the_reason_of_a_failure_and_what_to_do(site, wanted):
    write(os.path.join(site.store, "precious"), "someone's")
    done = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist")
    assert done.returncode != 0 and done.stdout.splitlines() == [
        "cm_persist: FAILED: {}: the store holds content that no state path claims: precious".format(site.store),
        "cm_persist: what to do: Mount the right volume, or set cm_persist_allow_foreign to seed beside it.",
    ]
    done = play("start.yml", dict(wanted, cm_persist_missing="perhaps"), ANSIBLE_STDOUT_CALLBACK="cm_persist")
    last = done.stdout.splitlines()
    assert "FAILED" in last[-2] and "perhaps" in last[-2] and last[-1].startswith("cm_persist: what to do: Correct the variables")


def test_the_log_as_json(site, wanted):
    done = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist", CM_PERSIST_LOG="json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "warning"] == ["path", "end"]
    (path,) = [event for event in events if event["event"] == "path"]
    assert (path["path"], path["seeded"]["files"], path["aside"]) == (site.path(), 3, site.path("data-initial"))
    assert events[-1]["message"].startswith("first run (") and events[-1]["seconds"] > 0 and events[-1]["time"][-1] == "Z"
    write(os.path.join(site.store, "precious"), "someone's")
    os.unlink(site.books + "/record.json")
    os.rename(site.stored(), site.store + "/away")
    done = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist", CM_PERSIST_LOG="json")
    (failure,) = [json.loads(line) for line in done.stdout.splitlines() if '"failure"' in line]
    assert failure["level"] == "error" and failure["where"] == site.store and failure["hint"].endswith(".")
    assert failure["message"].startswith(site.store + ": ") and failure["hint"] not in failure["message"]
    done = play("start.yml", wanted, ANSIBLE_STDOUT_CALLBACK="cm_persist", CM_PERSIST_LOG="xml")
    assert done.returncode != 0 and "CM_PERSIST_LOG" in done.stdout + done.stderr


@pytest.mark.root
def test_a_mounted_volume_is_used_with_a_warning_if_it_dies_with_the_pod(site, wanted, mounts):
    mounts("-t", "tmpfs", "none", site.store)
    code, told = results("start.yml", dict(wanted, cm_persist_require_mount=True))
    assert code == 0 and "tmpfs" in json.dumps(told["persist_seed"]["warnings"])
    assert_same(site.path("data-initial"), site.stored())


def test_secret_first_then_again_and_never_its_content(secret):
    target = secret["cm_persist_secret_target"]
    _code, rehearsed = results("secret.yml", secret, "--check", "--diff")
    assert not os.path.lexists(os.path.dirname(target))
    code, told = results("secret.yml", secret, "--diff", "-vvv")
    assert code == 0 and told["secret_link"]["steps"] == rehearsed["secret_link"]["steps"]
    assert read(os.path.join(target, "token")) == "do not print this"
    before = footprint(target, secret["cm_persist_secret_source"])
    code, again = results("secret.yml", secret)
    assert code == 0 and not again["secret_link"]["changed"] and "do not print" not in json.dumps([told, again])
    assert footprint(target, secret["cm_persist_secret_source"]) == before


def test_secret_without_token_is_refused(secret):
    os.unlink(os.path.join(secret["cm_persist_secret_source"], "token"))
    code, told = results("secret.yml", secret)
    assert code != 0 and "token" in told["secret_link"]["msg"]
    assert told["secret_link"]["where"] == secret["cm_persist_secret_source"]
    assert not os.path.lexists(os.path.dirname(secret["cm_persist_secret_target"]))
