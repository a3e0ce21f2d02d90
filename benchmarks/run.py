# SPDX-License-Identifier: Apache-2.0
"""Speed, as ratios to what one would use instead, measured alternately in one run. Needs root, to mount.

usage: run.py [--full] [NAME…]

NAME is linking, playing, copying, growing or layer; without one all of them are run, and what was found is published: in
results.json, results.svg and the README. --full takes more rounds, and up to a million files.
"""

import importlib
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks import report  # noqa: E402

PARTS = ("linking", "playing", "copying", "growing", "layer")


def main(arguments):
    """Measure, print each row when it is known, and publish a whole run."""
    if os.geteuid():
        sys.exit("bench: mounting file systems needs root")
    full = "--full" in arguments
    names = [name for name in arguments if name != "--full"]
    if set(names) - set(PARTS):
        sys.exit(__doc__.strip().split("\n\n", 1)[1])
    commit, notes = report.commit_id(), []
    print(report.HEAD, end="", flush=True)
    with tempfile.TemporaryDirectory(prefix="cm_persist-bench-", dir="/var/tmp") as top:
        for name in names or PARTS:
            for row in importlib.import_module("benchmarks." + name).rows(top, full):
                notes.append(row.note())
                print(report.line(notes[-1]), flush=True)
    missed = sum(note["verdict"].startswith("missed") for note in notes)
    print("\n{} goals, {} missed".format(sum(note["goal"] is not None for note in notes), missed))
    if not names:
        report.publish(notes, full, commit)


if __name__ == "__main__":
    main(sys.argv[1:])
