# SPDX-License-Identifier: Apache-2.0
"""One manager per store: real locks, and the processes that are left behind to keep them.

Here this machine stands for the container, so what is left behind is ended by the tests; containers proper, with an init of their
own, are in the molecule scenario lease.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from module_utils.cm_persist.errors import CopyError, PersistError, SpecError, StoreError
from module_utils.cm_persist.lease import lease
from module_utils.cm_persist.lease import plan as lease_plan
from module_utils.cm_persist.seed.steps import Copy
from module_utils.cm_persist.store.store import Store
from tests.leases import Container, fails, held_elsewhere, links_of, wait_for
from tests.site import read, run, write
from tests.tree import footprint

pytestmark = pytest.mark.root  # whoever holds a lease is found in /proc, where only root sees everything
HERE = os.path.dirname(os.path.abspath(__file__))
START = os.path.join(HERE, "..", "faults", "start.py")


@pytest.fixture
def container(site, monkeypatch):
    monkeypatch.setattr(lease_plan, "keeper", lambda _systemd: lease.BY_PROCESS)
    made = Container(site)
    yield made
    made.end()


def test_a_start_leaves_one_process_that_keeps_the_lease(container):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # as of a caller who waits for the end of what is written there
    container.start(lease_holder="manager-0")
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert read(container.path) == "manager-0 since 2026-01-02T03:04:05Z" and not container.is_free()
    (pid,) = container.keepers()
    proc = "/proc/%d" % pid
    descriptors = {os.readlink(os.path.join(proc, "fd", name)) for name in os.listdir(proc + "/fd")}
    assert descriptors == {"/dev/null", container.path}, "it must hold on to nothing else"
    assert read(proc + "/environ") == "" and os.readlink(proc + "/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0), "what ends the start's session must not end it"


def test_the_host_s_name_where_none_is_given(container):
    container.start()
    assert read(container.path).startswith(os.uname().nodename + " since ")


def test_another_start_of_the_same_container_changes_nothing(container):
    container.start()
    before, keepers = container.site.untouched(), container.keepers()
    outcome = container.start(lease_timeout=0)
    assert (outcome.changed, outcome.warnings) == (False, [])
    assert container.site.untouched() == before and container.keepers() == keepers


def test_a_new_container_writes_only_who_holds_it(container):
    container.start()
    container.end()
    before = footprint(container.site.store)
    assert not container.start(lease_holder="the next").changed
    after = footprint(container.site.store)
    assert {path for path in before if before[path] != after[path]} == {
        (container.site.store, b".cm_persist/lease")
    } and before.keys() == after.keys()


@pytest.mark.parametrize("seeded", [True, False])
def test_a_store_that_another_manager_uses_is_refused(container, seeded):
    if seeded:
        container.site.seed()
    with held_elsewhere(container):
        container.refused(
            "another manager", "manager-0 on node-2 since 2026-11-24T12:00:00Z", "waited 7 seconds", lease_timeout=7
        )
        assert 7 <= container.clock.now < 8 and container.keepers() == []


def test_it_is_not_taken_however_old_it_is(container):
    container.site.seed()
    with held_elsewhere(container) as fd:
        os.utime(fd, (0, 0))
        container.refused("another manager", lease_timeout=0)


def test_what_it_says_of_itself_is_fit_for_a_log(container):
    container.site.seed()
    with held_elsewhere(container, "evil\n\x1b[31mred" + 1000 * "x"), pytest.raises(StoreError) as refusal:
        container.start(lease_timeout=0)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 1000


def test_a_holder_that_has_not_said_who_it_is(container):
    container.site.seed()
    with held_elsewhere(container, ""):
        container.refused("another process", lease_timeout=0)


def test_it_is_had_as_soon_as_the_other_is_gone(container):
    container.site.seed()
    with held_elsewhere(container) as fd:
        container.clock.awake = lambda: os.close(fd) if container.clock.now > 5 else None
        outcome = container.start(lease_timeout=60)
        container.clock.awake = lambda: None
        assert 5 < container.clock.now < 6 and len(container.keepers()) == 1
    (warning,) = outcome.warnings
    assert "waited" in warning and "manager-0 on node-2" in warning


def test_what_the_other_did_meanwhile_is_seen(container):
    site = container.site
    with held_elsewhere(container) as fd:

        def other():
            if container.clock.now > 5:
                site.seed()
                write(site.stored() + "/one", "newer")
                os.close(fd)

        container.clock.awake = other
        outcome = container.start(lease_timeout=60)
        container.clock.awake = lambda: None
    assert not outcome.changed and outcome.paths[0]["state"] == "already" and read(site.stored() + "/one") == "newer"


def test_what_the_other_destroyed_meanwhile_is_not_called_seeded(container):
    site = container.site
    site.start()
    with held_elsewhere(container) as fd:

        def other():
            if container.clock.now > 5:
                shutil.rmtree(site.stored())
                os.close(fd)

        container.clock.awake = other
        with pytest.raises(PersistError) as refusal:
            container.start(lease_timeout=60)
        container.clock.awake = lambda: None
    assert site.path() in str(refusal.value) and container.is_free() and container.keepers() == []


def test_a_killed_holder_frees_it_at_once(container):
    container.start()
    (pid,) = container.keepers()
    os.kill(pid, signal.SIGKILL)
    wait_for(container.is_free)
    container.start(lease_timeout=0)
    assert len(container.keepers()) == 1


def test_a_start_that_fails_keeps_nothing(container, monkeypatch):
    monkeypatch.setattr(Copy, "execute", fails)
    with pytest.raises(CopyError):
        container.start()
    assert container.keepers() == [] and container.is_free()


def test_a_refused_start_makes_nothing(container):
    write(os.path.join(container.site.store, "foreign"), "somebody's")
    before = container.site.untouched()
    with pytest.raises(StoreError):
        container.start()
    assert container.site.untouched() == before


INTERPRETERS = {"/no/such/python": "No such file", "/bin/false": "/bin/false", None: "does not know its own path"}


@pytest.mark.parametrize(("python", "said"), INTERPRETERS.items())
def test_no_process_that_could_keep_it_is_a_failure(container, monkeypatch, python, said):
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(StoreError) as failure:
        container.start()
    assert said in str(failure.value) and container.path in str(failure.value) and container.is_free()


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1])
@pytest.mark.parametrize("name", ["lease_timeout", "lock_timeout"])
def test_a_time_that_is_none(container, name, seconds):
    before = container.site.untouched()
    with pytest.raises(SpecError) as refusal:
        container.start(**{name: seconds})
    assert name in str(refusal.value) and refusal.value.hint and container.site.untouched() == before


def test_it_can_be_turned_off(container):
    with held_elsewhere(container):
        outcome = container.start(lease=False)
        (warning,) = outcome.warnings
        assert outcome.changed and "manager-0 on node-2" in warning and "destroy" in warning
    container.start(lease=False)
    assert container.keepers() == []


def test_a_rehearsal_takes_nothing_and_tells_who_holds_it(container):
    site = container.site
    before = site.untouched()
    assert container.start(check_mode=True).warnings == [] and site.untouched() == before
    site.seed()
    with held_elsewhere(container):
        before = site.untouched()
        (warning,) = container.start(check_mode=True).warnings
        assert "manager-0 on node-2" in warning and site.untouched() == before and container.clock.now == 0


def test_without_a_store_there_is_no_lease(container):
    os.rmdir(container.site.store)
    assert container.start().store_state == "absent" and container.keepers() == []


def test_a_store_in_which_there_will_be_nothing_stays_empty(container):
    os.rename(container.site.path(), container.site.path() + "-away")
    assert not container.start(missing="skip").changed and os.listdir(container.site.store) == [] and container.keepers() == []


@pytest.mark.parametrize("number", lease.NO_LOCKS)
def test_a_file_system_that_cannot_lock_is_a_warning(container, monkeypatch, number):
    # It stands in for NFS without its lock daemon: no file system of this machine lacks flock.
    container.site.seed()
    flock = fcntl.flock

    def unable(fd, how):
        if os.path.samestat(os.fstat(fd), os.stat(container.path)):
            raise OSError(number, os.strerror(number))
        flock(fd, how)

    write(container.path, "")
    monkeypatch.setattr(fcntl, "flock", unable)
    (warning,) = container.start().warnings
    assert container.path in warning and os.strerror(number) in warning and "locks" in warning and container.keepers() == []


def test_a_lock_that_fails_is_a_failure(container, monkeypatch):
    def failing(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    container.site.seed()
    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(StoreError):
        container.start()


@pytest.mark.parametrize("before", [True, False])
def test_a_store_that_is_mounted_read_only(container, mounts, before):
    if before:
        container.start(lease_holder="the first")
        container.end()
    else:
        container.site.seed()
    mounts("--bind", container.site.store, container.site.store)
    run("mount", "-o", "remount,bind,ro", container.site.store)
    outcome = container.start()
    assert len(container.keepers()) == (1 if before else 0)
    assert [container.path in warning for warning in outcome.warnings] == ([] if before else [True])


def test_a_full_store_can_be_held(container, mounts):
    store = mounts("-t", "tmpfs", "-o", "size=1M", "none", container.site.store)
    container.start()
    container.end()
    os.truncate(container.path, 0)
    with open(os.path.join(store, "fill"), "wb") as file, contextlib.suppress(OSError):
        file.write(bytes(1 << 21))
    container.start()
    assert len(container.keepers()) == 1
    container.end()
    run("umount", store)


def test_a_store_without_an_inode_for_it_is_a_warning(container, mounts):
    store = mounts("-t", "tmpfs", "-o", "nr_inodes=64", "none", container.site.store)
    container.site.seed()
    with contextlib.suppress(OSError):
        for number in range(64):
            write(os.path.join(store, "fill-%d" % number), "")
    warnings = [warning for warning in container.start().warnings if "a tmpfs" not in warning]
    assert len(warnings) == 1 and "No space left" in warnings[0] and container.keepers() == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo"])
def test_something_else_in_its_place(container, kind):
    container.site.seed()
    precious = os.path.join(container.site.top, "precious")
    write(precious, "mine")
    if kind == "directory":
        os.mkdir(container.path)
    elif kind == "fifo":
        os.mkfifo(container.path)
    else:
        os.symlink(precious if kind == "link" else precious + "-not", container.path)
    container.refused("no regular file")
    assert read(precious) == "mine" and not os.path.exists(precious + "-not")


def test_a_file_that_has_another_name_is_not_written(container):
    container.site.seed()
    precious = os.path.join(container.site.store, "precious")
    write(precious, "mine")
    os.link(precious, container.path)
    container.start()
    assert read(precious) == "mine" and len(container.keepers()) == 1


def test_a_keeper_of_another_container_that_can_be_seen_is_not_ours(container, mounts):
    # As where the containers of a pod share their processes: another root directory tells them apart.
    top = container.site.top
    os.makedirs(top + "/upper")
    os.makedirs(top + "/work")
    root = mounts("-t", "overlay", "-o", "lowerdir=/,upperdir={0}/upper,workdir={0}/work".format(top), "none", top + "/root")
    container.site.seed()
    with held_elsewhere(container) as fd:
        command = ["chroot", root, sys.executable, "-I", "-S", "-c", lease.PROGRAM, lease.MARK, container.path]
        other = subprocess.Popen(command, pass_fds=[fd])
        wait_for(lambda: container.keepers() == [other.pid])
        os.close(fd)
        try:
            container.refused("another manager", lease_timeout=0)
        finally:
            other.kill()
            other.wait()


def test_one_that_only_waits_is_no_keeper(container):
    container.site.seed()
    with held_elsewhere(container):
        command = [sys.executable, "-c", "import sys; file = open(sys.argv[1]); sys.stdin.read()", container.path, lease.MARK]
        waiting = subprocess.Popen(command, stdin=subprocess.PIPE)
        wait_for(lambda: any(container.path in link for link in links_of(waiting.pid)))
        container.refused("another manager", lease_timeout=0)
        waiting.communicate()


def test_of_many_containers_that_start_at_once_one_gets_it(site):
    # Real ones, as far as it matters: each has processes of its own, and what it left behind ends with the first of them.
    script = '"$@"; echo "exit $?"; read -r end'
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        START,
        site.store,
        site.path(),
    ]
    environment = dict(os.environ, ACTS='[["seed", {"lease_timeout": 1}]]')
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for round_ in range(3):
        containers = [subprocess.Popen(command, env=environment, **pipes) for _number in range(5)]
        said = []
        for each in containers:
            lines = [each.stdout.readline()]
            if not lines[0].startswith("exit"):
                lines.append(each.stdout.readline())
            said.append(lines[-1].strip())
        assert sorted(said) == ["exit 0"] + 4 * ["exit 1"]
        for each, verdict in zip(containers, said):
            error = each.communicate("\n")[1]
            assert verdict == "exit 0" or "another manager uses this store" in error, (round_, error)


def test_where_nothing_can_keep_it_that_is_said_and_no_restart_changes_the_store(container, monkeypatch):
    monkeypatch.setattr(lease_plan, "keeper", lambda _systemd: lease.BY_NOBODY)
    (warning,) = container.start().warnings
    assert "second manager" in warning and container.is_free()
    before = container.site.untouched()
    container.start()
    assert container.site.untouched() == before
    with held_elsewhere(container):
        container.refused("another manager", lease_timeout=0)
    container.start()
    assert read(container.path) == "", "who comes next must not be told of one that is gone"


def test_what_nothing_leads_into_any_more_is_given_up(container):
    container.start()
    container.site.link()
    (pid,) = container.keepers()
    outcome = container.site.link(state="unlinked")
    assert "give up the lease" in outcome.steps[-1] and container.keepers() == [] and container.is_free()
    assert container.site.link(state="unlinked").steps == []
    wait_for(lambda: not links_of(pid))


def test_it_is_kept_as_long_as_another_path_leads_there(container):
    container.site.fill("more")
    paths = [container.site.path(), container.site.path("more")]
    container.start(paths=paths)
    container.site.link("data", "more")
    assert "lease" not in container.site.link("more", state="unlinked").steps[-1] and len(container.keepers()) == 1
    assert "lease" in container.site.link("data", state="unlinked").steps[-1] and container.keepers() == []


def test_services_need_not_be_stopped_to_wait_for_another_manager(container):
    with held_elsewhere(container):
        container.refused("manager-0 on node-2", check_mode=True, services=["postgresql-9.5"])


def test_a_rehearsed_way_back_gives_nothing_up(container):
    container.start()
    container.site.link()
    assert "lease" in container.site.link(state="unlinked", check_mode=True).steps[-1] and len(container.keepers()) == 1


def test_what_is_restored_while_another_manager_writes_comes_with_a_warning(container):
    container.site.start()
    with held_elsewhere(container):
        outcome = container.site.link(state="unlinked")
        assert any("manager-0 on node-2" in warning for warning in outcome.warnings) and not container.is_free()


def test_a_start_at_work_is_told_from_another_manager(container):
    # What the entry point asks after a while: the start has the lease by then, and no process keeps it yet.
    container.site.seed()
    with Store(container.site.store) as store:
        mine, asked = lease.Lease(store), lease.Lease(store)
        assert mine.take(lease.LeaseRequest(0, "me"), kept=True).state == lease.FREE
        assert asked.look().state == lease.HELD and asked.is_held_here()
        mine.close()
        root = container.site.top + "/elsewhere"
        os.mkdir(root)
        with held_elsewhere(container) as fd:
            program = "import os, sys; os.chroot(sys.argv[1]); print(flush=True); sys.stdin.read()"
            other = subprocess.Popen(
                [sys.executable, "-c", program, root], pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            other.stdout.readline()
            os.close(fd)
            assert asked.look().state == lease.HELD and not asked.is_held_here()
            other.communicate()
