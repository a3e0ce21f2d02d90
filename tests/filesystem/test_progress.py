# SPDX-License-Identifier: Apache-2.0
"""The progress of a copy: every copying process counts, and the log of a start on a slow volume shows it."""

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from container.progress import ProgressLog
from module_utils.cm_persist.tree import progress
from module_utils.cm_persist.tree import workers as pool
from module_utils.cm_persist.tree.progress import ProgressSeen
from tests.faults.blocklog import BlockLog
from tests.faults.power import make_disk, mounted
from tests.plays import play
from tests.site import run, write

LINE = re.compile(
    r"cm_persist: (/\S+): copying, ([\d,]+) of ([\d,]+) files, [\d.]+ \w+ of [\d.]+ \w+, [\d.]+ \w+/s, \d+ s left|"
    r"cm_persist: (/\S+): copied ([\d,]+) files, [\d.]+ \w+ in ([\d.]+) s, .*|"
    r"cm_persist: (?:writing|written) to disk, (\d+) s"
)


@pytest.mark.parametrize("workers", [0, 3])
def test_what_is_counted_is_what_was_copied(site, workers, monkeypatch):
    monkeypatch.setattr(pool, "wanted", lambda *_load: workers)
    for number in range(300):
        write(site.path("data/{:03}".format(number)), "x" * number * 100)
    with open(site.path("data/large"), "wb") as file:
        file.write(os.urandom(20 << 20))
    file = os.path.join(site.top, "progress")
    began = []
    begin = progress.begin
    monkeypatch.setattr(progress, "begin", lambda *what: (began.append(what), begin(*what)) if what else None)
    progress.watch({progress.VARIABLE: file})
    try:
        outcome = site.seed()
    finally:
        progress.watch({})
    seen = progress.read(file)
    assert began == [(site.path(), seen.of_files, seen.of_bytes)]
    assert (seen.path, seen.files, seen.bytes) == (site.path(), outcome.paths[0]["files"], outcome.paths[0]["bytes"])
    assert (seen.of_files, seen.of_bytes) == (seen.files, seen.bytes)


def test_who_cannot_be_told_is_not(site):
    progress.watch({progress.VARIABLE: os.path.join(site.top, "nowhere", "progress")})
    assert site.seed().paths[0]["state"] == "seeded" and progress.read(os.path.join(site.top, "nowhere")) is None


def shown(seen, as_json=False, terminal=False):
    """str: what a teller says of what was seen, a list of (seconds, Seen or None)."""
    stream = io.StringIO()
    teller = ProgressLog(stream, as_json, terminal)
    for now, each in seen:
        teller.see(each, now)
    teller.finish(seen[-1][0])
    return stream.getvalue()


def copying(path, began, megabytes):
    return ProgressSeen(path, megabytes, megabytes * 10**6, 100, 100 * 10**6, began)


def test_a_short_copy_says_nothing():
    assert shown([(second, copying("/a", 100.0, int(second) - 99)) for second in (100.0, 102.0, 104.0)]) == ""


def test_a_long_one_says_where_it_is_and_the_totals():
    seen = [(100.0 + second / 4, copying("/a", 100.0, second * 2)) for second in range(49)]
    lines = shown(seen).splitlines()
    assert lines == [
        "cm_persist: /a: copying, 36 of 100 files, 36.0 MB of 100.0 MB, 8.0 MB/s, 8 s left",
        "cm_persist: /a: copying, 72 of 100 files, 72.0 MB of 100.0 MB, 8.0 MB/s, 4 s left",
        "cm_persist: /a: copied 96 files, 96.0 MB in 12.0 s, 8.0 MB/s",
    ]
    events = [json.loads(line) for line in shown(seen, as_json=True).splitlines()]
    assert [(each["files"], each["of_bytes"]) for each in events] == [(36, 10**8), (72, 10**8), (96, 10**8)]
    assert [each["done"] for each in events] == [False, False, True]
    assert all(each["event"] == "progress" and each["path"] == "/a" for each in events)


def test_many_short_ones_are_not_silent_together():
    seen = [(100.0 + second, copying("/{}".format(second // 2), 100.0 + second // 2 * 2, 50)) for second in range(12)]
    assert "cm_persist: /2: copying" in shown(seen)


def test_writing_to_disk_is_told_and_nothing_where_nothing_is_seen():
    disk = [(100.0 + second, ProgressSeen("", 0, 0, 0, 0, 100.0)) for second in range(8)]
    assert shown([(99.0, None), *disk]) == "cm_persist: writing to disk, 5 s\ncm_persist: written to disk, 7 s\n"
    assert shown([(99.0, None)]) == ""


def test_on_a_terminal_it_is_a_bar():
    text = shown([(100.0 + second, copying("/a", 100.0, 50 * second)) for second in range(3)], terminal=True)
    bars = text.split("\r\x1b[K")
    assert bars[1].startswith("cm_persist: [############............]  50 % /a: copying, 50 of 100 files")
    assert bars[2].startswith("cm_persist: [########################] 100 %") and text.endswith("\n")


def test_a_real_terminal_gets_it(top):
    file = os.path.join(top, "progress")
    progress.watch({progress.VARIABLE: file})
    try:
        progress.begin("/a", 10, 1000)
        progress.add(5, 500)
        terminal, inside = pty.openpty()
        teller = subprocess.Popen([sys.executable, "container/progress.py", file, str(os.getpid())], stdout=inside)
        os.close(inside)
        shown = b""
        while b" 50 % /a: copying, 5 of 10 files" not in shown:
            shown += os.read(terminal, 1000)
        teller.terminate()
        assert teller.wait() == 0 and b"\r\x1b[K" in shown
        os.close(terminal)
    finally:
        progress.watch({})


@pytest.mark.root
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_a_start_with_a_slow_volume(site, top, form):
    for number in range(100):
        write(site.path("data/{:03}".format(number)), "x" * 5000)
    disk = os.path.join(top, "disk")
    make_disk("ext4", disk)
    with BlockLog(disk + ".volume", disk, disk + ".log", delay=0.02) as log, mounted("ext4", log.path, site.store):
        run("mount", "-o", "remount,sync", site.store)  # else the copy is only in memory, and the wait is for the disk
        variables = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()]}
        done = play("start.yml", variables, ANSIBLE_STDOUT_CALLBACK="cm_persist", CM_PERSIST_LOG=form)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    if form == "json":
        events = [json.loads(line) for line in lines]
        reports = [event for event in events if event["event"] == "progress" and event["path"]]
        assert reports[-1]["done"] and reports[-1]["files"] == reports[-1]["of_files"] == 103 and len(reports) > 1
        (path,) = [event for event in events if event["event"] == "path"]
        assert path["path"] == site.path() and path["seeded"]["files"] == 103 and events[-1]["event"] == "end"
        return
    reports = [LINE.match(line) for line in lines]
    copying = [match for match in reports if match and match.group(1)]
    (total,) = [match for match in reports if match and match.group(4)]
    assert {match.group(1) for match in copying} == {total.group(4)} == {site.path()}
    assert [match.group(3) for match in copying] == ["103"] * len(copying) and total.group(5) == "103"
    # At least every five seconds, but for the one who looks being late once.
    assert len(copying) >= int(float(total.group(6))) // 5 - 1 and len(copying) >= 1


def test_the_teller_ends_with_who_started_it(top):
    teller = "[sys.executable, 'container/progress.py', {!r}, str(os.getpid())]".format(top + "/none")
    script = "import os, subprocess, sys; subprocess.Popen({})".format(teller)
    run(sys.executable, "-c", script, timeout=20)  # its output is ours, and so this waits for its end
