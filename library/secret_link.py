#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

DOCUMENTATION = r"""
module: secret_link
short_description: Bring back the Kubernetes API credentials that init has hidden
description:
  - Kubernetes mounts them below C(/run) before the container starts; systemd then mounts its own C(/run) over them. This
    module links the place to a copy of the credentials that is mounted elsewhere.
  - The link leads to the directory, so a token that is rotated is seen at once.
  - Of the credentials' content only the time when the token expires is looked at. Nothing of it is logged or returned.
  - A warning tells of a token that has expired or was not renewed in time, of a mount with C(subPath), which is never renewed,
    and of a lack of C(ca.crt) or C(namespace).
options:
  source:
    description:
      - Absolute path of the directory with the copy.
      - The link leads there and not through C(..data) in it, which is another directory once the token is rotated.
    type: path
    default: /secret
  target:
    description: Absolute path where programs look for the credentials. Missing directories above it are made, mode 0755.
    type: path
    default: /var/run/secrets/kubernetes.io/serviceaccount
  required_files:
    description: Names that must be regular files, after links are followed, which the user can read.
    type: list
    elements: str
    default: [token]
  required:
    description: Whether no source is an error. Otherwise it means that there are no credentials here.
    type: bool
    default: false
  user:
    description:
      - The name of the user whose programs need the credentials. Whether it can read them is tried, as that user.
      - Empty for nobody. A user that does not exist is a warning.
    type: str
    default: cfyuser
attributes:
  check_mode:
    support: full
    description: Everything is looked at, nothing is changed.
  diff_mode:
    support: full
    description: Shows the steps that are, or would be, taken; paths only.
  idempotent:
    support: full
    description: A correct link, or credentials that are still mounted at the target, are left alone.
author:
  - the cm_persist authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Link the service account's credentials
  secret_link:

- name: Link credentials of another place, and fail where there are none
  secret_link:
    source: /mnt/credentials
    required: true
    required_files: [token, ca.crt, namespace]
"""

RETURN = r"""
state:
  description:
    - C(linked), C(already), C(mounted) where the credentials are at the target and nothing hides them, or C(absent) where
      there is no source.
  type: str
  returned: success
  sample: linked
msg:
  description: The same as a sentence.
  type: str
  returned: always
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
