# SPDX-License-Identifier: Apache-2.0
"""The log of a start as an operator reads it: a line for each state path, and the reason last where it failed."""

DOCUMENTATION = r"""
name: cm_persist
type: stdout
short_description: What cm_persist did, a line for each state path
description:
  - Prints what the modules of cm_persist report, warnings, and at the end one closing line.
  - Where a start failed, the last line says what was found, where, and what to do.
"""

import time

from ansible.plugins.callback import CallbackBase

STORE_STATES = {
    "absent": "no persistence",
    "empty": "first run",
    "foreign": "first run, beside other content",
    "partial": "start with a store that lacked something",
    "seeded": "restart",
}


class CallbackModule(CallbackBase):
    """Takes the results of persist_seed, persist_link and secret_link; other tasks show only when they fail."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "cm_persist"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begin = time.monotonic()
        self._seeded = {}  # host -> the result of persist_seed
        self._closing = {}  # host -> the sentence to end with
        self._failures = []
        self._check_mode = False

    def v2_runner_on_ok(self, result):
        """Say what a module did."""
        values, host = result._result, self._name(result)
        self._check_mode = self._check_mode or result._task.check_mode
        self._warn(host, values)
        action = result._task.action.split(".")[-1]
        if action == "persist_seed":
            self._seeded[host] = values
            self._closing[host] = STORE_STATES.get(values["store_state"], values["store_state"])
            if values["store_state"] == "absent":
                self._closing[host] = values["msg"]
            back = [entry for entry in values["paths"] if entry["state"] == "rolled_back"]
            for entry in back:
                said = "{}{}: {}rolled back, {}; what was there is kept"
                self._say(said.format(host, entry["path"], "would be " if result._task.check_mode else "", _amount(entry)))
            if back:
                self._closing[host] = "rolled back"
        elif action == "persist_link":
            self._paths(host, values, "would be " if result._task.check_mode else "")
            if values["msg"]:
                self._closing.setdefault(host, values["msg"])
        elif action == "secret_link":
            self._closing[host] = values["msg"]

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Keep the reason for the end."""
        if not ignore_errors:
            values = result._result
            self._warn(self._name(result), values)
            reasons = values.get("argument_errors") or [values.get("msg") or values.get("module_stderr") or "unknown reason"]
            self._failures.append("{}{}".format(self._name(result), " ".join("; ".join(map(str, reasons)).split())))

    def v2_runner_on_unreachable(self, result):
        """Keep the reason for the end."""
        self._failures.append("{}unreachable: {}".format(self._name(result), result._result.get("msg")))

    def v2_on_file_diff(self, result):
        """Show the plan."""
        text = (result._result.get("diff") or {}).get("prepared", "")
        if text:
            self._say(text.rstrip("\n"))

    def v2_playbook_on_stats(self, stats):
        """Say the closing line, or what failed: the last line of the log is the one that is read."""
        for host, sentence in sorted(self._closing.items()):
            if not self._failures:
                self._say("{}{} ({:.1f} s)".format(host, sentence, time.monotonic() - self._begin))
        if self._check_mode:
            self._say("check mode: nothing was changed")
        for failure in self._failures:
            self._say("FAILED: {}".format(failure))

    def _warn(self, host, values):
        for warning in values.get("warnings") or ():
            if warning != values.get("msg"):  # that will be the closing line
                self._say("{}warning: {}".format(host, warning))

    def _paths(self, host, values, check):
        seeded = {entry["path"]: entry for entry in self._seeded.get(host, {}).get("paths", ())}
        for entry in values["paths"]:
            words = [_seed_words(seeded[entry["path"]], check)] if entry["path"] in seeded else []
            words.append(_link_words(entry, check, bool(values["msg"])))
            self._say("{}{}: {}".format(host, entry["path"], "; ".join(words)))

    def _name(self, result):
        host = result._host.get_name()
        return "" if host == "localhost" else "{}: ".format(host)

    def _say(self, text):
        for line in text.splitlines():
            self._display.display("cm_persist: {}".format(line))


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
    return "{}, {}".format(_count(entry["files"]), _size(entry["bytes"]))


def _changes(counts):
    words = ["{} {}".format(counts[what], what) for what in ("changed", "added", "removed") if counts.get(what)]
    if counts.get("beside"):
        words.append("{} beside as .cm_persist-new".format(counts["beside"]))
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
    what = "what stood there, which may be newer," if entry["diverged"] else "original"
    if entry["original"] == "discarded":
        return words + ", original left to the image"
    if leaving and entry["aside"]:
        return words + ", what was put aside is still at " + entry["aside"]
    return words + ", {} kept {}".format(what, "at " + entry["aside"] if entry["aside"] else "under it")


def _size(count):
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return "{:.1f} {}".format(count, unit) if unit != "bytes" else "{} bytes".format(count)
        count /= 1000
    return ""


def _count(number):
    return "1 file" if number == 1 else "{:,} files".format(number)
