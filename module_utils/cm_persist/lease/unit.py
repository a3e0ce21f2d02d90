# SPDX-License-Identifier: Apache-2.0
"""The unit that keeps a machine's lease from one boot to the next (systemd.service(5))."""

import math

from ..errors import LinkError, printable
from ..host.systemd import OURS, Unit
from .lease import MARK, LeaseRequest

NAME = MARK + ".service"
# Type=forking: the unit is up when the lock is held, whatever systemd's age. The script opens the lock by its path once more to
# write the holder's name, so it first checks that it is a file, not a link, with no other name. WantedBy, not RequiredBy: a
# machine whose volume is lost has to boot; a service that must not start without the lease requires it itself. On-abnormal:
# systemd replaces a killed holder, but does not try for ever where another manager holds the lease.
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


def lease_unit(store_path: str, lease_path: str, request: LeaseRequest, network: bool) -> Unit:
    """The unit that holds the lease, as it should be; not yet compared with what is installed. network: the volume is mounted
    over a network, and so only later in a boot. Raises LinkError if a unit file cannot name the store."""
    for text in (store_path, request.name):
        if not text.isprintable():
            hint = "Mount it elsewhere, or set cm_persist_lease: false."
            raise LinkError(store_path, "a unit cannot name {}".format(printable(text)), hint)
    target = "remote-fs.target" if network else "local-fs.target"
    timeout = max(1, math.ceil(request.timeout))  # old flocks take no 0
    text = TEXT.format(
        store=_quoted(store_path),
        of_store=_of_store(store_path),
        lease=_quoted(lease_path).replace("$", "$$"),
        holder=_quoted(request.name).replace("$", "$$"),
        script=SCRIPT.replace("%", "%%").replace("$", "$$"),
        mark=MARK,
        target=target,
        timeout=timeout,
        limit=timeout + 30,
    )
    return Unit(NAME, text, target, False, "wants")


def is_for(text: str, store_path: str) -> bool:
    """True if this is the text of a unit for that store."""
    return _of_store(store_path) in text.splitlines()


def _of_store(store_path):
    return 'RequiresMountsFor="{}"'.format(_quoted(store_path))


def _quoted(text):
    # As it is written between double quotes in a unit file, where % begins a specifier.
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
