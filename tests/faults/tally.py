# SPDX-License-Identifier: Apache-2.0
"""What was tried and what went wrong, counted while the suite runs; a full run writes it into the README as a table."""

import collections
import os
import platform

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")
BEGIN, END = "<!-- made by make faults: begin -->\n", "<!-- made by make faults: end -->\n"
KINDS = ("lost", "torn", "escaped", "stuck")


class Tally:
    """The rows of the table, in the order in which they were first named."""

    def __init__(self):
        self.rows = collections.OrderedDict()

    def count(self, what, tried, problems=()):
        """Count attempts.

        Args:
            what (str): the row: the fault, and where it was injected.
            tried (int): how many points, images, trees or races.
            problems (list of (kind, text)): what went wrong with them, as Scene tells it.
        """
        row = self.rows.setdefault(what, collections.Counter())
        row["tried"] += tried
        row.update(kind for kind, _text in problems)

    def table(self):
        """str: the rows in Markdown."""
        lines = ["| fault | tried | {} |".format(" | ".join(KINDS)), "| --- " * (len(KINDS) + 2) + "|"]
        for what, row in self.rows.items():
            lines.append("| {} | {:,} | {} |".format(what, row["tried"], " | ".join(str(row[kind]) for kind in KINDS)))
        return "\n".join(lines) + "\n"

    def publish(self, failed):
        """Put the table into the README. failed (int) is how many of the tests did."""
        with open(README) as file:
            head, _begin, rest = file.read().partition(BEGIN)
        _old, _end, tail = rest.partition(END)
        machine = "Linux {}, Python {}, {} processors".format(
            platform.release(), platform.python_version(), len(os.sched_getaffinity(0))
        )
        with open(README, "w") as file:
            file.write(
                "{}{}\n{}\nMade on {}; {} tests failed.\n\n{}{}".format(head, BEGIN, self.table(), machine, failed, END, tail)
            )
