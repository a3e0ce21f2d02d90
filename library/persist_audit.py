#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_audit
short_description: Report what a container would lose, and what in its volume nobody claims
description:
  - Compares the file system of C(/) with the list that was made when the image was built. Reports what was added, changed and
    removed since outside the state paths, the largest first. All of that is lost with the container.
  - Reports the content of the volume that no state path claims.
  - Does not look into other mounts, or into what the list leaves out, C(/dev), C(/proc), C(/run), C(/sys) and C(/tmp).
  - Leaves out links that lead into the volume, of state paths and others, and mounts. A state path that is neither is reported
    like all other files, as data written there does not reach the volume.
  - Changes nothing and makes nothing, whatever runs meanwhile. You can run it at any time.
options:
  store:
    description: Absolute path where the volume is mounted. Without a volume the module still compares the file system.
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
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It must exist.
    type: path
    default: /opt/cm_persist/image.manifest
  limit:
    description: How many changes to return at most; V(0) for all. RV(totals) counts all of them.
    type: int
    default: 50
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
  - Needs root, unless the user who runs it can read all directories.
  - A file counts as changed if its type, size, mode, owner, link target or time differs. If only the time differs, the content
    decides, provided the file has at most 16 KiB. The module does not find other content of the same size and time, or a change
    of extended attributes.
  - The more files the image has, the longer it takes, some seconds for 100,000 of them.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Report what this container would lose
  persist_audit:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - /opt/manager/resources
  register: audit

- name: Show it
  ansible.builtin.debug:
    msg: "{{ audit.table }}"

- name: Report everything that it would lose
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
      description: Where. A directory that is wholly new, or was removed, stands for all that it holds.
      type: str
    what:
      description: C(added), C(changed) or C(removed).
      type: str
    kind:
      description: C(directory), C(file), C(symbolic link) or C(special file); if it was removed, as the image has it.
      type: str
    bytes:
      description: Size of the data of the files that are there now; if they were removed, as the image has them.
      type: int
    files:
      description: How many files that is, directories not counted.
      type: int
  sample:
    - {path: /var/log/cloudify, what: added, kind: directory, bytes: 48400000, files: 12}
    - {path: /etc/hosts.allow, what: changed, kind: file, bytes: 411, files: 1}
totals:
  description:
    - Of all changes, including those that O(limit) leaves out. C(added), C(changed) and C(removed) count entries. C(files) and
      C(bytes) count what was added and changed, and so would be lost.
  type: dict
  returned: success
  sample: {added: 1, changed: 1, removed: 0, files: 13, bytes: 48400411}
asides:
  description: The originals that are kept next to state paths, each with C(path), C(bytes) and C(files), the largest first.
  type: list
  elements: dict
  returned: success
  sample: [{path: /opt/manager/resources-initial, bytes: 5242880, files: 812}]
unclaimed:
  description:
    - Content of the volume that no state path claims, each with C(path), C(bytes) and C(files), the largest first; only the
      topmost directories, and none if there is no volume.
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
