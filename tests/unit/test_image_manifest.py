# SPDX-License-Identifier: Apache-2.0
"""What an image build lists, container/image_manifest.py, on a directory that plays the image's root."""

import importlib.util
import os

from module_utils.cm_persist.fs.node import ParentDir
from module_utils.cm_persist.original.pristine import find_proof, manifests_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def listing(root, file):
    spec = importlib.util.spec_from_file_location("image_manifest", os.path.join(ROOT, "container", "image_manifest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(file, root=root)
    with open(file) as lines:
        return [line.split(" ")[6] for line in lines.read().splitlines()[1:-1]]


def test_it_lists_everything_that_stays(tmp_path):
    root = tmp_path / "root"
    for directory in ("opt/manager/resources", "opt/manager-2", "proc/1", "tmp/x", "run", "sys", "dev", "var/lib"):
        os.makedirs(str(root / directory))
    (root / "opt/manager/a b").write_text("text")
    (root / "var/run").symlink_to("/run")
    assert listing(str(root), str(tmp_path / "list")) == [
        "opt", "opt/manager", "opt/manager/a%20b", "opt/manager/resources", "opt/manager-2", "var", "var/lib", "var/run",
    ]  # fmt: skip


def test_what_it_lists_proves_an_original_that_is_named_over_a_link(tmp_path):
    root = tmp_path / "root"
    os.makedirs(str(root / "opt/data"))
    (root / "opt/data/file").write_text("text")
    (root / "link").symlink_to("opt")
    listing(str(root), str(tmp_path / "list"))
    with ParentDir(str(root / "link/data")) as image:
        (manifest,) = manifests_of(image, str(tmp_path / "list"), "")
        assert manifest.within == str(root / "opt/data")[1:]
        manifest = manifest._replace(within="opt/data")  # the root is not /, here
        assert find_proof([manifest], image) == (manifest, None)
        (root / "opt/data/file").write_text("other")
        assert find_proof([manifest], image)[1].path == b"file"
