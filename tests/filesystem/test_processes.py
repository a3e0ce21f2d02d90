# SPDX-License-Identifier: Apache-2.0
"""A path that something uses is left alone: real processes that have a file open, or work in it."""

import os
import shutil
import subprocess
import sys

import pytest

from module_utils.cm_persist.errors import LinkError, PathError
from module_utils.cm_persist.host import processes
from module_utils.cm_persist.original.notes import copy_name
from tests.site import Site, as_nobody, write

SLEEP = "import sys, os; os.chdir(sys.argv[2]); file = sys.argv[1] and open(sys.argv[1]); print(flush=True); sys.stdin.read()"


@pytest.fixture
def user():
    """A function that has a process open a file, or work in a directory, until the test ends it."""
    started = []

    def use(file="", directory="/", program=SLEEP, prefix=()):
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", program, file, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield use
    for process in started:
        process.communicate()


def end(process):
    process.communicate()


def refused(site, act, kind, process, *words):
    before = site.untouched()
    with pytest.raises(kind) as refusal:
        act()
    reported = str(refusal.value)
    assert (
        refusal.value.path == site.path() and "process {} (python".format(process.pid) in reported and site.untouched() == before
    )
    assert all(word in reported for word in words) and refusal.value.hint.startswith("Stop it")


@pytest.mark.parametrize("how", ["a file", "a file further down", "a directory"])
def test_an_original_that_is_in_use_is_not_seeded(site, user, how):
    opened = {"a file": "/one", "a file further down": "/sub/two", "a directory": "/sub"}[how]
    directory = how == "a directory"
    process = user(directory=site.path() + opened, prefix=["setsid"]) if directory else user(site.path() + opened)
    refused(site, site.seed, PathError, process, site.path() + opened)
    refused(site, lambda: site.seed(check_mode=True), PathError, process)
    end(process)
    assert site.seed().paths[0]["state"] == "seeded"


def test_a_single_file_that_is_in_use_is_not_seeded(site, user):
    file = site.path("data/one")
    process = user(file)
    with pytest.raises(PathError):
        site.seed("data/one")
    end(process)
    assert site.seed("data/one").paths[0]["state"] == "seeded"


@pytest.mark.parametrize("method", ["symlink", "bind"])
def test_an_original_that_is_in_use_is_not_linked(site, user, method):
    if method == "bind" and os.geteuid():
        pytest.skip("not root: it mounts")
    site.seed()
    process = user(site.path() + "/one")
    refused(site, lambda: site.link(method=method), LinkError, process)
    refused(site, lambda: site.link(method=method, check_mode=True), LinkError, process)


def test_a_linked_path_may_be_in_use(site, user):
    site.start()
    user(site.path() + "/one")
    assert [outcome.changed for outcome in site.start()] == [False, False]


@pytest.mark.parametrize("restore", ["store", "aside"])
def test_what_is_used_by_way_of_the_link_is_not_restored(site, user, restore):
    site.start()
    process = user(site.path() + "/one")
    refused(site, lambda: site.link(state="unlinked", restore=restore), LinkError, process, site.stored() + "/one")
    end(process)
    assert site.link(state="unlinked", restore=restore).paths[0]["state"] == "unlinked"


def test_content_in_place_of_the_link_that_is_in_use_is_left_alone(site, user):
    site.start()
    os.unlink(site.path())
    shutil.copytree(site.stored(), site.path(), symlinks=True)
    refused(site, site.link, LinkError, user(site.path() + "/one"))


def test_a_name_that_only_begins_alike_is_another(site, user):
    shutil.copytree(site.path(), site.path() + "-other", symlinks=True)
    user(site.path() + "-other/one")
    assert site.seed().paths[0]["state"] == "seeded"


def test_a_way_by_a_link_leads_to_the_same(top, user):
    site = Site(top)
    site.fill("real/data")
    os.symlink("real", site.path("alias"))
    process = user(site.path("real/data/one"))
    assert processes.find_process_using(site.path("alias/data")).pid == process.pid


def test_this_process_and_those_that_started_it_are_no_users(site):
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); os.chdir(sys.argv[2])\n"
        "from module_utils.cm_persist.host import processes\n"
        "if os.fork() == 0: print(processes.find_process_using(sys.argv[2]), flush=True); os._exit(0)\n"
        "os.wait()"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, "-c", script, root, site.path()], stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "None"


@pytest.mark.root
@pytest.mark.parametrize("word", ["{}", "--data={}", "{}/sub"])
def test_a_process_that_may_not_be_looked_into_is_judged_by_what_it_was_started_with(site, user, word):
    # As root in a container without SYS_PTRACE, here a user who is not root.
    process = user(program="print(flush=True); import sys; sys.stdin.read() #", file=word.format(site.path()))
    reported = as_nobody(lambda: refuse(processes.find_process_using(site.path())))
    assert "process {} (python".format(process.pid) in reported and "was started with {}".format(site.path()) in reported


def refuse(found):
    raise AssertionError(found.describe())


def test_who_comes_from_there_with_the_caller_is_no_user(site, user):
    user(directory=site.path())
    assert site.seed().paths[0]["state"] == "seeded"


def test_another_start_that_looks_around_is_no_user(site, user):
    look = "import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY); print(flush=True); sys.stdin.read()"
    user(site.path(), program=look)
    assert site.seed().paths[0]["state"] == "seeded"


def test_tidying_beside_a_path_in_use_is_no_harm_to_it(site, user):
    site.start()
    site.link(state="unlinked")
    user(site.path() + "/one")
    left = os.path.join(os.path.dirname(site.path()), os.fsdecode(copy_name(b"data")))
    os.mkdir(left, 0o700)
    outcome = site.link(state="unlinked")
    assert outcome.paths[0]["state"] == "already" and not os.path.exists(left)


@pytest.mark.root
def test_one_that_was_started_with_another_path_is_no_user(site, user):
    user(program="print(flush=True); import sys; sys.stdin.read() #", file=site.path() + "-other")
    assert "NoneType" in as_nobody(lambda: refuse(processes.find_process_using(site.path())))


@pytest.mark.root
def test_the_same_name_in_another_container_is_another_file(site, user, mounts, top):
    os.makedirs(top + "/upper")
    os.makedirs(top + "/work")
    root = mounts("-t", "overlay", "-o", "lowerdir=/,upperdir={0}/upper,workdir={0}/work".format(top), "none", top + "/root")
    enter = 'cd "$0" && mkdir old && mount --rbind /proc proc && pivot_root . old && umount --lazy /old && exec "$@"'
    process = user(site.path() + "/one", prefix=["unshare", "--mount", "sh", "-c", enter, root])
    names = [os.readlink("/proc/%d/fd/%s" % (process.pid, name)) for name in os.listdir("/proc/%d/fd" % process.pid)]
    assert site.path() + "/one" in names, "it is not called the same: this test would prove nothing"
    assert site.seed().paths[0]["state"] == "seeded"


def test_a_file_that_is_mapped_and_not_open_counts(site, user):
    mapped = (
        "import sys, mmap; file = open(sys.argv[1], 'r+b'); memory = mmap.mmap(file.fileno(), 0); file.close(); "
        "import os; [os.close(int(n)) for n in os.listdir('/proc/self/fd') if int(n) > 2 and "
        "os.path.exists('/proc/self/fd/' + n) and os.readlink('/proc/self/fd/' + n) == sys.argv[1]]; "
        "print(flush=True); sys.stdin.read()"
    )
    process = user(site.path() + "/one", program=mapped)
    refused(site, site.seed, PathError, process, site.path() + "/one mapped")


@pytest.fixture
def postmaster(site, user):
    """A process that is called as PostgreSQL's, and its note in the data directory."""
    name = os.path.join(site.top, "postgres")
    os.symlink(sys.executable, name)  # comm is the name that it was started by

    def start(*arguments, pid=None, below=""):
        program = "import sys; print(flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [name, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        process.stdout.readline()
        started.append(process)
        directory = site.path() + below
        os.makedirs(directory, exist_ok=True)
        write(directory + "/PG_VERSION", "14\n")
        write(directory + "/postmaster.pid", "{}\n{}\n".format(process.pid if pid is None else pid, directory))
        return process

    started = []
    yield start
    for process in started:
        process.communicate()


@pytest.mark.root
@pytest.mark.parametrize("below", ["", "/lib/pgsql/14/data"])
def test_a_live_database_is_known_by_its_note(site, postmaster, below):
    # That it works there cannot be seen, as in a container without SYS_PTRACE, and its directory is not in its command line.
    process = postmaster(below=below)
    reported = as_nobody(lambda: refuse(processes.find_process_using(site.path())))
    assert "process {} (postgres".format(process.pid) in reported
    assert "is the database of {}".format(site.path() + below) in reported


@pytest.mark.parametrize("stale", ["another program", "another database", "nobody", "no number", "this process"])
def test_a_stale_note_of_a_database_is_nothing(site, user, postmaster, stale):
    pid = {"nobody": 2**22 + 1, "no number": "-", "this process": os.getpid(), "another program": user().pid}.get(stale)
    postmaster(*["-D", site.path() + "-other"] if stale == "another database" else [], pid=pid)
    assert site.seed().paths[0]["state"] == "seeded"


def in_group(process, group, monkeypatch, tmp_path):
    # The machine of these tests has no systemd; the control group of a service is put in its place.
    for name in ("fd", "fdinfo", "root", "cwd", "comm", "status", "maps"):
        os.makedirs(str(tmp_path / str(process.pid)), exist_ok=True)
        os.symlink("/proc/%d/%s" % (process.pid, name), str(tmp_path / str(process.pid) / name))
    (tmp_path / str(process.pid) / "cgroup").write_text("1:name=systemd:{}\n0::/\n".format(group))
    monkeypatch.setattr(processes, "PROC", str(tmp_path))


@pytest.mark.parametrize(
    "group",
    [
        "/x/system.slice/postgresql-9.5.service",
        "/system.slice/system-postgresql\\x2d9.5.slice/postgresql-9.5.service",
        "/system.slice/postgresql-9.5.service/workers",
    ],
)
def test_the_service_is_named(site, user, monkeypatch, tmp_path, group):
    process = user(site.path() + "/one")
    in_group(process, group, monkeypatch, tmp_path)
    found = processes.find_process_using(site.path())
    assert found.describe().endswith(" of postgresql-9.5.service) has {}/one open".format(site.path()))
    assert found.hint == "Stop it with systemctl stop postgresql-9.5.service, then start again."


@pytest.mark.parametrize("group", ["/user.slice/user-0.slice/session-3.scope", "/system.slice/ssh.service", "/"])
def test_no_service_is_made_up(site, user, monkeypatch, tmp_path, group):
    in_group(user(site.path() + "/one"), group, monkeypatch, tmp_path)
    assert processes.find_process_using(site.path()).service == ""


@pytest.mark.parametrize("slice_", ["/system.slice", "/db.slice", "/machine.slice/x/system.slice"])
@pytest.mark.parametrize("verb", ["seed", "link"])
def test_what_will_be_stopped_is_passed_over_in_check_mode_alone(site, user, monkeypatch, tmp_path, verb, slice_):
    if verb == "link":
        site.seed()
    process = user(site.path() + "/one")
    in_group(process, slice_ + "/postgresql-9.5.service", monkeypatch, tmp_path)
    act, kind = getattr(site, verb), PathError if verb == "seed" else LinkError
    for services in ([], ["nginx"]):
        refused(site, lambda services=services: act(services=services, check_mode=True), kind, process)
    refused(site, lambda: act(services=["postgresql-9.5"]), kind, process)
    for name in ("postgresql-9.5", "postgresql-9.5.service"):
        assert act(services=[name], check_mode=True).changed
