#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_audit
short_description: Tell what a container would lose, and what in its volume is nobody's
description:
  - Compares the file system of C(/) with the list that was made when the image was built, and tells what was added, changed and
    removed since outside the state paths, the largest first. With the container that is lost.
  - Tells what the volume, the store, has that no state path claims.
  - Other mounts are not looked into, and neither is what the list leaves out, C(/dev), C(/proc), C(/run), C(/sys) and C(/tmp).
  - Links that lead into the store are left out, state paths and others, and so are mounts. A state path that is neither is told
    of like all else, as what is written there does not reach the store.
  - Changes nothing, and makes nothing, whatever runs meanwhile. It can be run at any time.
options:
  store:
    description: Absolute path where the volume is mounted. Without it the file system is looked at all the same.
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
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It must be there.
    type: path
    default: /opt/cm_persist/image.manifest
  limit:
    description: How many changes are returned at most; V(0) for all. RV(totals) counts all of them.
    type: int
    default: 50
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
  - Needs root, unless all directories can be read by the user who runs it.
  - A file counts as changed by its type, size, mode, owner, link target and time; where the time alone differs, by its content,
    if that has at most 16 KiB. One that holds something else of the same size and time is not found, and neither is a change
    of extended attributes.
  - Takes the longer the more files the image has, some seconds for 100,000 of them.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Tell what this container would lose
  persist_audit:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - /opt/manager/resources
  register: audit

- name: Show it
  ansible.builtin.debug:
    msg: "{{ audit.table }}"

- name: Find out everything that it would lose
  persist_audit:
    paths: [/opt/manager/resources]
    limit: 0
"""

RETURN = r"""
changes:
  description: What differs from the image, the largest first, then by path; at most O(limit).
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: Where. A directory that is wholly new stands for all that it holds, and so does one that was removed.
      type: str
    what:
      description: C(added), C(changed) or C(removed).
      type: str
    kind:
      description: C(directory), C(file), C(symbolic link) or C(special file); of what was removed, as the image has it.
      type: str
    bytes:
      description: Size of the data of the files that are there now; of what was removed, that they have in the image.
      type: int
    files:
      description: How many files that is, directories not counted.
      type: int
  sample:
    - {path: /var/log/cloudify, what: added, kind: directory, bytes: 48400000, files: 12}
    - {path: /etc/hosts.allow, what: changed, kind: file, bytes: 411, files: 1}
totals:
  description:
    - Of all changes, also those that O(limit) leaves out. C(added), C(changed) and C(removed) count entries, C(files) and
      C(bytes) what was added and changed, and so would be lost.
  type: dict
  returned: success
  sample: {added: 1, changed: 1, removed: 0, files: 13, bytes: 48400411}
asides:
  description: The originals that are kept beside state paths, each with C(path), C(bytes) and C(files), the largest first.
  type: list
  elements: dict
  returned: success
  sample: [{path: /opt/manager/resources-initial, bytes: 5242880, files: 812}]
unclaimed:
  description:
    - What in the store no state path claims, each with C(path), C(bytes) and C(files), the largest first; the topmost directories
      alone, and none where there is no store.
  type: list
  elements: dict
  returned: success
  sample: [{path: /cfy-persist/opt/mgmtworker/env, bytes: 104857600, files: 9120}]
table:
  description: The same for people, as lines.
  type: list
  elements: str
  returned: success
  sample:
    - "lost with the container: 1 added, 1 changed, 0 removed; 13 files, 48.4 MB"
    - "  48.4 MB  added    12 files  /var/log/cloudify"
    - "411 bytes  changed    1 file  /etc/hosts.allow"
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
from ..module_utils.cm_persist.report.audit import Settings, audit


def main():
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/cfy-persist"},
            "paths": {"type": "list", "elements": "raw", "required": True},
            "require_mount": {"type": "bool", "default": True},
            "image_manifest": {"type": "path", "default": "/opt/cm_persist/image.manifest"},
            "limit": {"type": "int", "default": 50},
        },
        supports_check_mode=True,
    )
    exit_module(module, lambda: audit(Settings(**module.params)))


if __name__ == "__main__":
    main()
