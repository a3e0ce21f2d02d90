# SPDX-License-Identifier: Apache-2.0
"""What a measurement is: a row of two sides, taken alternately in one run, compared by their medians."""

import os
import statistics
import subprocess
import sys
import time
from typing import List, NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Row(NamedTuple):
    """One comparison.

    Attributes:
        what (str): what was measured.
        peer (str): what it is compared with; a limit, where theirs is a single number.
        ours, theirs (list of float): of each round, in the unit.
        goal (float): the ratio of ours to theirs that is to be reached, at most; None where a figure is only told.
        unit (str): s for seconds, MB for 10^6 bytes.
    """

    what: str
    peer: str
    ours: List[float]
    theirs: List[float]
    goal: Optional[float]
    unit: str = "s"

    @property
    def ratio(self):
        """float: ours to theirs, by their medians."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def verdict(self):
        """str: whether the goal is met, or by how much it is missed."""
        if self.goal is None:
            return "-"
        if self.ratio <= self.goal:
            return "met"
        return "missed by {:.0f} %".format(100 * (self.ratio / self.goal - 1)) if self.goal else "missed"

    def note(self):
        """dict: the row as it is kept."""
        return {
            "what": self.what, "peer": self.peer, "unit": self.unit, "goal": self.goal, "verdict": self.verdict,
            "ours": [round(value, 4) for value in self.ours], "theirs": [round(value, 4) for value in self.theirs],
            "ratio": round(self.ratio, 3),
        }  # fmt: skip


def alternate(rounds, *sides):
    """Measure several things in turn.

    Args:
        rounds (int): how often.
        sides (callables): each measures once, and gives a float.

    Returns:
        list of list of float: of each side, what it gave in each round.
    """
    found = [[side() for side in sides] for _round in range(rounds)]
    return [list(side) for side in zip(*found)]


def seconds(command, **options):
    """float: how long a command (list of str) takes; it must succeed. Options as of subprocess.run."""
    begin = time.perf_counter()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    took = time.perf_counter() - begin
    if done.returncode:
        sys.exit("bench: {} failed:\n{}".format(" ".join(command[:6]), done.stdout.decode()))
    return took


def shell(script, *arguments):
    """list of str: the command that runs a script of sh with arguments."""
    return ["sh", "-ec", script, "sh", *arguments]
