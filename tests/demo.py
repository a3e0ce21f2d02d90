# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the real playbooks/start.yml on a tree shaped like Cloudify Manager's, in a scratch directory.

Needs neither root nor a container engine. A container's own file system is a directory here, "image"; making it anew
is what re-creating a container does. The volume is a directory too, so the check for a mount is turned off.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
STATE_PATHS = yaml.safe_load((REPOSITORY / "roles/cm_persist/defaults/main.yml").read_text())["cm_persist_paths"]
BUILT = 1530000000  # when this image was built, in seconds since the epoch
ROW = "blueprints/demo/inserted-by-the-manager.yaml"


def make_image(image):
    """Fill each state path as an image build would: small files, database pages, a link, a hard link, private modes."""
    shutil.rmtree(image, ignore_errors=True)
    content = random.Random(18)  # the same image every time
    for path in STATE_PATHS:
        top = image / path.lstrip("/")
        for number in range(300):
            file = top / "part-{}".format(number % 20) / "file-{}".format(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.randbytes(8192 if "pgsql" in path else 1500))
        (top / "current").symlink_to("part-0")
        os.link(str(top / "part-0/file-0"), str(top / "hard-link"))
        top.chmod(0o700 if "pgsql" in path else 0o750)
        for entry in [*top.rglob("*"), top]:  # an image's times are always the same, too
            os.utime(str(entry), (BUILT, BUILT), follow_symlinks=False)


def start(image, volume):
    """Run the playbook, as a container's entry point does before init."""
    variables = {
        "cm_persist_store": str(volume),
        "cm_persist_paths": [str(image) + path for path in STATE_PATHS],
        "cm_persist_require_mount": False,
    }
    command = ["ansible-playbook", "playbooks/start.yml", "--extra-vars", json.dumps(variables)]
    environment = dict(os.environ, ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"), ANSIBLE_STDOUT_CALLBACK="cm_persist")
    run = subprocess.run(command, cwd=str(REPOSITORY), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # The scratch directory's name says nothing to the reader.
    print(run.stdout.decode().replace(str(image.parent), "").rstrip())
    if run.returncode:
        sys.exit("demo: the playbook failed, see above")


def check(what, truth):
    """Say what was looked at, and stop where it is not so."""
    print("  {} {}".format("ok:" if truth else "WRONG:", what))
    if not truth:
        sys.exit(1)


def main():
    """Three acts."""
    with tempfile.TemporaryDirectory(prefix="cm_persist-demo-") as scratch:
        image, volume = Path(scratch, "image"), Path(scratch, "cfy-persist")
        row = image / "opt/manager/resources" / ROW
        links = [image / path.lstrip("/") for path in STATE_PATHS]
        (volume / "lost+found").mkdir(parents=True)

        print("\n1. First run: the volume is empty, the image is full\n")
        make_image(image)
        start(image, volume)
        check("each state path is a link into the volume", all(Path(os.readlink(link)).is_dir() for link in links))
        check("hard links are still one file", (links[0] / "hard-link").stat().st_nlink == 2)
        row.parent.mkdir(parents=True)
        row.write_text("a blueprint\n")
        print("  the manager writes {}".format(row.relative_to(scratch)))

        print("\n2. New container: its file system is made anew from the image, the volume is the same\n")
        make_image(image)
        check("the image does not know what the manager wrote", not row.exists())
        start(image, volume)
        check("what the manager wrote is there again", row.read_text() == "a blueprint\n")

        print("\n3. Restart of the same container\n")
        record = volume / ".cm_persist/record.json"
        before = record.stat()
        start(image, volume)
        check("nothing was written to the record", record.stat() == before)
        print("\nThe same in a container: see README.md. The scratch directory is removed.\n")


if __name__ == "__main__":
    main()
