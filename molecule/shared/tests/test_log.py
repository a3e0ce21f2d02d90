"""The log of the last start is, line by line, one of the parts of the scenario's expected.log; blank lines part them.

There # stands for a number, SIZE for an amount of bytes, and three dots for anything. Where no container's start has written it,
a scenario leaves it in start.log. The lines that init writes later are not cm_persist's.
"""

import os
import pathlib
import re

SCENARIO = pathlib.Path(__file__).parents[2] / os.environ["MOLECULE_SCENARIO_NAME"]
MOST = 15  # lines where all is well
STANDS_FOR = {r"\#": r"[\d,]+(?:\.\d+)?", "SIZE": r"[\d.]+ (?:bytes|kB|MB|GB)", r"\.\.\.": ".*"}


def pattern(line):
    """A regular expression for a line of expected.log."""
    text = re.escape(line)
    for sign, meaning in STANDS_FOR.items():
        text = text.replace(sign, meaning)
    return text


def test_the_log_is_as_expected(request, scratch):
    kept = scratch / "start.log"
    log = kept.read_text() if kept.exists() else request.getfixturevalue("log")
    lines = [line for line in log.splitlines() if line.startswith("cm_persist: ")]
    parts = [part.splitlines() for part in (SCENARIO / "expected.log").read_text().split("\n\n")]
    assert [part for part in parts if re.fullmatch("\n".join(map(pattern, part)), "\n".join(lines))], log
    assert len(lines) <= MOST
