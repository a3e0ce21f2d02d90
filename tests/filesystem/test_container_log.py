# SPDX-License-Identifier: Apache-2.0
"""What the scripts of a container say by themselves, around Ansible: as text, or with CM_PERSIST_LOG=json as JSON."""

import json
import os
import subprocess

import pytest

CONTAINER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "container")
ODD = 'a "quoted" \\ word, a\ttab\nand a line, déjà vu'


def told(*command, form="", code=0):
    """list of str: the lines that a command writes."""
    environment = dict(os.environ, CM_PERSIST_LOG=form, LC_ALL="C.UTF-8")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == code, done.stdout
    return done.stdout.splitlines()


def say(*words, form=""):
    return told("sh", "-c", '. "$0/say" && say "$@"', CONTAINER, *words, form=form)


def test_as_text():
    assert say("info", "waits", "it waits") == ["cm_persist: it waits"]
    two = say("error", "failure", "/a: found", "Do this.")
    assert two == ["cm_persist: FAILED: /a: found", "cm_persist: what to do: Do this."]


def test_as_json():
    (line,) = say("error", "failure", ODD, ODD, form="json")
    event = json.loads(line)
    plain = ODD.replace("\t", " ").replace("\n", " ")
    assert (event["level"], event["event"], event["message"], event["hint"]) == ("error", "failure", plain, plain)
    assert set(json.loads(say("info", "waits", "it waits", form="json")[0])) == {"time", "level", "event", "message"}


@pytest.mark.parametrize("form", ["", "json"])
def test_play_outside_an_image(form):
    lines = told("sh", os.path.join(CONTAINER, "play"), "start", form=form, code=4)
    if form:
        assert json.loads(lines[0])["hint"] == "In a clone, run ansible-playbook playbooks/start.yml." and len(lines) == 1
    else:
        assert "this is not an image" in lines[0] and "what to do: In a clone" in lines[1] and len(lines) == 2
