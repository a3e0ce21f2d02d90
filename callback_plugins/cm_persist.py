# SPDX-License-Identifier: Apache-2.0
"""The log of a start as an operator reads it: a line for each state path, and the reason last where it failed."""

DOCUMENTATION = r"""
name: cm_persist
type: stdout
short_description: What cm_persist did, a line for each state path
description:
  - Prints the results of the modules of cm_persist, their warnings, and at the end one closing line. C(vm.yml) checks what it
    has to do before it stops anything; the log shows the result of that check at the end, and only if it was not done.
  - If something failed, the last two lines say what was found, where, and what to do.
  - Shows the progress of a long copy every five seconds, on a terminal as a bar.
  - With C(CM_PERSIST_LOG=json) in the environment, each line is a JSON object instead, with the keys C(time), C(level),
    C(event), C(host) and C(message), and with the values that the message is made of.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(HOME)

from module_utils.cm_persist.text import files, size  # noqa: E402

PROGRESS = "CM_PERSIST_PROGRESS"  # as module_utils/cm_persist/tree/progress.py has it
FIX = "Fix this, then run again. With ANSIBLE_STDOUT_CALLBACK=default Ansible shows each task."
CORRECTED = "Correct the variables; the README says what each of them takes."

STORE_STATES = {
    "absent": "no persistence",
    "empty": "first run",
    "foreign": "first run, next to other content",
    "partial": "start with a store that lacked something",
    "seeded": "restart",
}


class CallbackModule(CallbackBase):
    """Shows the results of the modules of cm_persist; other tasks only if they fail."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "cm_persist"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begin = time.monotonic()
        self._seeded = {}  # host -> the result of persist_seed
        self._closing = {}  # host -> the sentence to end with
        self._warned = set()  # of (host, warning)
        self._rehearsed = {}  # host -> results in check mode, until the real run reports the same
        self._failures = []  # (host, what was found, what to do, the result's values)
        self._check_mode = bool(context.CLIARGS.get("check"))  # of the whole run: vm.yml runs tasks in check mode in every run
        self._json = {"": False, "text": False, "json": True}.get(os.environ.get("CM_PERSIST_LOG", ""))
        if self._json is None:
            raise AnsibleError("CM_PERSIST_LOG is {}; it takes text or json.".format(os.environ["CM_PERSIST_LOG"]))
        # Before any process of Ansible's is forked: modules on this machine inherit it.
        self._scratch = tempfile.mkdtemp(prefix="cm_persist-")
        os.environ[PROGRESS] = os.path.join(self._scratch, "progress")
        self._progress, self._progress_since = None, 0.0

    def v2_runner_on_start(self, host, task):
        """Start the program that shows the progress of a copy."""
        if task.action.split(".")[-1] == "persist_seed" and self._progress is None:
            program = os.path.join(HOME, "container", "progress.py")
            command = [sys.executable, "-B", program, os.environ[PROGRESS], str(os.getpid())]
            # Named one by one: newer releases of Ansible let no child inherit them.
            self._progress = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=1, stderr=2)
            self._progress_since = time.monotonic()

    def v2_runner_on_ok(self, result):
        """Show the result of a module."""
        self._end_progress()
        host = self._name(result)
        if result._task.check_mode and not self._check_mode:
            before = self._rehearsed.setdefault(host, [])
            if before or result._result.get("steps"):  # a real run may follow, which reports the same
                before.append(result)
                return
        elif result._task.action.split(".")[-1] in ("persist_seed", "persist_link"):
            self._rehearsed.pop(host, None)
        self._show(result)

    def _show(self, result):
        values, host = result._result, self._name(result)
        action = result._task.action.split(".")[-1]
        if action == "persist_seed":
            self._seeded[host] = values
        self._warn(host, values)
        if action == "persist_seed":
            self._closing[host] = STORE_STATES.get(values["store_state"], values["store_state"])
            if values["store_state"] == "absent":
                self._closing[host] = values["msg"]
            back = [entry for entry in values["paths"] if entry["state"] == "rolled_back"]
            for entry in back:
                would = "would be " if result._task.check_mode else ""
                text = "{}: {}rolled back, {}; the replaced tree is kept".format(entry["path"], would, _amount(entry))
                self._say(text, "path", host, **entry)
            if back:
                self._closing[host] = "rolled back"
        elif action == "persist_link":
            self._paths(host, values, "would be " if result._task.check_mode else "")
            if values["msg"]:
                self._closing.setdefault(host, values["msg"])
        elif action in ("persist_info", "persist_audit"):
            if self._json:
                more = {key: value for key, value in values.items() if key not in ("msg", "table") and key[0] != "_"}
                self._say(values["msg"] or values["table"][0], action.split("_")[1], host, **more)
            else:
                for line in values["table"]:
                    self._say(line, "table", host)
                self._closing.update({host: values["msg"]} if values["msg"] else {})
        elif action == "secret_link":
            self._closing[host] = values["msg"]

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Note the failure for the end of the log."""
        self._end_progress()
        if not ignore_errors:
            values = result._result
            self._warn(self._name(result), values)
            wrong = values.get("argument_errors")
            reasons = wrong or [values.get("msg") or values.get("module_stderr") or "unknown reason"]
            found, hint = " ".join("; ".join(map(str, reasons)).split()), values.get("hint") or (CORRECTED if wrong else FIX)
            if found.endswith(hint):
                found = found[: -len(hint)].rstrip(" .")
            self._failures.append((self._name(result), found, hint, values))

    def v2_runner_on_unreachable(self, result):
        """Note the failure for the end of the log."""
        found = "unreachable: {}".format(result._result.get("msg"))
        self._failures.append((self._name(result), found, "Fix the connection, then run again.", {}))

    def v2_on_file_diff(self, result):
        """Show the plan."""
        text = (result._result.get("diff") or {}).get("prepared", "")
        if text:
            for line in text.splitlines():
                self._say(line, "step", self._name(result))

    def v2_playbook_on_stats(self, stats):
        """Print the closing line, or the failures: people read the last line of a log."""
        for result in [each for results in self._rehearsed.values() for each in results]:
            self._show(result)
        seconds = time.monotonic() - self._begin
        for host, sentence in sorted(self._closing.items()):
            if not self._failures:
                self._say("{} ({:.1f} s)".format(sentence, seconds), "end", host, seconds=round(seconds, 1))
        if self._check_mode:
            self._say("check mode: nothing was changed", "end", "")
        for host, found, hint, values in self._failures:
            more = {key: values[key] for key in ("where", "hint", "store_state") if key in values}
            if self._json:
                self._say(found, "failure", host, "error", **dict(more, hint=hint))
                continue
            self._say("FAILED: {}".format(found), "failure", host)
            self._say("what to do: {}".format(hint), "failure", host)
        self._end_progress()
        with contextlib.suppress(OSError):
            os.unlink(os.environ[PROGRESS])
        os.rmdir(self._scratch)

    def _end_progress(self):
        if self._progress is not None:
            # In the first four seconds it prints nothing, except on a terminal, and may not even have started.
            silent = time.monotonic() - self._progress_since < 4 and not os.isatty(1)
            (self._progress.kill if silent else self._progress.terminate)()
            self._progress.wait()
            self._progress = None

    def _warn(self, host, values):
        for warning in values.get("warnings") or ():
            # A warning that is the message will be the closing line; the real run repeats those of a check.
            if warning != values.get("msg") and (host, str(warning)) not in self._warned:
                self._warned.add((host, str(warning)))
                self._say(warning if self._json else "warning: {}".format(warning), "warning", host, "warning")

    def _paths(self, host, values, check):
        seeded = {entry["path"]: entry for entry in self._seeded.get(host, {}).get("paths", ())}
        for entry in values["paths"]:
            known = seeded.get(entry["path"], {})
            words = [_seed_words(known, check)] if known else []
            words.append(_link_words(entry, check, bool(values["msg"])))
            more = dict(entry, seeded=known) if known else entry
            self._say("{}: {}".format(entry["path"], "; ".join(words)), "path", host, **more)

    def _name(self, result):
        host = result._host.get_name()
        return "" if host == "localhost" else "{}: ".format(host)

    def _say(self, text, event, host, level="info", **more):
        if not self._json:
            self._display.display("cm_persist: {}{}".format(host, text))
            return
        head = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": level, "event": event}
        if host:
            head["host"] = host[:-2]
        self._display.display(json.dumps(dict(head, message=text, **more), sort_keys=False))


def _seed_words(entry, check):
    amount = _amount(entry)
    return {
        "merged": "{}merged with the image, {}".format(check, _changes(entry.get("image_change") or {})),
        "seeded": "{}seeded, {}".format(check, amount) + ("" if check else " in {:.1f} s".format(entry["seconds"])),
        "already": "already in the store ({} when it came there)".format(amount),
        "adopted": "{}adopted as it is, {}".format(check, amount),
        "missing": "in neither image nor store",
    }[entry["state"]]


def _amount(entry):
    return "{}, {}".format(files(entry["files"]), size(entry["bytes"]))


def _changes(counts):
    words = ["{} {}".format(counts[what], what) for what in ("changed", "added", "removed") if counts.get(what)]
    if counts.get("beside"):
        words.append("{} kept with .cm_persist-new next to them".format(counts["beside"]))
    return ", ".join(words) or "nothing to be done"


def _link_words(entry, check, leaving):
    words = {
        "linked": "{}linked ({})".format(check, entry["method"]),
        "already": "not linked" if leaving else "already linked",
        "unlinked": "{}off the store".format(check),
        "missing": "not linked",
    }[entry["state"]]
    if entry["state"] == "already" or entry["original"] == "none":
        return words
    what = "content that may be newer" if entry["diverged"] else "original"
    if entry["original"] == "discarded":
        return words + ", original left to the image"
    if leaving and entry["aside"]:
        return words + ", the original is still at " + entry["aside"]
    return words + ", {} kept {}".format(what, "at " + entry["aside"] if entry["aside"] else "under it")
