# SPDX-License-Identifier: Apache-2.0
"""The profiles: state and no code, each with its source, and found by what is installed."""

import os
import subprocess

import pytest
import yaml

from module_utils.cm_persist.paths import inside, parse_paths

ROLE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles", "cm_persist")
NAMES = sorted(name[:-4] for name in os.listdir(os.path.join(ROLE, "vars")) if name != "detection.yml")
# What packages install, and a new image has to replace (the spec files that the profiles name as their sources).
CODE = [
    "/opt/manager/env",
    "/opt/manager/scripts",
    "/opt/manager/resources/cloudify",
    "/opt/manager/resources/spec",
    "/opt/manager/resources/packages",
    "/opt/mgmtworker/env/bin",
    "/opt/mgmtworker/env/lib",
    "/opt/mgmtworker/scripts",
    "/opt/cloudify-stage/backend",
    "/opt/cloudify-stage/dist/index.html",
    "/opt/cloudify-composer/backend/server.js",
    "/opt/cloudify",
    "/opt/restservice",
    "/opt/cfy",
    "/opt/python3.11",
    "/var/lib/rpm",
    "/var/lib/systemd",
]


def text(*path):
    with open(os.path.join(ROLE, *path), encoding="utf-8") as file:
        return file.read()


def load(*path):
    return yaml.safe_load(text(*path))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def paths(name):
    store, specs = parse_paths("/cfy-persist", load("vars", name + ".yml")["__cm_persist_profile_paths"])
    return {spec.path: spec for spec in specs}


def test_all_that_can_be_chosen_is_there():
    specs = load("meta", "argument_specs.yml")["argument_specs"]
    for entry in ("main", "restore", "vm"):
        assert sorted(specs[entry]["options"]["cm_persist_profile"]["choices"]) == sorted(["", "auto", *NAMES])


def test_it_is_complete_and_says_where_it_comes_from(name):
    assert set(load("vars", name + ".yml")) == {"__cm_persist_profile_paths", "__cm_persist_profile_services"}
    head = text("vars", name + ".yml").split("__cm_persist_profile_paths")[0]
    assert "Source" in head or "dcaegen2-deployments" in head


def test_the_database_is_in_it(name, paths):
    assert ("/var/lib/pgsql/14/data" if name == "cloudify-7" else "/var/lib/pgsql/9.5/data") in paths


def test_no_code_is_in_it(name, paths):
    code = [each for each in CODE if not (name == "onap-2018" and "/resources/" in each)]  # told of in the file
    assert not [(each, path) for each in code for path in paths if inside(each, path)]


def test_what_the_manager_makes_later_is_not_passed_over(name, paths):
    for path, spec in paths.items():
        if inside(path, "/opt/manager/resources") and name not in ("cloudify-18", "onap-2018"):
            assert spec.missing == "make"


def test_the_queue_goes_with_the_configuration(name, paths):
    assert ("/var/lib/rabbitmq" in paths) is ("/etc/cloudify" in paths) is (name == "cloudify-7")


def test_the_default_is_the_first_list_of_onap():
    assert load("defaults", "main.yml")["cm_persist_paths"] == load("vars", "onap-2018.yml")["__cm_persist_profile_paths"]


SITE = "opt/manager/env/lib/{}/site-packages/cloudify_rest_service-{}-info"
INSTALLED = {
    "4.6": ([SITE.format("python2.7", "4.6.0.dist")], "cloudify-18"),
    "5.0": ([SITE.format("python2.7", "5.0.5.dist")], "cloudify-18"),
    "5.2": ([SITE.format("python3.6", "5.2.7-py3.6.egg")], "cloudify-5.1"),
    "6.0": ([SITE.format("python3.6", "6.0.0-py3.6.egg")], "cloudify-6"),
    "6.4, its list of packages unread": (
        ["opt/manager/env/lib/python3.6", "usr/lib/systemd/system/cloudify-api.service"], "cloudify-6",
    ),
    "7.0": ([SITE.format("python3.11", "7.0.0.dist"), "usr/lib/systemd/system/cloudify-api.service"], "cloudify-7"),
    "7.0, after 6.4 on the same machine": (["usr/pgsql-14", "usr/pgsql-9.5", "opt/manager/env/lib/python3.6"], "cloudify-7"),
    "another program": (["opt/gitlab/embedded"], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", INSTALLED)
def test_what_is_installed_is_told_by_its_files(case, tmp_path):
    files, expected = INSTALLED[case]
    for file in files:
        os.makedirs(str(tmp_path / file))
    command = next(task for task in load("tasks", "profile.yml") if "ansible.builtin.command" in task)
    told = load("vars", "detection.yml")["__cm_persist_detection"]
    arguments = []
    for each in told:
        arguments += [each["profile"], " ".join(str(tmp_path) + pattern for pattern in each["evidence"].split())]
    done = subprocess.run(
        ["sh", "-c", command["vars"]["script"], "sh", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_what_is_looked_for_is_in_no_state_path():
    named = {
        path for name in NAMES for path in (load("vars", name + ".yml")["__cm_persist_profile_paths"]) if isinstance(path, str)
    }
    for each in load("vars", "detection.yml")["__cm_persist_detection"]:
        assert each["profile"] in NAMES
        assert not [pattern for pattern in each["evidence"].split() for path in named if inside(pattern, path)]
