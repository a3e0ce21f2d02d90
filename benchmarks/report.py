# SPDX-License-Identifier: Apache-2.0
"""What was measured as a table, as data, and as a plot; and where the README shows them."""

import datetime
import json
import os
import platform
import re
import statistics
import subprocess

from .measure import ROOT

HEAD = "| what | cm_persist | against | takes | ratio | goal | |\n| --- | --- | --- | --- | --- | --- | --- |\n"
RESULTS = os.path.join(ROOT, "benchmarks", "results.json")
PLOT = os.path.join(ROOT, "benchmarks", "results.svg")
MARKED = "(?s)(<!-- bench -->\n).*?(<!-- /bench -->)"
PAGE = os.path.join(ROOT, "README.md")


def line(note):
    """str: the line of the table for a row, as results.json has it."""
    ours, theirs = (_amount(statistics.median(note[side]), note["unit"]) for side in ("ours", "theirs"))
    goal = "-" if note["goal"] is None else "{:g}".format(note["goal"])
    return "| {} | {} | {} | {} | {:.2f} | {} | {} |".format(
        note["what"], ours, note["peer"], theirs, note["ratio"], goal, note["verdict"]
    )


def table(notes):
    """str: the whole table."""
    return HEAD + "".join(line(note) + "\n" for note in notes)


def publish(notes, full, commit):
    """Write results.json, the plot, and the table in the README."""
    machine = {
        "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "python": platform.python_version(),
        "ansible-core": _version_of_ansible(),
    }  # fmt: skip
    run = {"date": datetime.date.today().isoformat(), "commit": commit, "full": full, "machine": machine, "rows": notes}
    with open(RESULTS, "w") as file:
        json.dump(run, file, indent=1)
        file.write("\n")
    _plot(notes)
    with open(PAGE) as file:
        text = file.read()
    text, count = re.subn(MARKED, lambda found: found[1] + table(notes) + found[2], text)
    assert count == 1, "the README has no place for the table"
    with open(PAGE, "w") as file:
        file.write(text)


def _amount(value, unit):
    return "{:.3g} {}".format(value, unit) if value < 1000 else "{:,.0f} {}".format(value, unit)


def _version_of_ansible():
    from ansible.release import __version__

    return __version__


def _plot(notes):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "cm_persist", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    )
    from matplotlib import pyplot

    shown = [note for note in notes if note["goal"] is not None][::-1]
    figure, axes = pyplot.subplots(figsize=(9.5, 0.42 * len(shown) + 1.2))
    colours = ["#2e7d32" if note["verdict"] == "met" else "#c62828" for note in shown]
    axes.barh(range(len(shown)), [note["ratio"] for note in shown], color=colours, height=0.6)
    for place, note in enumerate(shown):
        axes.plot([note["goal"]] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
        axes.text(max(note["ratio"], note["goal"]) + 0.03, place, "{:.2f}".format(note["ratio"]), va="center")
    axes.axvline(1, color="#9e9e9e", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(shown)), ["{}\nagainst {}".format(note["what"], note["peer"]) for note in shown], fontsize=7)
    axes.set_xlabel("time of cm_persist, the peer's being 1; the black mark is the goal (shorter is better)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def commit_id():
    """str: which commit is measured."""
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout.strip()
