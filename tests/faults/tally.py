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

    def table(self, before=()):
        """str: the rows in Markdown; before are the lines of an older table whose other rows are to stay."""
        head = ["| fault | tried | {} |".format(" | ".join(KINDS)), "| --- " * (len(KINDS) + 2) + "|"]
        lines = collections.OrderedDict((line.split(" | ")[0], line) for line in before if line not in head)
        for what, row in self.rows.items():
            counts = " | ".join(str(row[kind]) for kind in KINDS)
            lines["| " + what] = "| {} | {:,} | {} |".format(what, row["tried"], counts)
        return "\n".join([*head, *lines.values()]) + "\n"

    def publish(self, keep):
        """Put the table into the README. keep (bool): with the rows that are there and that this run has not."""
        with open(README) as file:
            head, _begin, rest = file.read().partition(BEGIN)
        old, _end, tail = rest.partition(END)
        machine = "Linux {}, Python {}, {} processors".format(
            platform.release(), platform.python_version(), len(os.sched_getaffinity(0))
        )
        table = self.table([line for line in old.splitlines() if line.startswith("| ")] if keep else ())
        with open(README, "w") as file:
            file.write("{}{}\n{}\nMade on {}.\n\n{}{}".format(head, BEGIN, table, machine, END, tail))
