# SPDX-License-Identifier: Apache-2.0
"""Run by each Python that the modules support, and by nothing else than its standard library: seed, link, secret.

Arguments: the repository, a scratch directory.
"""

import os
import sys
import time


def main(repository, top):
    sys.dont_write_bytecode = True
    for directory in ("library", "module_utils"):
        for above, _directories, names in os.walk(os.path.join(repository, directory)):
            for name in sorted(names):
                if name.endswith(".py"):
                    path = os.path.join(above, name)
                    with open(path, encoding="utf-8") as file:
                        compile(file.read(), path, "exec")

    sys.path.insert(0, repository)
    from module_utils.cm_persist.host.machine import THIS_MACHINE, Machine
    from module_utils.cm_persist.lease import lease
    from module_utils.cm_persist.lease import plan as lease_plan
    from module_utils.cm_persist.link import link
    from module_utils.cm_persist.original.pristine import created_at
    from module_utils.cm_persist.secret import secret
    from module_utils.cm_persist.seed import seed
    from module_utils.cm_persist.store.store import Store
    from module_utils.cm_persist.tree import workers as pool

    pool.wanted = lambda *_load: 2  # as for a large tree

    path, store = os.path.join(top, "image", "data"), os.path.join(top, "store")
    os.makedirs(os.path.join(path, "sub"))
    os.mkdir(store)
    with open(os.path.join(path, "sub", "file"), "w") as file:
        file.write("text")
    with open(os.path.join(path, "sparse"), "w") as file:
        file.truncate(1 << 20)
    with open(os.path.join(path, "large"), "wb") as file:
        file.write(bytes(range(256)) * 1000)
    os.link(os.path.join(path, "sub", "file"), os.path.join(path, "twin"))
    os.symlink("twin", os.path.join(path, "link"))

    assert 0 <= created_at(top) <= time.time() * 10**9
    seeding = seed.Settings(store=store, paths=[path], require_mount=False)
    # An old kernel's release takes the way without syncfs.
    for release, expected in (("3.10.0-1160.el7", "seeded"), (None, "already")):
        assert seed.seed(seeding, machine=Machine(release=release) if release else THIS_MACHINE).paths[0]["state"] == expected
    linking = link.Settings(store=store, paths=[path], require_mount=False)
    for expected in ("linked", "already"):
        assert link.link(linking).paths[0]["state"] == expected
    with open(os.path.join(path, "sub", "file")) as file:
        assert file.read() == "text"
    with open(os.path.join(path, "large"), "rb") as file:
        assert file.read() == bytes(range(256)) * 1000
    assert os.stat(os.path.join(store + path, "twin")).st_nlink == 2
    assert link.link(linking._replace(state="unlinked")).paths[0]["state"] == "unlinked"

    # What it leaves behind is ended by what gives the lease up; only root sees either.
    if os.geteuid() == 0:
        lease_plan.keeper = lambda _systemd: lease.BY_PROCESS
        for _twice in (1, 2):
            seed.seed(seeding)
            with Store(store) as opened:
                assert lease.Lease(opened).look().state == lease.OURS
        assert "lease" in link.link(linking._replace(state="unlinked")).steps[-1]
        # An emulator has threads of its own, which may have a file open a moment longer than the process is seen to live.
        until = time.monotonic() + 10
        with Store(store) as opened:
            while lease.Lease(opened).look().state != lease.FREE:
                assert time.monotonic() < until
                time.sleep(0.05)

    settings = secret.Settings(source=os.path.join(top, "secret"), target=os.path.join(top, "run", "account"))
    assert secret.link_secret(settings).state == "absent"
    os.mkdir(settings.source)
    with open(os.path.join(settings.source, "token"), "w") as file:
        file.write("token")
    assert [secret.link_secret(settings._replace(user="root")).state for _twice in (1, 2)] == ["linked", "already"]
    assert secret.link_secret(settings._replace(user="nobody"), check_mode=True).state == "already"
    print("all is well on", ".".join(map(str, sys.version_info[:3])))


if __name__ == "__main__":
    main(*sys.argv[1:])
