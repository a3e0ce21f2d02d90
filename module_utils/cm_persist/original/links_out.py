# SPDX-License-Identifier: Apache-2.0
"""Relative symbolic links that lead out of a state path: once the path is a link itself, the kernel follows them from the store,
where nothing is but the state paths."""

import os
from typing import Iterable, List, NamedTuple, Tuple

from ..paths import StatePath, inside
from ..text import some


class LinkOut(NamedTuple):
    """A link, by its path relative to the state path, and the path in the image that it leads to."""

    link: str
    leads_to: str


def find_links_out(
    spec: StatePath, specs: Iterable[StatePath], store_path: str, leading_out: Iterable[Tuple[bytes, bytes]]
) -> List[LinkOut]:
    """The links of a state path (leading_out, as a scan gives them) that lead somewhere in the image, and would not once the path
    is a link. specs are all state paths: the store has these where the image has them."""
    if spec.method != "symlink":
        return []
    directory, name = os.path.split(spec.path)
    place, found = os.path.join(os.path.realpath(directory), name), []
    for link, leads_to in leading_out:
        own, real = (os.path.normpath(os.path.join(top, os.fsdecode(leads_to))) for top in (spec.path, place))
        # With more ".." than there are directories, it leads to the same path from everywhere.
        from_store = os.path.normpath(os.path.join(store_path + spec.path, os.fsdecode(leads_to)))
        if from_store != own and not any(inside(own, other.path) for other in specs) and os.path.exists(real):
            found.append(LinkOut(os.fsdecode(link), own))
    return found


def describe(links: Iterable[LinkOut]) -> str:
    """The first of some links, and where they lead, for an error."""
    return some(["{} to {}".format(*each) for each in links])
