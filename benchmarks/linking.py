# SPDX-License-Identifier: Apache-2.0
"""A container that is created anew: its image's original is out of the way, and a link into the store in its place."""

import os
import sys

from tests.site import Site, list_image

from . import fixture
from .measure import ROOT, Row, alternate, seconds, shell
from .playing import play
from .scene import Container

LINK = """
import sys
sys.path.insert(0, {root!r})
from module_utils.cm_persist.link.link import Settings, link
link(Settings(store={store!r}, paths=[{path!r}], require_mount=False, image_manifest={manifest!r}))
"""
AS_IN_AN_IMAGE = """
mount -t overlay overlay -o "lowerdir=/opt,upperdir=$1/upper,workdir=$1/work" /opt
mkdir -p /opt/cm_persist
cp "$2" /opt/cm_persist/image.manifest
shift 2
exec "$@"
"""
MOVE = 'mv "$1" "$1-initial" && ln -s "$2" "$1"'


def rows(top, full):
    """Yield the rows, measured in a scratch directory (str); full for more rounds."""
    top = os.path.join(top, "overlay")
    os.mkdir(top)
    site = Site(top)
    os.rename(site.image, os.path.join(top, "lower"))
    os.mkdir(site.image)
    _files, data = fixture.make(os.path.join(top, "lower", "data"))
    manifest = os.path.join(top, "image.manifest")
    with Container(top, site.image):
        site.seed()
        list_image(site.image, manifest)
    start = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}
    layer = []
    sides = (
        _in_a_new_container(
            site, layer, [sys.executable, "-c", LINK.format(root=ROOT, store=site.store, path=site.path(), manifest=manifest)]
        ),
        _in_a_new_container(site, layer, *_as_in_an_image(top, manifest, *play("start.yml", cm_persist_lease=False, **start))),
        _in_a_new_container(site, [], shell(MOVE, site.path(), site.stored())),
    )
    module, whole, theirs = alternate(5 if full else 3, *sides)
    yield Row("link phase of a container that is created anew", "mv and ln", module, theirs, 0.25)
    yield Row("the whole of start.yml in one", "mv and ln", whole, theirs, 1.0)
    yield Row("data in its layer then", "the original", [max(layer) / 1e6], [data / 1e6], 0.0, "MB")


def _as_in_an_image(top, manifest, command, options):
    """tuple: a command that finds the image's manifest where an image has it, and its options."""
    layers = os.path.join(top, "opt")
    for name in ("upper", "work"):
        os.makedirs(os.path.join(layers, name))
    return ["unshare", "--mount", *shell(AS_IN_AN_IMAGE, layers, manifest), *command], options


def _in_a_new_container(site, layer, command, options=None):
    def measure():
        with Container(site.top, site.image) as container:
            os.sync()
            took = seconds(command, **(options or {}))
            assert os.readlink(site.path()) == site.stored()
            layer.append(container.held())
            return took

    return measure
