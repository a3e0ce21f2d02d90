#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_seed
short_description: Copy state from the image into a persistent volume, once
description:
  - Brings a mounted volume, the store, to the state where it holds each state path under the same absolute path.
  - A path that the store does not have yet is copied from the image into private staging on the store, written to disk,
    and published by one rename. Interrupted at any moment, the store has the whole path or nothing of it.
  - A path that was seeded before is left alone, and what is in the store is the truth.
  - Content that an earlier tool left at a state path is adopted as it is, with a warning.
  - Without a store nothing is done.
options:
  store:
    description: Absolute path where the volume is mounted.
    type: path
    default: /cfy-persist
  paths:
    description:
      - The state paths. An entry is an absolute path, or a dictionary with the keys C(path), C(method)
        (see M(cm_persist.cm_persist.persist_link)), C(on_image_change) and C(missing).
      - C(on_image_change) says what is done when a path in the store meets another image. C(keep), the store's files are used,
        and a warning tells how many files of the image they hide. C(merge), files that nobody touched since they were seeded
        follow the image, those that were touched stay, with the image's version beside them as C(NAME.cm_persist-new), and those
        that were deleted stay deleted; a path that holds a database is kept. C(fail), nothing is started where the image has
        changed the path's files.
      - C(missing) is as O(missing), for this path alone. It can also be C(ignore), to pass over it without a warning, and
        C(make), to begin with an empty directory, of the owner and mode of the one that it is to stand in, as for what a
        program makes when it runs for the first time.
    type: list
    elements: raw
    required: true
  require_mount:
    description: The store counts only if it lies on a mount of its own, not on the file system of C(/).
    type: bool
    default: true
  required:
    description: Whether no store is an error. Otherwise it means that there is no persistence.
    type: bool
    default: false
  missing:
    description: What to do about a state path that neither the image nor the store has.
    type: str
    choices: [fail, skip]
    default: fail
  allow_foreign:
    description: Whether to seed beside content that no state path claims.
    type: bool
    default: false
  state:
    description:
      - V(unseeded) takes the paths out of the store again, as after a move that failed. Each must have been seeded, and have
        content of its own; what may be all that there is of it is not removed. What merges kept of it goes with it.
      - V(rolled_back) puts the trees back that were replaced by the last merge of each path. What is there now is kept in their
        place, so that doing it again undoes it. Nothing may use the paths.
    type: str
    choices: [seeded, unseeded, rolled_back]
    default: seeded
  lock_timeout:
    description: How long to wait for another process that writes to the store, in seconds.
    type: float
    default: 300
  lease:
    description:
      - Whether to hold the store's lease, so that no second manager starts on it. A process that does nothing else keeps it
        until the container ends; where systemd is up already, a unit, from then on at each boot.
      - A machine that is neither a container nor has systemd holds it during the run alone, with a warning.
    type: bool
    default: true
  lease_timeout:
    description: How long to wait for another manager to let go of the lease, in seconds. It is never taken from one that lives.
    type: float
    default: 60
  lease_holder:
    description: What those who wait are told of the holder. Empty for the host's name.
    type: str
    default: ""
  services:
    description:
      - Services that the caller stops before this is done for real, and has wait for store and lease from then on, by their
        names.
      - In check mode a path that only these use counts as free, and a lease that another manager holds is refused, not waited
        for. Otherwise all that it does is that there is no warning of services that do not wait for the lease.
    type: list
    elements: str
    default: []
  image:
    description:
      - Which image this is, such as C(manager:18.9.23). Whether the image has changed is told by it. Where it ends in a colon and
        a version, an older one of the same name is refused on a store that a newer one has used.
      - Empty for what O(image_manifest) says of itself; without that, a path's image is told by how the path and its first level
        look, and a path is never merged.
    type: str
    default: ""
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
    type: path
    default: /opt/cm_persist/image.manifest
  backups:
    description: How many of the trees that merges replaced are kept for each path, in C(.cm_persist/backups) in the store.
    type: int
    default: 1
  allow_downgrade:
    description: Whether an older version of the image is started on a store that a newer one has used.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Everything is looked at and counted, nothing is changed.
  diff_mode:
    support: full
    description: Shows the steps that are, or would be, taken.
  idempotent:
    support: full
    description: A seeded store is not written to, but for the name of the lease's holder, and is not walked.
notes:
  - Needs root, unless all files to be copied belong to the user who runs it.
  - Sockets are not copied, with a warning. All else is, with hard links, holes, ACLs, capabilities and times.
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

- name: Take out of the volume what a failed move has left there
  persist_seed:
    paths: [/opt/manager/resources]
    state: unseeded

- name: Let what nobody touched follow the image, and refuse one that changes the plug-ins
  persist_seed:
    paths:
      - /var/lib/pgsql/9.5/data
      - {path: /opt/manager/resources, on_image_change: merge}
      - {path: /opt/mgmtworker/env/plugins, on_image_change: fail}
    image: cloudify-manager:18.9.24
    backups: 2

- name: Refuse to go on without a volume, and pass over what this image does not have
  persist_seed:
    paths: [/var/lib/pgsql/9.5/data, /opt/mgmtworker/env/plugins]
    required: true
    missing: skip
"""

RETURN = r"""
store_state:
  description:
    - The store as it was found. C(absent), there is none; C(empty); C(partial), some paths were not seeded, or a run was
      interrupted; C(seeded); C(foreign), it holds content that no state path claims; C(newer), its record was written
      by a newer cm_persist.
    - On failure too, where it is known.
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
        - In check mode C(begun), where what an earlier run began on another path is completed first. What is done with this
          one is only known after that.
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
        - Only where the path has met another image. C(from) and C(to) are what the two are called, C(hidden) counts the files
          that the image has newer than the volume, C(removed) those that it no longer has; of a merge, C(changed), C(added) and
          C(removed) count files that followed, C(beside) those whose image's version lies beside. C(names) are some of the files.
      type: dict
  sample: [{path: /opt/manager/resources, state: seeded, files: 812, bytes: 5242880, seconds: 0.1}]
steps:
  description: What was done, or would be in check mode, in this order.
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
from ..module_utils.cm_persist.tree import progress as progress
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
        },
        supports_check_mode=True,
    )
    progress.watch()
    act = {"seeded": seed, "unseeded": unseed, "rolled_back": roll_back}[module.params["state"]]
    exit_module(module, lambda: act(Settings(**module.params), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
