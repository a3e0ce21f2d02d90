# SPDX-License-Identifier: Apache-2.0
"""Labels of SELinux, which cannot be enabled on the machine of these tests: real attributes, and a stand-in for its programs."""

import os

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.host.selinux import Labels, Selinux
from module_utils.cm_persist.seed import seed as seeding
from tests.site import run, write

LABEL = b"system_u:object_r:postgresql_db_t:s0\0"


@pytest.mark.root
def test_a_copy_keeps_its_labels(site):
    for name in ("data", "data/one", "data/sub"):
        os.setxattr(site.path(name), "security.selinux", LABEL)
    site.seed()
    for name in ("data", "data/one", "data/sub"):
        assert os.getxattr(site.stored(name), "security.selinux") == LABEL


@pytest.mark.root
def test_in_a_container_labels_are_the_engines(site, mounts):
    fs = os.path.join(site.top, "selinux")
    os.mkdir(fs)
    write(fs + "/enforce", "1")
    assert Selinux(fs, site.top).observe(site.store, None).enabled
    mounts("--bind", fs, fs)
    run("mount", "-o", "remount,bind,ro", fs)
    assert Selinux(fs, site.top).observe(site.store, None) == Labels()


class Labeller:
    """In place of SELinux, which cannot be enabled here: an enabled one, that notes what is on disk when it is called."""

    def __init__(self, site):
        self.site, self.labels, self.ran = site, Labels(enabled=True, held=True), []

    def observe(self, _store_path, _mount):
        return self.labels

    def call(self, _store_path, command):
        self.ran.append(command)
        assert os.path.exists(self.site.stored("data/one")) and not os.path.exists(self.site.books + "/record.json")
        self.labels = self.labels._replace(equal=True, done=True)  # as the next look finds it


def test_labels_are_set_on_what_is_published_before_the_record_says_so(site):
    selinux = Labeller(site)
    settings = seeding.Settings(site.store, [site.path()], require_mount=False, lease=False)
    outcome = seeding.seed(settings, machine=Machine(selinux=selinux))
    assert [command[0] for command in selinux.ran] == ["semanage", "restorecon", "restorecon"]
    assert "semanage fcontext --add --equal / " + site.store in outcome.steps and os.path.exists(site.books + "/record.json")
    assert not seeding.seed(settings, machine=Machine(selinux=selinux)).changed


def test_a_start_that_fails_while_labelling_goes_on_from_there(site):
    selinux = Labeller(site)
    settings = seeding.Settings(site.store, [site.path()], require_mount=False, lease=False)
    call = selinux.call

    def fails(store_path, _command):
        raise StoreError(store_path, "semanage failed", "Mend it.")

    selinux.call = fails
    with pytest.raises(StoreError, match="semanage failed"):
        seeding.seed(settings, machine=Machine(selinux=selinux))
    selinux.call = call
    assert seeding.seed(settings, machine=Machine(selinux=selinux)).paths[0]["state"] == "seeded" and len(selinux.ran) == 3
