# SPDX-License-Identifier: Apache-2.0
"""At every stage: the version that is meant serves all that was ever written, and each file is as the policy has it."""

import hashlib
import re

import pytest
from conftest import DATABASE, listing_of, podman

IMAGE = "localhost/cm_persist/manager-upgrade:"
RESOURCES = "/opt/manager/resources"
HELLO, DCAE = "blueprints/default_tenant/hello-world/", "blueprints/default_tenant/dcae-inventory/"
UPLOADED = "uploaded-blueprints/"
CFYUSER = {"1.0": 1500, "2.0": 1600}
NEW = ".cm_persist-new"


def users(mode, text="the user's\n"):
    return mode, hashlib.sha256(text.encode()).hexdigest(), {}


# What write.yml and tests/image/upgrade/change did to a file, and what is there before and after the merge. All other files are
# as both versions have them.
FILES = {
    # changed by the image alone, new in it, gone from it
    "deployments/déploiement n°\t1.json": ("1.0", "2.0"),
    HELLO + "inputs.yaml": (None, "2.0"),
    "schemas": (None, "2.0"),
    "schemas/types.yaml": (None, "2.0"),
    DCAE + "main.yaml": ("1.0", None),
    # changed by the user alone, or removed
    DCAE + "blueprint.yaml": (users("0o100644"), users("0o100644")),
    UPLOADED + "dcae-inventory/dcae-inventory.yaml": (users("0o100644"), users("0o100644")),
    UPLOADED + "hello-world/hello-world.yaml": (None, None),
    # by both: changed, new, gone from the image; and removed by the user
    HELLO + "start.sh": (users("0o100750"), users("0o100750")),
    HELLO + "start.sh" + NEW: (None, "2.0"),
    "deployments/local.json": (users("0o100644"), users("0o100644")),
    "deployments/local.json" + NEW: (None, "2.0"),
    HELLO + "main.yaml": (("0o120777", "start.sh", {}), ("0o120777", "start.sh", {})),
    DCAE + "start.sh": (None, None),
}
VERSIONS = {"gone back": "1.0", "written": "1.0"}  # of the other stages it is 2.0
MERGED = ("merged", "merged again")
WARNINGS = {  # what must be said at a stage; where nothing is named here, nothing may be said
    "kept": [r"/opt/manager/resources: .*the volume hides \d+ files that it has newer: .*hello-world/inputs\.yaml"],
    "merged": [
        r"/opt/manager/resources: .*NAME\.cm_persist-new: .*hello-world/start\.sh",
        DATABASE + ": it is kept as it is, not merged",
    ],
    "gone back": [r".*cfyuser 1600 to 1500"],
}


@pytest.fixture(scope="module")
def stage(scratch):
    return (scratch / "ledger/stage").read_text()


@pytest.fixture(scope="module")
def version(stage):
    return VERSIONS.get(stage, "2.0")


@pytest.fixture
def uploads(scratch):
    found = sorted(path.name for path in (scratch / "ledger/blueprints").iterdir())
    assert found
    return found


def seen(entry):
    return entry["mode"], entry["content"], entry["xattrs"]


@pytest.fixture(scope="module")
def shipped():
    """What each version has, by version and name."""
    look = ["podman", "run", "--rm", "--interactive", "--entrypoint=python3"]
    found = {version: listing_of(*look, IMAGE + version, paths=[RESOURCES])[RESOURCES] for version in CFYUSER}
    return {version: {name: seen(entry) for name, entry in files.items()} for version, files in found.items()}


def expected(shipped, merged):
    """What is there, by name, but for uploads."""
    files = dict(shipped["1.0"])
    for name, states in FILES.items():
        state = states[merged]
        files[name] = shipped[state][name.replace(NEW, "")] if isinstance(state, str) else state
    return {name: state for name, state in files.items() if state}


def test_it_is_the_version_that_is_meant(container, version, host):
    assert podman("inspect", "--format={{.ImageName}}", container).stdout.strip() == IMAGE + version
    assert host.user("cfyuser").uid == host.user("cfyuser").gid == CFYUSER[version]


def test_every_row_is_there(query, uploads):
    assert query("SELECT id FROM blueprints WHERE id LIKE 'upload-%' ORDER BY id") == uploads
    assert query("SELECT count(*) FROM events") == ["1000"]


def test_the_manager_serves_every_upload(manager, uploads):
    assert {"hello-world", "dcae-inventory", *uploads} == set(manager()["blueprints"])


def test_it_runs_on_the_store(host, declaration, data_directory):
    assert data_directory() == declaration.stored(DATABASE)
    for path in declaration.paths:
        assert host.file(path).linked_to == declaration.stored(path)


def test_all_files_belong_to_the_accounts_that_this_version_has(host, declaration):
    for path in declaration.paths:
        name = "postgres" if path == DATABASE else "cfyuser"
        find = "find %s ! ( -user %s -group %s )".replace("(", r"\(").replace(")", r"\)")
        assert host.check_output(find, declaration.stored(path), name, name) == ""


def test_each_file_is_as_it_should_be(list_in, shipped, stage, uploads):
    found = {name: seen(entry) for name, entry in list_in(RESOURCES + "/")[RESOURCES + "/"].items()}
    for name in uploads:
        directory = "blueprints/default_tenant/" + name
        assert found.pop(directory)
        assert found.pop(directory + "/blueprint.yaml") == users("0o100644", "description: %s\n" % name)
    assert found == expected(shipped, stage in MERGED)


def test_two_names_of_one_file_stay_that(host):
    names = [RESOURCES + "/" + name for name in (DCAE + "blueprint.yaml", UPLOADED + "dcae-inventory/dcae-inventory.yaml")]
    assert len(set(host.check_output("stat --format=%%i %s %s", *names).splitlines())) == 1


def test_the_log_warns_once_of_what_the_stage_brings(log, stage):
    said = [line for line in log.splitlines() if line.startswith("cm_persist: warning: ")]
    for pattern in WARNINGS.get(stage, []):
        assert [line for line in said if re.match("cm_persist: warning: " + pattern, line)], log
    assert bool(said) == (stage in WARNINGS), log


def test_a_backup_is_kept_from_the_merge_on(host, declaration, stage):
    backups = host.run("ls -A %s/.cm_persist/backups", declaration.store).stdout.split()
    assert bool(backups) == (stage in MERGED or stage == "gone back")


def test_another_run_changes_nothing(play):
    assert play("start") == 0
