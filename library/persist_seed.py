#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_seed
short_description: Copy state from the image into a persistent volume, once
description:
  - Makes sure that a mounted volume, the store, holds each state path under the same absolute path.
  - Copies a path that the store does not have yet into private staging on the store, writes it to disk, and publishes it by one
    rename. If the run is interrupted at any moment, the store has the whole path or nothing of it.
  - Leaves a path alone that was seeded before. From then on the store's content is the truth.
  - Adopts content that an earlier tool left at a state path as it is, with a warning.
  - Does nothing without a store.
options:
  store:
    description: Absolute path where the volume is mounted.
    type: path
    default: /cfy-persist
  paths:
    description:
      - The state paths. An entry is an absolute path, or a dictionary with the keys C(path), C(method)
        (see M(cm_persist.cm_persist.persist_link)), C(on_image_change) and C(missing).
      - C(on_image_change) says what to do when a path in the store meets another image. With C(keep), the store's files are used,
        and a warning counts the files of the image that they hide. With C(merge), files that are as the list of the former image
        has them follow the new one. Other files stay, with the image's version next to them as C(NAME.cm_persist-new). Deleted
        files stay deleted. Without such a list (O(image_manifest)) nothing is replaced or removed. C(merge_again) is like
        C(merge), also with an image whose merge O(state=rolled_back) took back. A path that holds a database's files, in the
        store or in the image, is kept as a whole, and a warning names one of them. With C(fail), an image that changed the path's
        files is refused.
      - C(missing) is like O(missing), for this path only. It can also be C(ignore), to skip the path without a warning, or
        C(make), to start with an empty directory that has the owner and mode of its parent, for a path that a program makes when
        it runs for the first time.
    type: list
    elements: raw
    required: true
  require_mount:
    description: The store counts only if it lies on a mount of its own, not on the file system of C(/).
    type: bool
    default: true
  required:
    description: Whether a missing store is an error. Otherwise a missing store means that there is no persistence.
    type: bool
    default: false
  missing:
    description: What to do about a state path that neither the image nor the store has.
    type: str
    choices: [fail, skip]
    default: fail
  allow_foreign:
    description: Whether to seed a store that holds content which no state path claims.
    type: bool
    default: false
  state:
    description:
      - V(unseeded) takes the paths out of the store again, as after a failed move. Each path must have been seeded, and must have
        exactly the same content of its own. A copy in the store that may be the only one is not removed, and neither is a path
        of which trees are kept that merges or rollbacks replaced.
      - V(rolled_back) puts the trees back that the last merge of each path replaced. The present trees are kept instead, until
        somebody removes them, so doing it again undoes it. Nothing may use the paths, and none may be mounted elsewhere.
    type: str
    choices: [seeded, unseeded, rolled_back]
    default: seeded
  lock_timeout:
    description: How long to wait for another process that writes to the store, in seconds.
    type: float
    default: 300
  lease:
    description:
      - Whether to hold the store's lease, so that no second manager starts on it. In a container, a process that does nothing
        else keeps the lease until the container ends. Where systemd runs, a unit keeps it, now and at each boot.
      - A machine that is neither a container nor has systemd holds the lease during the run only, with a warning.
    type: bool
    default: true
  lease_timeout:
    description:
      - How long to wait until another manager gives up the lease, in seconds. The lease of a running manager is never taken away.
    type: float
    default: 60
  lease_holder:
    description: How to name the holder to those who wait for the lease. Empty for the host's name.
    type: str
    default: ""
  services:
    description:
      - Services, by their names, that the caller stops before the real run, and makes wait for store and lease from then on.
      - In check mode, a path that only these services use counts as free, and a lease that another manager holds is refused
        without waiting. In a real run, this only suppresses the warning about services that do not wait for the lease.
    type: list
    elements: str
    default: []
  image:
    description:
      - Which image this is, such as C(manager:18.9.23). Another name means that the image has changed. If the name ends in a
        colon and a version, an older version of the same name is refused on a store that a newer one has used.
      - If empty, the name is taken from O(image_manifest). Without that, an image is recognised by a path and its first level,
        and paths are never merged.
    type: str
    default: ""
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
    type: path
    default: /opt/cm_persist/image.manifest
  backups:
    description:
      - How many of the trees that merges replaced are kept for each path, in C(.cm_persist/backups) in the store. What a rollback
        replaced is kept in any case.
    type: int
    default: 1
  allow_downgrade:
    description: Whether to accept an older version of the image on a store that a newer one has used.
    type: bool
    default: false
  method:
    description:
      - How entries that name no method will be linked, as in M(cm_persist.cm_persist.persist_link). With V(symlink), a path is
        refused that has relative symbolic links out of it, which would lead nowhere from the store.
    type: str
    choices: [symlink, bind]
    default: symlink
attributes:
  check_mode:
    support: full
    description: Reads and counts everything, changes nothing.
  diff_mode:
    support: full
    description: Shows the steps that are, or would be, taken.
  idempotent:
    support: full
    description: Does not write to a seeded store, except the name of the lease's holder, and does not walk it.
notes:
  - Needs root, unless all files to be copied belong to the user who runs it.
  - Does not copy sockets, and warns of them. Copies everything else, with hard links, holes, ACLs, capabilities and times.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Seed the volume with the manager's state
  persist_seed:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - /opt/manager/resources

- name: Take out of the volume what a failed move left there
  persist_seed:
    paths: [/opt/manager/resources]
    state: unseeded

- name: Let untouched files follow the image, and refuse an image that changes the plug-ins
  persist_seed:
    paths:
      - /var/lib/pgsql/9.5/data
      - {path: /opt/manager/resources, on_image_change: merge}
      - {path: /opt/mgmtworker/env/plugins, on_image_change: fail}
    image: cloudify-manager:18.9.24
    backups: 2

- name: Require a volume, and skip paths that this image does not have
  persist_seed:
    paths: [/var/lib/pgsql/9.5/data, /opt/mgmtworker/env/plugins]
    required: true
    missing: skip
"""

RETURN = r"""
store_state:
  description:
    - The store as it was found. C(absent), there is none; C(empty); C(partial), some paths were not seeded, or a run was
      interrupted; C(seeded); C(foreign), it holds content that no state path claims; C(newer), a newer cm_persist wrote its
      record.
    - Also returned on failure, if it is known.
  type: str
  returned: always
  sample: empty
paths:
  description: One dictionary for each state path, in their order; none where there is no store.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The state path.
      type: str
    state:
      description:
        - C(seeded), C(already), C(merged), C(adopted) or C(missing); with O(state=unseeded), C(unseeded) or C(missing); with
          O(state=rolled_back), C(rolled_back) or C(already).
        - In check mode C(begun), if an interrupted run on another path is completed first. Only then it is known what happens
          to this path.
      type: str
    files:
      description: How many files were seeded or adopted, directories not counted.
      type: int
    bytes:
      description: Size of their data.
      type: int
    seconds:
      description: How long the copy took.
      type: float
    image_change:
      description:
        - Only if the path met another image. C(from) and C(to) are the names of both, C(hidden) counts the files that the image
          has newer than the volume, C(removed) those that it no longer has. After a merge, C(changed), C(added) and C(removed)
          count the files that followed the image, C(beside) those that were kept with the image's version next to them. C(names)
          are some of the files.
      type: dict
  sample: [{path: /opt/manager/resources, state: seeded, files: 812, bytes: 5242880, seconds: 0.1}]
steps:
  description: The steps taken, or in check mode to be taken, in their order.
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
from ..module_utils.cm_persist.seed.seed import Settings, seed
from ..module_utils.cm_persist.seed.unseed import unseed
from ..module_utils.cm_persist.tree import progress
from ..module_utils.cm_persist.upgrade.rollback import roll_back


def main():
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/cfy-persist"},
            "paths": {"type": "list", "elements": "raw", "required": True},
            "require_mount": {"type": "bool", "default": True},
            "required": {"type": "bool", "default": False},
            "missing": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
            "allow_foreign": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["seeded", "unseeded", "rolled_back"], "default": "seeded"},
            "lock_timeout": {"type": "float", "default": 300},
            "lease": {"type": "bool", "default": True},
            "lease_timeout": {"type": "float", "default": 60},
            "lease_holder": {"type": "str", "default": ""},
            "services": {"type": "list", "elements": "str", "default": []},
            "image": {"type": "str", "default": ""},
            "image_manifest": {"type": "path", "default": "/opt/cm_persist/image.manifest"},
            "backups": {"type": "int", "default": 1},
            "allow_downgrade": {"type": "bool", "default": False},
            "method": {"type": "str", "choices": ["symlink", "bind"], "default": "symlink"},
        },
        supports_check_mode=True,
    )
    progress.watch()
    act = {"seeded": seed, "unseeded": unseed, "rolled_back": roll_back}[module.params["state"]]
    exit_module(module, lambda: act(Settings(**module.params), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
