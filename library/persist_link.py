#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_link
short_description: Point state paths at a persistent volume
description:
  - Makes each state path a way into the store, by a symbolic link or a bind mount. A correct link is left alone, and a
    link is never made to something that is not there.
  - What stands at the path, the original, is kept beside it by a rename, as C(<path>-initial) or, where that is taken, under
    that name with a number. On overlayfs a directory of the image cannot be renamed; there it is removed if, by the metadata
    of every file, it is exactly what the image holds (O(image_manifest)) or what was seeded, as the image still has it then.
    Otherwise it is copied aside, with a warning that says what would spare the copy.
  - Content that replaced a link is newer than the store's. It is kept aside in the same way and warned of, never discarded.
  - Interrupted at any moment, the next run goes on, with the store as the truth.
  - With O(state=unlinked) each path gets content of its own again; the store is left as it is.
options:
  store:
    description: Absolute path where the volume is mounted.
    type: path
    default: /cfy-persist
  paths:
    description:
      - The state paths. An entry is an absolute path, or a dictionary with the keys C(path), C(method),
        C(on_image_change) and C(missing) (see M(cm_persist.cm_persist.persist_seed)).
    type: list
    elements: raw
    required: true
  require_mount:
    description: The store counts only if it lies on a mount of its own, not on the file system of C(/).
    type: bool
    default: true
  method:
    description:
      - How entries that name no method are linked.
      - V(bind) is for programs that mind symbolic links. The original stays under the mount.
      - Where systemd runs, as on a virtual machine, it mounts by a mount unit, which C(local-fs.target) (or, where the store
        comes over a network, C(remote-fs.target)) requires, so that it is back after a reboot. Before a container's init
        the module mounts by itself, at each start; that needs the capability SYS_ADMIN.
    type: str
    choices: [symlink, bind]
    default: symlink
  state:
    description: Whether the paths are to lead into the store.
    type: str
    choices: [linked, unlinked]
    default: linked
  restore:
    description:
      - With O(state=unlinked), what the paths get. Stop the services that use them first.
      - V(store) is what the store has, with all that was written since, copied back; the copy is whole and on disk before
        the link goes.
      - V(aside) is the original that was kept aside at C(<path>-initial), renamed back, or what lies under the mount. It
        needs no store. Where the original was left to the image, it is refused.
      - V(newest) is the original that was kept aside last if the store still has exactly what was seeded from it, so that
        nothing was written since; else what the store has.
    type: str
    choices: [store, aside, newest]
    default: store
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
    type: path
    default: /opt/cm_persist/image.manifest
  lock_timeout:
    description: How long to wait for another process that works on the store, in seconds.
    type: float
    default: 300
  services:
    description:
      - Services that the caller stops before this is done for real, by their names. In check mode a path that only these use
        counts as free; otherwise this has no effect.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Everything is looked at, nothing is changed. A path that has yet to be seeded counts as seeded.
  diff_mode:
    support: full
    description: Shows the steps that are, or would be, taken.
  idempotent:
    support: full
    description: Paths that are linked are not touched. The store is never written to.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Link the manager's state into the volume
  persist_link:
    store: /cfy-persist
    paths:
      - /var/lib/pgsql/9.5/data
      - {path: /opt/manager/resources, method: bind}

- name: Take the manager off its volume again, with all that was written since
  persist_link:
    paths: [/var/lib/pgsql/9.5/data, /opt/manager/resources]
    state: unlinked

- name: Go back to what was there before the first run, whether the volume is still there or not
  persist_link:
    paths: [/var/lib/pgsql/9.5/data, /opt/manager/resources]
    state: unlinked
    restore: aside
"""

RETURN = r"""
store_state:
  description: The store as it was found, C(absent), C(empty), C(partial) or C(seeded).
  type: str
  returned: always
  sample: seeded
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
      description: C(linked), C(already), C(unlinked), or C(missing) where neither image nor store have it.
      type: str
    method:
      description: C(symlink) or C(bind).
      type: str
    original:
      description:
        - What became of what stood there. C(kept), beside the path or under the mount; C(discarded), it was what the image
          has; C(none), nothing stood there, or it is back at the path.
      type: str
    aside:
      description: Where it is kept, if it is kept beside the path.
      type: str
    diverged:
      description:
        - Whether what stood there was neither what was seeded nor what the image has, as far as that is known. It may be
          newer than what the store has, as when an application has replaced the link.
      type: bool
  sample:
    - path: /opt/manager/resources
      state: linked
      method: symlink
      original: kept
      aside: /opt/manager/resources-initial
      diverged: false
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

from ..module_utils.cm_persist.link.link import Settings, link
from ..module_utils.cm_persist.module_result import exit_module


def main():
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/cfy-persist"},
            "paths": {"type": "list", "elements": "raw", "required": True},
            "require_mount": {"type": "bool", "default": True},
            "method": {"type": "str", "choices": ["symlink", "bind"], "default": "symlink"},
            "state": {"type": "str", "choices": ["linked", "unlinked"], "default": "linked"},
            "restore": {"type": "str", "choices": ["store", "aside", "newest"], "default": "store"},
            "image_manifest": {"type": "path", "default": "/opt/cm_persist/image.manifest"},
            "lock_timeout": {"type": "float", "default": 300},
            "services": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    exit_module(module, lambda: link(Settings(**module.params), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
