# SPDX-License-Identifier: Apache-2.0
"""What a plan is: check mode, --diff and a real run are three readings of it."""

from typing import List, NamedTuple


class Plan(NamedTuple):
    """steps to execute in this order, each with describe() and execute(); the result of each state path as it will be;

    and what to warn of. resume_only says that it only completes what was begun before, and that another has to be made then.
    """

    steps: List[tuple]
    paths: List[dict]
    warnings: List[str]
    resume_only: bool = False


def result_of(spec, state, files, size):
    """dict: the result of a state path (StatePath), with what it has in files and bytes."""
    return {"path": spec.path, "state": state, "files": files, "bytes": size}


class Outcome(NamedTuple):
    """The result of one module: steps as they read, the store's state as it was found, each path's result."""

    changed: bool
    store_state: str
    steps: List[str]
    paths: List[dict]
    warnings: List[str]
    message: str = ""
