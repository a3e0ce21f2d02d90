#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: secret_link
short_description: Bring back the Kubernetes API credentials that init has hidden
description:
  - Kubernetes mounts the credentials below C(/run) before the container starts; then systemd mounts its own C(/run) over them.
    This module links their place to a copy of the credentials that is mounted elsewhere.
  - The link leads to the directory, so programs see a renewed token at once.
  - The module reads from the token only when it expires. It logs and returns nothing of the credentials' content.
  - The module warns of a token that has expired or that Kubernetes did not renew in time, of a mount with C(subPath), where
    Kubernetes never renews it, and of a missing C(ca.crt) or C(namespace).
options:
  source:
    description:
      - Absolute path of the directory with the copy.
      - The link leads there and not through C(..data) in it, which is another directory after a renewal of the token.
    type: path
    default: /secret
  target:
    description: Absolute path where programs look for the credentials. The module makes missing parents, with mode 0755.
    type: path
    default: /var/run/secrets/kubernetes.io/serviceaccount
  required_files:
    description: Names of the files that must exist and that the user can read. They may be links to regular files.
    type: list
    elements: str
    default: [token]
  required:
    description: Whether a missing source is an error. Otherwise it means that there are no credentials here.
    type: bool
    default: false
  user:
    description:
      - The name of the user whose programs need the credentials. As this user, the module tries to read them.
      - Empty for no such check. A user that does not exist is a warning.
    type: str
    default: cfyuser
attributes:
  check_mode:
    support: full
    description: The module checks everything and changes nothing.
  diff_mode:
    support: full
    description: Shows the steps that the module takes, or would take; paths only.
  idempotent:
    support: full
    description: The module leaves a correct link, and credentials that are still mounted at the target, as they are.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Link the service account's credentials
  secret_link:

- name: Link credentials that are mounted elsewhere, and fail if there are none
  secret_link:
    source: /mnt/credentials
    required: true
    required_files: [token, ca.crt, namespace]
"""

RETURN = r"""
state:
  description:
    - C(linked); C(already); C(mounted) if the credentials are at the target and nothing hides them; or C(absent) if the source
      does not exist.
  type: str
  returned: success
  sample: linked
msg:
  description: The same as a sentence.
  type: str
  returned: always
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

from ..module_utils.cm_persist.module_result import exit_module
from ..module_utils.cm_persist.secret.secret import Settings, link_secret


def main():
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "default": "/secret"},
            "target": {"type": "path", "default": "/var/run/secrets/kubernetes.io/serviceaccount"},
            "required_files": {"type": "list", "elements": "str", "default": ["token"]},
            "required": {"type": "bool", "default": False},
            "user": {"type": "str", "default": "cfyuser"},
        },
        supports_check_mode=True,
    )
    exit_module(module, lambda: link_secret(Settings(**module.params), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
