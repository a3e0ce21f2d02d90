# SPDX-License-Identifier: Apache-2.0
"""Credentials that init has hidden are linked to a copy of them."""

import base64
import fcntl
import json
import os

import pytest

from module_utils.cm_persist.errors import SecretError, SpecError
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.secret import observe as observe_module
from module_utils.cm_persist.secret.secret import Settings, link_secret
from module_utils.cm_persist.secret.steps import PutLink
from tests.site import as_nobody, read, write
from tests.tree import footprint

NOW = 1000000


class Clock:
    """It is always the same time."""

    @staticmethod
    def time():
        return float(NOW)


def jwt(**claims):
    """str: a token as the API server signs it."""
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256"}, dict(claims, sub="system:serviceaccount:onap:manager")))
    return ".".join([base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts] + ["signature"])


class Credentials:
    """A source as kubelet makes it: token leads over ..data to a directory that is swapped as a whole."""

    def __init__(self, top):
        self.top, self.source, self.target = top, os.path.join(top, "secret"), os.path.join(top, "run", "secrets", "account")
        os.makedirs(os.path.join(top, "run"))
        os.mkdir(self.source)
        self.rotate("first")
        for name in observe_module.USUAL:
            os.symlink(os.path.join("..data", name), os.path.join(self.source, name))

    def rotate(self, version):
        os.mkdir(os.path.join(self.source, version))
        for name in observe_module.USUAL:
            write(os.path.join(self.source, version, name), "{} {}".format(version, name))
        os.symlink(version, os.path.join(self.source, "..new"))
        os.rename(os.path.join(self.source, "..new"), os.path.join(self.source, "..data"))

    def link(self, check_mode=False, **options):
        wanted = {"source": self.source, "target": self.target, "user": ""}
        return link_secret(Settings(**dict(wanted, **options)), check_mode, Machine(clock=Clock))

    def warned(self, *words, **options):
        """There is a link now, and just one warning, with these words."""
        (warning,) = self.link(**options).warnings
        assert all(word in warning for word in words) and os.readlink(self.target) == self.source

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
    rehearsed = credentials.link(check_mode=True)
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
    os.symlink("/nowhere", os.path.join(os.path.dirname(credentials.target), ".account.cm_persist-999999999"))
    credentials.link()
    assert os.listdir(os.path.dirname(credentials.target)) == ["account"]


def test_runs_at_once_do_not_disturb_each_other(credentials):
    os.makedirs(os.path.dirname(credentials.target))
    os.symlink("/nowhere", credentials.target)
    children = []
    for _number in range(8):
        child = os.fork()
        if not child:
            code = 1
            try:
                for _time in range(40):
                    PutLink(credentials.source, credentials.target).execute(None)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    # Nor can anybody keep them from it who may look into the directory.
    fd = os.open(os.path.dirname(credentials.target), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert [os.waitpid(child, 0)[1] for child in children] == 8 * [0]
    os.close(fd)
    assert os.listdir(os.path.dirname(credentials.target)) == ["account"]


@pytest.mark.root
def test_credentials_that_nothing_hides_are_left_alone(credentials, mounts):
    mounts("--bind", credentials.source, credentials.target)
    before = footprint(credentials.top)
    assert credentials.link().state == "mounted" and footprint(credentials.top) == before


@pytest.mark.root
@pytest.mark.parametrize("empty", [True, False])
def test_a_mount_that_holds_none_is_refused(credentials, mounts, empty):
    mounts("-t", "tmpfs", "none", credentials.target)
    if not empty:
        write(credentials.target + "/other", "not a token")
    credentials.refused(credentials.target, "lacks token", "cannot be replaced")


@pytest.mark.root
def test_a_mount_that_another_one_hides_counts_as_none(credentials, mounts):
    mounts("--bind", credentials.source, credentials.target)
    mounts("-t", "tmpfs", "none", os.path.join(credentials.top, "run"))
    assert credentials.link().state == "linked" and read(credentials.target + "/token") == "first token"


@pytest.mark.root
def test_an_empty_directory_where_a_hidden_mount_was_is_replaced(credentials, mounts):
    mounts("--bind", credentials.source, credentials.target)
    mounts("-t", "tmpfs", "none", os.path.join(credentials.top, "run"))
    os.makedirs(credentials.target)
    assert credentials.link().state == "linked" and read(credentials.target + "/token") == "first token"


@pytest.mark.root
def test_run_mounted_once_more(credentials, mounts):
    for _time in range(2):
        mounts("-t", "tmpfs", "none", os.path.join(credentials.top, "run"))
        assert credentials.link().state == "linked" and read(credentials.target + "/token") == "first token"


@pytest.mark.root
def test_files_mounted_with_sub_path(credentials, mounts):
    # What container runtimes do of it: a bind mount of the very file that ..data leads to at that moment.
    os.unlink(credentials.source + "/token")
    write(credentials.source + "/token", "")
    mounts("--bind", credentials.source + "/first/token", credentials.source + "/token")
    credentials.warned("subPath", credentials.source)


@pytest.mark.root
def test_a_directory_mounted_with_sub_path(credentials, mounts):
    os.rename(credentials.source + "/first", credentials.source + "/..2026")
    volume = credentials.source + "-volume"
    os.rename(credentials.source, volume)
    mounts("--bind", volume + "/..2026", credentials.source)
    credentials.warned("subPath")


@pytest.mark.root
def test_a_whole_volume_is_no_cause_for_a_warning(credentials, mounts):
    os.rename(credentials.source, credentials.source + "-volume")
    mounts("--bind", credentials.source + "-volume", credentials.source)
    assert credentials.link().warnings == []


TIMES = {
    "expired": (jwt(exp=NOW - 1, iat=NOW - 3600), "has expired"),
    "expired this second": (jwt(exp=NOW), "has expired"),
    "not renewed": (jwt(exp=NOW + 359, iat=NOW - 3241), "expires soon"),
    "not renewed, for all that is known": (jwt(exp=NOW + 599), "expires soon"),
    "renewed in time": (jwt(exp=NOW + 361, iat=NOW - 3239), None),
    "of unknown age, and valid for long": (jwt(exp=NOW + 601), None),
    "without an end": (jwt(iat=NOW - 10**8), None),
    "an end that is no number": (jwt(exp="never"), None),
    "an end that is true": (jwt(exp=True), None),
    "an end that no float can be": (jwt(exp=10**400), None),
    "a beginning that no float can be": (jwt(exp=NOW + 601, iat=-(10**400)), None),
    "a beginning that is none": (jwt(exp=NOW + 601, iat=None), None),
    "no token of JSON": ("one.two.three", None),
    "claims that are a list": ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", None),
    "opaque": ("first token", None),
    "empty": ("", None),
    "bytes": ("\udcff.\udcff.\udcff", None),
}


@pytest.mark.parametrize("case", TIMES)
def test_the_time_that_a_token_has_left(credentials, case):
    text, words = TIMES[case]
    with open(credentials.source + "/token", "w", errors="surrogateescape") as file:
        file.write(text)
    outcome = credentials.link()
    assert [words in warning for warning in outcome.warnings] == ([True] if words else [])
    # The outcome has neither the token nor its claims.
    text_of_outcome = repr(outcome)
    assert not text or text not in text_of_outcome
    assert str(NOW) not in text_of_outcome and "serviceaccount:onap" not in text_of_outcome


@pytest.mark.root
@pytest.mark.parametrize("name", observe_module.USUAL)
def test_what_the_manager_s_user_cannot_read(credentials, name):
    assert credentials.link(user="nobody", check_mode=True).warnings == []
    os.chmod(os.path.join(credentials.source, name), 0o400)
    if name == "token":
        credentials.refused(credentials.source, "nobody", "token", "Permission denied", user="nobody")
    else:
        credentials.warned("nobody", name, "Permission denied", user="nobody")


@pytest.mark.root
def test_a_user_who_reads_by_a_group_of_its_own(credentials):
    os.chown(credentials.source + "/token", 0, 65534)
    os.chmod(credentials.source + "/token", 0o440)
    assert credentials.link(user="nobody").warnings == []


@pytest.mark.root
def test_a_target_that_the_manager_s_user_cannot_reach(credentials):
    os.chmod(os.path.join(credentials.top, "run"), 0o700)
    credentials.refused(credentials.target, "nobody", "Permission denied", user="nobody")


@pytest.mark.root
def test_mounted_credentials_that_the_manager_s_user_cannot_read(credentials, mounts):
    os.chmod(credentials.source + "/token", 0o400)
    mounts("--bind", credentials.source, credentials.target)
    credentials.refused(credentials.target, "nobody", "token", user="nobody")


def test_a_user_that_does_not_exist(credentials):
    credentials.warned("no user cm_persist-nobody", user="cm_persist-nobody")


@pytest.mark.root
def test_who_may_not_become_another_user_says_so(credentials, monkeypatch):
    def may_not(*_arguments):
        raise PermissionError

    monkeypatch.setattr(os, "initgroups", may_not)
    credentials.warned("may not become user nobody", user="nobody")


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
    os.unlink(credentials.source + "/namespace")
    credentials.refused(credentials.source, "namespace", required_files=("token", "namespace"))


@pytest.mark.parametrize("name", ["ca.crt", "namespace"])
def test_a_source_that_lacks_what_most_programs_look_for(credentials, name):
    os.unlink(os.path.join(credentials.source, name))
    credentials.warned(credentials.source, name)


def test_good_credentials_are_no_cause_for_a_warning(credentials):
    assert credentials.link().warnings == credentials.link().warnings == []


@pytest.mark.parametrize("place", ["source", "target"])
def test_a_path_through_what_kubelet_replaces(credentials, place):
    path = os.path.join(getattr(credentials, place), "..data")
    before = footprint(credentials.top)
    with pytest.raises(SpecError) as refusal:
        credentials.link(**{place: path})
    assert path in str(refusal.value) and "rotated" in str(refusal.value) and footprint(credentials.top) == before


def test_a_link_through_what_kubelet_replaces(credentials):
    os.makedirs(os.path.dirname(credentials.target))
    os.symlink(credentials.source + "/..data", credentials.target)
    credentials.link()
    credentials.rotate("second")
    assert read(credentials.target + "/token") == "second token"


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
    error = as_nobody(credentials.link)
    assert error.startswith("SecretError") and "become: true" in error and credentials.target in error
    assert footprint(credentials.top) == before


@pytest.mark.root
def test_a_target_s_directory_that_cannot_be_read(credentials):
    os.makedirs(os.path.dirname(credentials.target), mode=0o700)
    os.chmod(os.path.dirname(credentials.target), 0o700)
    error = as_nobody(credentials.link)
    assert error.split(":")[0] in ("SecretError", "PathError") and "become: true" in error
