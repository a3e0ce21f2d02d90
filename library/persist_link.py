#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: persist_link
short_description: Point state paths at a persistent volume
description:
  - Points each state path at its place in the volume, by a symbolic link or a bind mount. A correct link is left as it is. The
    module never makes a link to nothing.
  - If the path has content of its own, the original, the module renames it to C(<path>-initial), or, if that name is taken, to
    the same name with a number. On overlayfs a directory of the image cannot be renamed. There the module removes it if the
    metadata of every file shows that it is exactly what the image holds (O(image_manifest)), or what was seeded and the image
    still has. Otherwise the module copies it to C(<path>-initial) and warns; the warning says how to avoid the copy.
  - Content that replaced a link is newer than the volume's. The module keeps it in the same way, warns, and never removes it.
  - If a run is interrupted, at any moment, the next run completes it, with the volume as the truth.
  - With O(state=unlinked) each path gets content of its own again. The volume stays as it is.
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
    description: Use the volume only if it is a mount of its own, not a directory on the file system of C(/).
    type: bool
    default: true
  method:
    description:
      - How to link entries that name no method.
      - V(bind) is for programs that do not work with symbolic links. The original stays under the mount.
      - Where systemd runs, as on a virtual machine, a mount unit mounts the volume's copy. C(local-fs.target) requires that unit,
        or C(remote-fs.target) if the volume comes over a network, so the mount is back after a reboot. Before a container's init
        the module itself mounts, at each start; that needs the capability SYS_ADMIN.
    type: str
    choices: [symlink, bind]
    default: symlink
  state:
    description: Whether the paths lead into the volume.
    type: str
    choices: [linked, unlinked]
    default: linked
  restore:
    description:
      - With O(state=unlinked), the content that the paths get. Stop the services that use them first.
      - V(store) copies back what the volume has, with all that was written since. The whole copy is on disk before the module
        removes the link.
      - V(aside) renames the original, kept at C(<path>-initial), back to the path, or uses what lies under the mount. It needs no
        volume. If the original was left to the image, the module refuses.
      - V(newest) takes the original that was kept last if the volume still has exactly what was seeded from it, so that nothing
        was written since; otherwise what the volume has.
    type: str
    choices: [store, aside, newest]
    default: store
  image_manifest:
    description: Path of the file that lists what the image holds, as C(container/Containerfile) writes it. It may be missing.
    type: path
    default: /opt/cm_persist/image.manifest
  lock_timeout:
    description: How long to wait for another process that works on the volume, in seconds.
    type: float
    default: 300
  services:
    description:
      - Names of services that the caller stops before the real run. In check mode a path that only these services use counts as
        free; otherwise this has no effect.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Checks everything and changes nothing. A path that is not seeded yet counts as seeded.
  diff_mode:
    support: full
    description: Shows the steps that the module takes, or would take.
  idempotent:
    support: full
    description: Leaves linked paths as they are. Never writes to the volume.
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
  description: The state of the volume before the run, C(absent), C(empty), C(partial) or C(seeded).
  type: str
  returned: always
  sample: seeded
paths:
  description: One dictionary for each state path, in their order; none if there is no volume.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The state path.
      type: str
    state:
      description: C(linked), C(already), C(unlinked), or C(missing) if neither image nor volume has it.
      type: str
    method:
      description: C(symlink) or C(bind).
      type: str
    original:
      description:
        - What became of the original. C(kept), next to the path or under the mount; C(discarded), it was what the image has;
          C(none), nothing was at the path, or it is back there.
      type: str
    aside:
      description: Where the original is kept, if it is kept next to the path.
      type: str
    diverged:
      description:
        - Whether the content of the path was neither what was seeded nor what the image has, as far as that is known. It may be
          newer than what the volume has, for example if an application replaced the link.
      type: bool
  sample:
    - path: /opt/manager/resources
      state: linked
      method: symlink
      original: kept
      aside: /opt/manager/resources-initial
      diverged: false
steps:
  description: The steps that the module took, or would take in check mode, in this order.
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
