# SPDX-License-Identifier: Apache-2.0
"""The unit that keeps a machine's lease from one boot to the next (systemd.service(5))."""

import math

from ..errors import LinkError, printable
from ..host.systemd import OURS, Unit
from .lease import MARK

NAME = MARK + ".service"
# Type=forking: it is started when the lock is held, whatever systemd's age. What writes a name into the lock opens it by its path
# once more, to cut it: hence the look that it is a file, not a link, with no other name. Wanted, not required: a machine whose
# volume is lost has to boot. A service that must not start without it says so itself. On-abnormal: a holder that was killed is
# replaced, but who found the lease held does not try for ever.
TEXT = (
    OURS
    + """ (persist_seed); it goes with cm_persist_lease: false, and with restore.yml.
[Unit]
Description=cm_persist: the lease of {store}, one manager at a time
{of_store}
DefaultDependencies=no
Before={target} shutdown.target
Conflicts=shutdown.target

[Service]
Type=forking
ExecStart=/bin/sh -c '{script}' {mark} "{lease}" "{holder}" {timeout}
TimeoutStartSec={limit}
Restart=on-abnormal

[Install]
WantedBy={target}
"""
)
SCRIPT = "; ".join(
    (
        "set -e",
        'test -f "$1" -a ! -L "$1"',
        'if test -w "$1"; then exec 9<>"$1"; else exec 9<"$1"; fi',
        'flock -w "$3" 9 || { test $? != 1 && echo "the lease cannot be locked" || '
        'echo "another manager uses the store: $(head -c 200 "$1" | tr -cd "[:print:]")"; exit 1; } >&2',
        'test ! -w "$1" -o "$(stat -c %h "$1")" != 1 || printf "%s since %s" "$2" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$1" || :',
        "sleep infinity &",
    )
)


def lease_unit(store_path, lease_path, wanted, network):
    """The unit as it should be.

    Args:
        store_path (str): the store.
        lease_path (str): its lease.
        wanted (lease.LeaseRequest): how long to wait at a boot, and the holder's name.
        network (bool): whether the store comes over a network, and so only later in a boot.

    Returns:
        Unit: not yet compared with what is installed.

    Raises:
        LinkError: a unit file cannot name the store.
    """
    for text in (store_path, wanted.name):
        if not text.isprintable():
            hint = "Mount it elsewhere, or set cm_persist_lease: false."
            raise LinkError(store_path, "a unit cannot name {}".format(printable(text)), hint)
    target = "remote-fs.target" if network else "local-fs.target"
    timeout = max(1, math.ceil(wanted.timeout))  # old flocks take no 0
    text = TEXT.format(
        store=_quoted(store_path),
        of_store=_of_store(store_path),
        lease=_quoted(lease_path).replace("$", "$$"),
        holder=_quoted(wanted.name).replace("$", "$$"),
        script=SCRIPT.replace("%", "%%").replace("$", "$$"),
        mark=MARK,
        target=target,
        timeout=timeout,
        limit=timeout + 30,
    )
    return Unit(NAME, text, target, False, "wants")


def is_for(text, store_path):
    """bool: whether this is the text (str) of a unit for that store (str)."""
    return _of_store(store_path) in text.splitlines()


def _of_store(store_path):
    return 'RequiresMountsFor="{}"'.format(_quoted(store_path))


def _quoted(text):
    # As it stands between double quotes in a unit file, where % begins a specifier.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
