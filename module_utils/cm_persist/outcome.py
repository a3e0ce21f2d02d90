# SPDX-License-Identifier: Apache-2.0
"""What the modules return, and what they refuse alike when there is no store."""

import os
from typing import List, NamedTuple

from .errors import PathError
from .spec import inside


class Outcome(NamedTuple):
    """The result of one module: steps as they read, the store's state as it was found, each path's result."""

    changed: bool
    store_state: str
    steps: List[str]
    paths: List[dict]
    warnings: List[str]
    message: str = ""


def refuse_dangling(found, specs):
    """Without a store nothing is done; unless a state path hangs on it, as a manager must not start on nothing.

    Args:
        found (Found): why there is no store.
        specs (list of StatePath): the state paths.

    Raises:
        PathError: a state path is a link into the store.
    """
    for spec in specs:
        target = os.readlink(spec.path) if os.path.islink(spec.path) else ""
        if inside(target, found.path):
            raise PathError(
                spec.path,
                "it is a link into the store, but {}".format(found.absent),
                "Mount the volume that holds it; or re-create the container from its image.",
                store_state="absent",
            )
