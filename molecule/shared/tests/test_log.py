# SPDX-License-Identifier: Apache-2.0
"""The log of the last start is, line by line, one of the parts of the scenario's expected.log (conftest.py tells how to read it).

Where no container's start has written it, a scenario leaves it in start.log.
"""

from conftest import is_as_expected


def test_the_log_is_as_expected(request, scratch):
    kept = scratch / "start.log"
    log = kept.read_text() if kept.exists() else request.getfixturevalue("log")
    assert is_as_expected(log.splitlines()), log
