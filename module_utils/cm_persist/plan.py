# SPDX-License-Identifier: Apache-2.0
"""What a plan is: check mode, --diff and a real run are three readings of it."""

from typing import List, NamedTuple


class Plan(NamedTuple):
    """steps to execute in this order, each with describe() and execute(); the result of each state path as it will be;

    and what to warn of.
    """

    steps: List[tuple]
    paths: List[dict]
    warnings: List[str]
