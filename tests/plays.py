# SPDX-License-Identifier: Apache-2.0
"""Runs the real playbooks by ansible-playbook, and reads what their modules returned."""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CALLBACKS = os.path.join(ROOT, "tests", "filesystem", "callbacks")
OWN = os.path.dirname(sys.executable)  # the programs of the Ansible that the tests themselves have


def play(book, variables, *arguments, programs=OWN, **environment):
    """CompletedProcess: of ansible-playbook, of the Ansible whose programs lie there, on a book of the repository or another."""
    command = [os.path.join(programs, "ansible-playbook"), os.path.join(ROOT, "playbooks", book)]
    environment = dict(
        os.environ,
        ANSIBLE_CONFIG=os.path.join(ROOT, "ansible.cfg"),
        ANSIBLE_NOCOLOR="1",
        LC_ALL="C.UTF-8",
        **environment,
    )
    command += ["-e", json.dumps(variables), *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def each_result(book, variables, *arguments, programs=OWN):
    """tuple: (exit status, list of dict: module, failed and result of each task, in their order)."""
    plugin = {"ANSIBLE_CALLBACK_PLUGINS": CALLBACKS, "ANSIBLE_STDOUT_CALLBACK": "results"}
    done = play(book, variables, *arguments, programs=programs, **plugin)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    return done.returncode, lines


def results(book, variables, *arguments):
    """tuple: (exit status, dict of module name to what it returned)."""
    code, lines = each_result(book, variables, *arguments)
    return code, {line["module"]: line["result"] for line in lines}
