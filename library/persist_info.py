#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_info
short_description: Report the state of a persistent volume and its state paths
description:
  - Looks at a mounted volume and at each state path. Reports what they hold, where they lead, what is kept next to them, and what
    is wrong.
  - Changes nothing and makes nothing, whatever runs meanwhile. You can run it at any time.
  - Never fails because of what it finds. RV(healthy) says whether all is well.
  - Without a volume all is well, unless a state path needs it, as a link into the volume does.
options:
  store:
    description: Absolute path where the volume is mounted.
    type: path
    default: /cfy-persist
  paths:
    description:
      - The state paths. An entry is an absolute path, or a dictionary with the keys C(path), C(method),
        C(on_image_change) and C(missing) (see M(cm_persist.cm_persist.persist_seed)), of which only C(path) counts here.
    type: list
    elements: raw
    required: true
  require_mount:
    description: Use the volume only if it is a mount of its own, not a directory on the file system of C(/).
    type: bool
    default: true
  image:
    description: The name of this image, such as C(manager:18.9.23). If it is empty, the name in O(image_manifest) counts.
    type: str
    default: ""
  image_manifest:
    description:
      - Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
      - With it the module finds the files that the image has newer than the volume, even if the image's own files are hidden.
    type: path
    default: /opt/cm_persist/image.manifest
  verify:
    description:
      - Whether to compare each path with the list of what was seeded, by the metadata of every file, and by the content of those
        that the list has a digest of, which are the small ones.
      - With it the module also reports that this list is lost.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Does the same, as the module never changes anything.
  diff_mode:
    support: none
    description: Has no difference to show, as the module never changes anything.
  idempotent:
    support: full
    description: Changes nothing and does not write to the volume.
notes:
  - Needs root, unless all files belong to the user who runs it.
  - The more files there are, the longer it takes, as it counts them.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Check the volume
  persist_info:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - /opt/manager/resources

- name: Compare the volume with what was seeded
  persist_info:
    paths: [/opt/manager/resources]
    verify: true
"""

RETURN = r"""
healthy:
  description: Whether all is well. A start decides by itself whether a service may start, not by this.
  type: bool
  returned: success
problems:
  description:
    - What is wrong, each with its path first and what to do last. Empty if RV(healthy).
    - Files that were written since they were seeded are no problem, and neither is an image that has newer ones.
  type: list
  elements: str
  returned: success
  sample: ["/opt/manager/resources: nothing is there, though the store has it. Start again (start.yml), which links it."]
image:
  description: The name of the image; empty if it is not known.
  type: str
  returned: success
  sample: manager:18.9.23
store:
  description: The volume.
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
          C(newer). Null if its record cannot be read.
      type: str
    source:
      description: What is mounted there; empty if that is not known.
      type: str
    fs_type:
      description: Its file system.
      type: str
    dies_with:
      description: Why it does not outlive its pod, C(an emptyDir), C(a tmpfs) or C(a ramfs); empty if it does.
      type: str
    read_only:
      description: Whether it is read-only.
      type: bool
    size_bytes:
      description: Its size; null if there is no volume.
      type: int
    free_bytes:
      description: How much of that is free.
      type: int
    free_inodes:
      description: How many files can be added; null if that is not limited.
      type: int
    lease:
      description:
        - C(held) says whether a manager has the lease, and C(here) whether that is this container or machine. C(detail) says who
          has it and since when, or why nobody can hold it.
      type: dict
    unclaimed:
      description: Content of the volume that belongs to none of O(paths), relative to the volume; only the topmost directories.
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
        - C(linked), a symbolic link is there; C(mounted), the volume's copy is mounted there; C(own), it has content of its own;
          C(missing), nothing is there.
      type: str
    target:
      description: Where a link leads; otherwise empty.
      type: str
    method:
      description: C(symlink) or C(bind); empty if it is neither linked nor mounted.
      type: str
    in_store:
      description: Whether the volume has it.
      type: bool
    origin:
      description: C(seeded) or C(adopted); empty if it is not in the record.
      type: str
    at:
      description: When that was, in seconds since 1970; null if it is not in the record.
      type: int
    files:
      description:
        - How many files the volume has of it now, directories not counted. Null if the volume does not have it, or if files come
          and go faster than they can be counted.
      type: int
    bytes:
      description: Size of their data.
      type: int
    seeded_files:
      description: How many files were seeded, merged or adopted last; null if it is not in the record.
      type: int
    seeded_bytes:
      description: Size of their data.
      type: int
    image:
      description: The name of the image that it was seeded from or merged with; empty if that is not known.
      type: str
    seen_image:
      description: The name of the image that it met last; empty if that is not known.
      type: str
    diverged:
      description:
        - Whether the path has content of its own that is neither what was seeded nor what the image has, as far as that is known.
          It may be newer than what the volume has.
      type: bool
    hidden:
      description:
        - How many files the image has newer than what was seeded. Null if that is not known; for example, without
          O(image_manifest), the image's files are hidden once the path is linked.
      type: int
    hidden_names:
      description: The first ten of them, relative to the path.
      type: list
      elements: str
    aside:
      description:
        - The originals, and content of applications, that are kept next to it, the oldest first, each with C(path), C(files),
          C(bytes), and C(why) it is kept and how to get it back.
      type: list
      elements: dict
    backups:
      description: How many of the trees that merges and rollbacks replaced are kept in the volume.
      type: int
    replaced:
      description: These trees, the newest first, each with the keys of RV(paths[].aside).
      type: list
      elements: dict
    verified:
      description:
        - Only with O(verify). C(changed), C(missing) and C(added) count files against what was seeded, or merged last. A
          directory counts as C(changed) only if its mode or owner changed. Null if there is no list to compare with, as for
          adopted paths, or if files come and go faster than they can be read.
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
      aside:
        - path: /opt/manager/resources-initial
          files: 812
          bytes: 5242880
          why: "the image's original; restore.yml with cm_persist_restore: aside puts it back"
      backups: 0
      replaced: []
table:
  description: The same for people, as lines of at most 100 columns if the paths allow that.
  type: list
  elements: str
  returned: success
where:
  description: The path with the fault.
  type: str
  returned: failure
hint:
  description: How to fix it.
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
