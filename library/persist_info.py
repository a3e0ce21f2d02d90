#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_info
short_description: Tell how a persistent volume and its state paths are
description:
  - Looks at a mounted volume, the store, and at each state path, and tells what they hold, where they lead, what is kept beside
    them, and what is wrong.
  - Changes nothing, and makes nothing, whatever runs meanwhile. It can be run at any time.
  - Never fails because of what it finds; RV(healthy) tells whether all is well.
  - Without a store all is well, unless a state path hangs on it, as a link into it does.
options:
  store:
    description: Absolute path where the volume is mounted.
    type: path
    default: /cfy-persist
  paths:
    description:
      - The state paths. An entry is an absolute path, or a dictionary with the keys C(path), C(method),
        C(on_image_change) and C(missing) (see M(cm_persist.cm_persist.persist_seed)), of which C(path) alone counts here.
    type: list
    elements: raw
    required: true
  require_mount:
    description: The store counts only if it lies on a mount of its own, not on the file system of C(/).
    type: bool
    default: true
  image:
    description: What this image is called, such as C(manager:18.9.23). Empty for what O(image_manifest) says of itself.
    type: str
    default: ""
  image_manifest:
    description:
      - Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
      - It tells which files the image has newer than the store, where the image's own are out of sight.
    type: path
    default: /opt/cm_persist/image.manifest
  verify:
    description:
      - Whether to compare each path with the list of what was seeded, by the metadata of every file, and by the content of those
        that the list has a digest of, which are the small ones.
      - It also tells whether that list is lost.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Does the same, as nothing is ever changed.
  diff_mode:
    support: none
    description: There is no difference to show, as nothing is ever changed.
  idempotent:
    support: full
    description: Nothing is changed, the store is not written to.
notes:
  - Needs root, unless all files belong to the user who runs it.
  - Takes the longer the more files there are, as they are counted.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Look how the volume is
  persist_info:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - /opt/manager/resources

- name: Tell what became of what was seeded
  persist_info:
    paths: [/opt/manager/resources]
    verify: true
"""

RETURN = r"""
healthy:
  description: Whether all is well. Whether a service may start is decided by a start, not by this.
  type: bool
  returned: success
problems:
  description:
    - What is wrong, each with its path first and what to do last. None where RV(healthy).
    - That files were written since they were seeded is no problem, and neither is an image that has newer ones.
  type: list
  elements: str
  returned: success
  sample: ["/opt/manager/resources: nothing is there, though the store has it. Start again (start.yml), which links it."]
image:
  description: What the image is called; empty where that is not known.
  type: str
  returned: success
  sample: manager:18.9.23
store:
  description: The store.
  type: dict
  returned: success
  contains:
    path:
      description: Where it is, or should be.
      type: str
    present:
      description: Whether it is there.
      type: bool
    state:
      description:
        - As C(store_state) of M(cm_persist.cm_persist.persist_seed), C(absent), C(empty), C(partial), C(seeded), C(foreign) or
          C(newer). Null where its record cannot be read.
      type: str
    source:
      description: What is mounted there; empty where that is not known.
      type: str
    fs_type:
      description: Its file system.
      type: str
    dies_with:
      description: Why it does not outlive its pod, C(an emptyDir), C(a tmpfs) or C(a ramfs); empty where it does.
      type: str
    read_only:
      description: Whether it can only be read.
      type: bool
    size_bytes:
      description: Its size; null where there is none.
      type: int
    free_bytes:
      description: What of that is free.
      type: int
    free_inodes:
      description: How many files can be added; null where that is not limited.
      type: int
    lease:
      description:
        - C(held) tells whether a manager has the lease, C(here) whether it is this container's or machine's own, and C(detail)
          who has it since when, or why it cannot be held.
      type: dict
    unclaimed:
      description: What lies in the store and belongs to none of O(paths), relative to the store, the topmost directories alone.
      type: list
      elements: str
  sample:
    path: /cfy-persist
    present: true
    state: seeded
    source: /dev/vdb1
    fs_type: ext4
    dies_with: ""
    read_only: false
    size_bytes: 10464022528
    free_bytes: 9663676416
    free_inodes: 654011
    lease: {held: true, here: true, detail: "manager-0 since 2026-11-24T12:00:00Z"}
    unclaimed: []
paths:
  description: One dictionary for each state path, in their order.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The state path.
      type: str
    state:
      description:
        - C(linked), a symbolic link is there; C(mounted), the store's copy is mounted there; C(own), it has content of its own;
          C(missing), nothing is there.
      type: str
    target:
      description: Where a link leads; else empty.
      type: str
    method:
      description: C(symlink) or C(bind); empty where it is neither linked nor mounted.
      type: str
    in_store:
      description: Whether the store has it.
      type: bool
    origin:
      description: C(seeded) or C(adopted); empty where the record does not know it.
      type: str
    at:
      description: When, in seconds since 1970; null where the record does not know it.
      type: int
    files:
      description:
        - How many files the store has of it now, directories not counted. Null where it does not have it, or where they come and
          go faster than they can be counted.
      type: int
    bytes:
      description: Size of their data.
      type: int
    seeded_files:
      description: How many files were seeded, merged or adopted last; null where the record does not know it.
      type: int
    seeded_bytes:
      description: Size of their data.
      type: int
    image:
      description: What the image is called that it was seeded from or merged with; empty where that is not known.
      type: str
    seen_image:
      description: What the image is called that it last met; empty where that is not known.
      type: str
    diverged:
      description:
        - Whether content of its own stands there that is neither what was seeded nor what the image has, as far as that is known.
          It may be newer than what the store has.
      type: bool
    hidden:
      description:
        - How many files the image has newer than what was seeded. Null where that cannot be told, as without O(image_manifest)
          the image's files are out of sight once the path is linked.
      type: int
    hidden_names:
      description: The first ten of them, relative to the path.
      type: list
      elements: str
    aside:
      description: What is kept beside it, each with C(path), C(files) and C(bytes), the oldest first.
      type: list
      elements: dict
    backups:
      description: How many of the trees that merges replaced are kept in the store.
      type: int
    verified:
      description:
        - Only with O(verify). C(changed), C(missing) and C(added) count files against what was seeded, or merged last; of
          directories a change of mode or owner counts as C(changed). Null where there is no list to compare with, as of what was
          adopted, or where files come and go faster than they can be read.
      type: dict
  sample:
    - path: /opt/manager/resources
      state: linked
      target: /cfy-persist/opt/manager/resources
      method: symlink
      in_store: true
      origin: seeded
      at: 1795521600
      files: 815
      bytes: 5249022
      seeded_files: 812
      seeded_bytes: 5242880
      image: manager:18.9.23
      seen_image: manager:18.9.24
      diverged: false
      hidden: 1
      hidden_names: [rest/config.yaml]
      aside: [{path: /opt/manager/resources-initial, files: 812, bytes: 5242880}]
      backups: 0
table:
  description: The same for people, as lines of at most 100 columns where the paths allow that.
  type: list
  elements: str
  returned: success
where:
  description: The path at which the fault was found.
  type: str
  returned: failure
hint:
  description: What to do about it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.cm_persist.module_result import exit_module
from ..module_utils.cm_persist.report.status import Settings, report_status


def main():
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/cfy-persist"},
            "paths": {"type": "list", "elements": "raw", "required": True},
            "require_mount": {"type": "bool", "default": True},
            "image": {"type": "str", "default": ""},
            "image_manifest": {"type": "path", "default": "/opt/cm_persist/image.manifest"},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    exit_module(module, lambda: report_status(Settings(**module.params)))


if __name__ == "__main__":
    main()
