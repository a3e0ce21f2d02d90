# SPDX-License-Identifier: Apache-2.0
"""Credentials that init has hidden are linked to a copy of them."""

import os

import pytest

from module_utils.cm_persist.errors import SecretError
from module_utils.cm_persist.secret import Settings, link_secret
from tests.site import as_nobody, read, write
from tests.tree import footprint


class Credentials:
    """A source as kubelet makes it: token leads over ..data to a directory that is swapped as a whole."""

    def __init__(self, top):
        self.top, self.source, self.target = top, os.path.join(top, "secret"), os.path.join(top, "run", "secrets", "account")
        os.makedirs(os.path.join(top, "run"))
        os.mkdir(self.source)
        self.rotate("first")
        for name in ("token", "ca.crt"):
            os.symlink(os.path.join("..data", name), os.path.join(self.source, name))

    def rotate(self, version):
        os.mkdir(os.path.join(self.source, version))
        for name in ("token", "ca.crt"):
            write(os.path.join(self.source, version, name), "{} {}".format(version, name))
        os.symlink(version, os.path.join(self.source, "..new"))
        os.rename(os.path.join(self.source, "..new"), os.path.join(self.source, "..data"))

    def link(self, rehearse=False, **options):
        return link_secret(Settings(**dict({"source": self.source, "target": self.target}, **options)), rehearse)

    def refused(self, path, *words, **options):
        before = footprint(self.top)
        with pytest.raises(SecretError) as refusal:
            self.link(**options)
        assert refusal.value.path == path and path in str(refusal.value) and refusal.value.hint.endswith(".")
        assert all(word in str(refusal.value) for word in words) and footprint(self.top) == before


@pytest.fixture
def credentials(top):
    return Credentials(top)


def test_the_target_leads_to_the_source(credentials):
    outcome = credentials.link()
    assert (outcome.changed, outcome.state) == (True, "linked")
    assert os.readlink(credentials.target) == credentials.source
    assert read(credentials.target + "/token") == "first token"


def test_missing_directories_are_made_for_all_to_enter(credentials):
    credentials.link()
    assert os.stat(os.path.dirname(credentials.target)).st_mode & 0o7777 == 0o755


def test_a_rotated_token_is_seen_at_once(credentials):
    credentials.link()
    credentials.rotate("second")
    assert read(credentials.target + "/token") == "second token"


def test_a_second_run_changes_nothing(credentials):
    credentials.link()
    before = footprint(credentials.top)
    outcome = credentials.link()
    assert (outcome.changed, outcome.state, outcome.steps) == (False, "already", [])
    assert footprint(credentials.top) == before


def test_a_rehearsal_tells_the_steps_and_takes_none(credentials):
    before = footprint(credentials.top)
    rehearsed = credentials.link(rehearse=True)
    assert footprint(credentials.top) == before and credentials.link().steps == rehearsed.steps


def test_an_empty_directory_where_they_were_mounted_is_replaced(credentials):
    os.makedirs(credentials.target)
    credentials.link()
    assert read(credentials.target + "/token") == "first token"


def test_a_link_to_elsewhere_is_replaced(credentials):
    os.makedirs(os.path.dirname(credentials.target))
    os.symlink("/nowhere", credentials.target)
    credentials.link()
    assert os.readlink(credentials.target) == credentials.source


def test_what_a_killed_run_left_is_no_hindrance(credentials):
    os.makedirs(os.path.dirname(credentials.target))
    os.symlink("/nowhere", os.path.join(os.path.dirname(credentials.target), ".account.cm_persist"))
    credentials.link()
    assert os.listdir(os.path.dirname(credentials.target)) == ["account"]


@pytest.mark.root
def test_credentials_that_nothing_hides_are_left_alone(credentials, mounts):
    mounts("--bind", credentials.source, credentials.target)
    before = footprint(credentials.top)
    assert credentials.link().state == "mounted" and footprint(credentials.top) == before


@pytest.mark.root
def test_a_mount_that_holds_none_is_refused(credentials, mounts):
    mounts("-t", "tmpfs", "none", credentials.target)
    write(credentials.target + "/other", "not a token")
    credentials.refused(credentials.target)


def test_no_source_means_no_credentials_here(credentials):
    os.rename(credentials.source, credentials.source + "-not-mounted")
    before = footprint(credentials.top)
    outcome = credentials.link()
    assert (outcome.changed, outcome.state) == (False, "absent") and credentials.source in outcome.message
    assert footprint(credentials.top) == before


def test_no_source_is_an_error_on_request(credentials):
    os.rename(credentials.source, credentials.source + "-not-mounted")
    credentials.refused(credentials.source, required=True)


def test_a_source_that_is_empty(credentials):
    os.rename(credentials.source, credentials.source + "-full")
    os.mkdir(credentials.source)
    credentials.refused(credentials.source, "token")


@pytest.mark.parametrize("how", ["missing", "dangling", "a directory"])
def test_a_source_that_lacks_token(credentials, how):
    os.unlink(credentials.source + "/token")
    if how == "dangling":
        os.symlink("nowhere", credentials.source + "/token")
    elif how == "a directory":
        os.mkdir(credentials.source + "/token")
    credentials.refused(credentials.source, "token")


def test_further_files_can_be_required(credentials):
    credentials.refused(credentials.source, "namespace", required_files=("token", "namespace"))


@pytest.mark.parametrize("make", [lambda path: write(path, "text"), lambda path: os.symlink("nowhere", path)])
def test_a_source_that_is_no_directory(credentials, make):
    os.rename(credentials.source, credentials.source + "-moved")
    make(credentials.source)
    credentials.refused(credentials.source)


@pytest.mark.parametrize("kind", ["directory with content", "file", "fifo"])
def test_a_target_that_is_something_else(credentials, kind):
    os.makedirs(os.path.dirname(credentials.target))
    if kind == "file":
        write(credentials.target, "someone's")
    elif kind == "fifo":
        os.mkfifo(credentials.target)
    else:
        os.mkdir(credentials.target)
        write(credentials.target + "/kept", "someone's")
    credentials.refused(credentials.target)


def test_a_target_inside_a_file(credentials):
    write(os.path.join(credentials.top, "run", "secrets"), "a file")
    before = footprint(credentials.top)
    with pytest.raises(Exception) as refusal:
        credentials.link()
    assert credentials.target in str(refusal.value) and refusal.value.hint and footprint(credentials.top) == before


def test_source_and_target_in_each_other(credentials):
    credentials.refused(credentials.source + "/below", target=credentials.source + "/below")
    credentials.refused(credentials.source, target=credentials.source)


@pytest.mark.root
def test_not_root_where_root_is_needed(credentials):
    before = footprint(credentials.top)
    said = as_nobody(credentials.link)
    assert said.startswith("SecretError") and "become: true" in said and credentials.target in said
    assert footprint(credentials.top) == before


@pytest.mark.root
def test_a_target_s_directory_that_cannot_be_read(credentials):
    os.makedirs(os.path.dirname(credentials.target), mode=0o700)
    os.chmod(os.path.dirname(credentials.target), 0o700)
    said = as_nobody(credentials.link)
    assert said.split(":")[0] in ("SecretError", "PathError") and "become: true" in said
