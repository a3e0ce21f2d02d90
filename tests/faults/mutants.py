# SPDX-License-Identifier: Apache-2.0
"""The rules of safe seeding, each with a way to break it and the tests that are there to notice."""

from typing import NamedTuple, Tuple

CORE = "module_utils/cm_persist/"
ORDER, POWER, RACES = "tests/faults/test_sync_order.py", "tests/faults/test_power_loss.py", "tests/faults/test_races.py"
KILLED, FAILED = "tests/faults/test_killed_calls.py", "tests/faults/test_failed_calls.py"
STARTERS, FIDELITY = "tests/faults/test_two_starters.py", "tests/faults/test_fidelity.py"
THING = "tests/faults/test_hostile_stores.py::test_a_thing_at_a_place"
LINKS, OVERLAY = "tests/faults/test_link_faults.py", "tests/filesystem/test_overlay.py"
UNITS, CUT = "tests/unit/test_systemd.py", "tests/filesystem/test_killed.py"
LEASES, SECRETS = "tests/filesystem/test_lease.py", "tests/filesystem/test_secret.py"
USED, UNSEED = "tests/filesystem/test_processes.py", "tests/filesystem/test_unseed.py"
TRAPS = "tests/filesystem/test_hazards.py"
CHANGE, BACK, OWNERS = (
    "tests/filesystem/test_image_change.py", "tests/filesystem/test_rollback.py", "tests/filesystem/test_owners.py"
)  # fmt: skip
BEGUN = "tests/filesystem/test_begun.py"
UPGRADES = "tests/faults/test_upgrade_faults.py"


class Mutant(NamedTuple):
    """In file, rule (which stands there once) becomes broken; at least one of the tests must then fail."""

    name: str
    file: str
    rule: str
    broken: str
    tests: Tuple[str, ...]


MUTANTS = (
    Mutant(
        "copied in place",
        CORE + "seed/steps.py",
        "                syscalls.rename_noreplace(TREE, os.path.basename(relative), private, parent)\n",
        "                from ..tree.copy_files import Source, Target\n"
        "                from ..tree.copy_tree import copy_tree\n"
        "\n"
        '                with open(os.devnull, "wb") as nowhere:\n'
        "                    target = Target(parent, os.path.basename(relative))\n"
        "                    copy_tree(Source(private, TREE, self.spec.path), target, nowhere)\n",
        (POWER, "-k", "ext4"),
    ),
    Mutant(
        "no fsync",
        CORE + "tree/sync.py",
        "    if syscalls.syncfs_reports_errors(release) and",
        "    return\n    if syscalls.syncfs_reports_errors(release) and",
        (POWER, "-k", "ext4"),
    ),
    Mutant(
        "no fsync of directories",
        CORE + "tree/sync.py",
        '                yield path, [b"."]\n',
        "",
        (POWER, "-k", "btrfs"),
    ),
    Mutant(
        "no fsync of directories, by the order of calls",
        CORE + "tree/sync.py",
        '                yield path, [b"."]\n',
        "",
        (ORDER, "-k", "test_everything"),
    ),
    Mutant(
        "no fsync of the parent",
        CORE + "seed/steps.py",
        "found, hint) from error\n            os.fsync(parent)\n",
        "found, hint) from error\n",
        (POWER, "-k", "btrfs"),
    ),
    Mutant(
        "no fsync of the parent, by the order of calls",
        CORE + "seed/steps.py",
        "found, hint) from error\n            os.fsync(parent)\n",
        "found, hint) from error\n",
        (ORDER, "-k", "test_everything"),
    ),
    Mutant(
        "no fsync of the record",
        CORE + "fs/atomic.py",
        "        file.flush()\n        os.fsync(fd)\n",
        "        file.flush()\n",
        (ORDER, "-k", "test_everything"),
    ),
    Mutant(
        "no fsync of the directories above",
        CORE + "fs/mkdirs.py",
        "    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)\n    os.fsync(dir_fd)\n",
        "    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)\n",
        (ORDER, "-k", "test_everything"),
    ),
    Mutant(
        "a rename that replaces",
        CORE + "fs/syscalls.py",
        "RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2",
        "RENAME_NOREPLACE, RENAME_EXCHANGE = 0, 2",
        ("tests/filesystem/test_unfinished.py", "-k", "came_meanwhile"),
    ),
    Mutant(
        "a look and then an opening",
        CORE + "fs/dirfd.py",
        "            return os.open(name, OPEN_DIRECTORY, dir_fd=above)\n        except",
        "            if stat.S_ISLNK(os.lstat(name, dir_fd=above).st_mode):\n"
        '                raise OSError(errno.ELOOP, "link")\n'
        "            return os.open(name, OPEN_DIRECTORY ^ os.O_NOFOLLOW, dir_fd=above)\n        except",
        (RACES, "-k", "in_the_way"),
    ),
    Mutant(
        "directories opened through links",
        CORE + "fs/dirfd.py",
        "OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        (RACES,),
    ),
    Mutant(
        "a removal that crosses mounts",
        CORE + "fs/rmtree.py",
        "        if not same_mount(fd, stack.fd):\n",
        "        if False:\n",
        (THING + "[.cm_persist/.record.json.new]", "--full"),
    ),
    Mutant(
        "a lock that is somebody's file",
        CORE + "store/lock.py",
        "    if os.fstat(fd).st_nlink != 1:\n",
        "    if False:\n",
        (THING + "[.cm_persist/lock]", "--full"),
    ),
    Mutant(
        "no lock",
        CORE + "store/lock.py",
        "        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)\n",
        "        pass\n",
        (STARTERS, "-k", "sixteen"),
    ),
    Mutant(
        "no second look under the lock",
        CORE + "seed/seed.py",
        "        seen = self._observer.observe()\n",
        "        seen = self._seen = getattr(self, '_seen', None) or self._observer.observe()\n",
        (STARTERS,),
    ),
    Mutant(
        "a failed sync swallowed",
        CORE + "tree/sync.py",
        "            if error.errno not in syscalls.UNAVAILABLE:\n                raise\n",
        "            return\n",
        (FAILED, "-k", "sync"),
    ),
    Mutant(
        "data that ends early accepted",
        CORE + "tree/copy_data.py",
        "                if end_of_part == start:\n                    raise changed(path)\n",
        "                if end_of_part == start:\n                    return\n",
        (FAILED, "-k", "ends_early"),
    ),
    Mutant(
        "leftovers adopted by the next copy",
        CORE + "seed/plan.py",
        '("clear staging", (ClearStaging(leftovers),) if leftovers else ()),',
        '("clear staging", ()),',
        (KILLED, "-k", "one_process or process"),
    ),
    Mutant(
        "names of one file copied apart",
        CORE + "tree/copy_files.py",
        "        if key and self._is_linked(key, target):\n",
        '        key = b""\n        if key:\n',
        (FIDELITY, "-k", "everything"),
    ),
    Mutant(
        "capabilities before the owner",
        CORE + "tree/metadata.py",
        "        os.chown(target, status.st_uid, status.st_gid, **nofollow)\n"
        "        unlabelled = _copy_attributes(source, target, path, **nofollow)\n",
        "        unlabelled = _copy_attributes(source, target, path, **nofollow)\n"
        "        os.chown(target, status.st_uid, status.st_gid, **nofollow)\n",
        (FIDELITY, "-k", "everything"),
    ),
    Mutant(
        "directories finished before their content",
        CORE + "tree/copy_tree.py",
        "self._left.append((self._batches.next, ",
        "self._left.append((0, ",
        (FIDELITY, "-k", "everything"),
    ),
    Mutant(
        "holes filled",
        CORE + "tree/copy_data.py",
        "        elif os.lseek(source_fd, 0, os.SEEK_HOLE) < size:",
        "        elif False:",
        ("tests/filesystem/test_fidelity.py", "-k", "hole"),
    ),
    Mutant(
        "an original removed without a note",
        CORE + "link/steps.py",
        "    write_removal(parent, manifest or NO_MANIFEST, None)\n",
        "",
        (LINKS, "-k", "killed and lists"),
    ),
    Mutant(
        "an original removed that nobody compared",
        CORE + "link/steps.py",
        "        proof = find_proof(self.manifests, parent)[0] if self.overlay else None\n",
        "        proof = self.manifests[0] if self.manifests else None\n",
        (OVERLAY, "-k", "under_a_mount"),
    ),
    Mutant(
        "an original removed as it was compared some time ago",
        CORE + "link/steps.py",
        "        if found is not None:\n            where",
        "        if False:\n            where",
        (OVERLAY, "-k", "between_the_look"),
    ),
    Mutant(
        "an original removed that is almost as in the image",
        CORE + "tree/manifest.py",
        "    if expected == found:\n        return True\n",
        "    if expected[:MTIME] + expected[PATH:] == found[:MTIME] + found[PATH:]:\n        return True\n",
        (OVERLAY, "-k", "no_longer_as_in_the_image"),
    ),
    Mutant(
        "an original removed that is only the beginning of what the image has",
        CORE + "tree/manifest.py",
        "                return\n            fields[PATH]",
        "                continue\n            fields[PATH]",
        ("tests/unit/test_manifest.py", "-k", "part"),
    ),
    Mutant(
        "an original removed where there is no image",
        CORE + "link/steps.py",
        "        if proof is not None or (self.overlay and parent.look_inside().empty):\n",
        "        proof = find_proof(self.manifests, parent)[0]\n        if True:\n",
        ("tests/filesystem/test_doubt.py", "-k", "exdev"),
    ),
    Mutant(
        "newer content removed with the rest of an original",
        CORE + "link/steps.py",
        "            if published and difference(manifest, (parent.fd, parent.name), removal_begun=True) is None:\n",
        "            if published:\n",
        (CUT, "-k", "put_there_during_a_removal"),
    ),
    Mutant(
        "an aside that replaces another",
        CORE + "link/steps.py",
        "            syscalls.rename_noreplace(parent.name, os.fsencode(os.path.basename(self.aside)), parent.fd, parent.fd)\n",
        "            syscalls.rename_noreplace(parent.name, parent.name + b'-initial', parent.fd, parent.fd)\n",
        ("tests/filesystem/test_single_file.py", "-k", "wrote_anew"),
    ),
    Mutant(
        "the link gone before the copy back is on disk",
        CORE + "link/restore_steps.py",
        "            stored = stack.enter_context(",
        "            _unlink(parent, self.stored_path)\n            stored = stack.enter_context(",
        ("tests/filesystem/test_restore.py", "-k", "copy_that_fails"),
    ),
    Mutant(
        "new content under the notes of the old",
        CORE + "link/restore_steps.py",
        "                for note in (bound_name(parent.name), removal_name(parent.name)):\n",
        "                for note in ():\n",
        (LINKS, "-k", "undisturbed"),
    ),
    Mutant(
        "a mount that nobody knows of",
        CORE + "link/plan.py",
        "        NoteMount(path.spec, stored_path, mounted_by),\n",
        "",
        ("tests/filesystem/test_bind.py", "-k", "reboot or without_its_volume"),
    ),
    Mutant(
        "a unit that outlives what it was for",
        CORE + "link/restore_plan.py",
        "*_remove_unit(path), CopyBack(",
        "CopyBack(",
        (CUT, "-k", "off_a_mount"),
    ),
    Mutant(
        "a unit that mounts an empty directory",
        CORE + "host/systemd.py",
        "AssertPathExists={what}\n",
        "",
        (UNITS, "-k", "never_what_is_not_there"),
    ),
    Mutant(
        "a first run under a mount that was lost",
        CORE + "seed/decide.py",
        "    if notes.mount_noted:\n",
        "    if False:\n",
        ("tests/filesystem/test_bind.py", "-k", "another_volume"),
    ),
    Mutant(
        "newer content hidden by a mount",
        CORE + "link/plan.py",
        "    diverged = has_diverged(path) and not path.at_path.empty\n",
        "    diverged = False\n",
        ("tests/filesystem/test_bind.py", "-k", "may_be_newer"),
    ),
    Mutant(
        "newer content that a failed run does not tell of",
        CORE + "link/link.py",
        "                error.warnings = ([] if self.restore else list(plan.warnings)) + run.warnings\n",
        "",
        ("tests/filesystem/test_link.py", "-k", "another_path_fails"),
    ),
    Mutant(
        "off the store, says it, and its mount is there",
        CORE + "link/restore_plan.py",
        "    if stale and path.mount.others:\n",
        "    if False:\n",
        ("tests/filesystem/test_restore.py", "-k", "not_called_unlinked"),
    ),
    Mutant(
        "nobody left to keep the lease",
        CORE + "lease/plan.py",
        "            lease.leave_behind()\n",
        "            pass\n",
        (LEASES, "-k", "leaves_one_process"),
    ),
    Mutant(
        "a lease that is taken when the wait is over",
        CORE + "lease/lease.py",
        "                    raise self.refusal(waited_for, request.timeout)\n",
        "                    break\n",
        (LEASES, "-k", "however_old"),
    ),
    Mutant(
        "another container's keeper taken for ours",
        CORE + "lease/lease.py",
        'os.path.samestat(os.stat(os.path.join(directory, "root")), root) and _has_open(',
        "_has_open(",
        (LEASES, "-k", "that_can_be_seen"),
    ),
    Mutant(
        "one that waits taken for a keeper",
        CORE + "lease/lease.py",
        "        if any(keeper_of in command for keeper_of in KEEPERS):\n",
        "        if True:\n",
        (LEASES, "-k", "only_waits"),
    ),
    Mutant(
        "a plan from before the wait",
        CORE + "seed/seed.py",
        "            if lease_held.waited and done is not None:\n",
        "            if False:\n",
        (LEASES, "-k", "destroyed_meanwhile"),
    ),
    Mutant(
        "a lease that a failed start keeps",
        CORE + "lease/plan.py",
        "        yield LeaseHeld(bool(seen.detail) or plan.seen.state == HELD, plan.steps, tuple(warnings))\n",
        "        if seen.state == FREE and plan.by == BY_PROCESS:\n"
        "            lease.leave_behind()\n"
        "        yield LeaseHeld(bool(seen.detail) or plan.seen.state == HELD, plan.steps, tuple(warnings))\n"
        "        return\n",
        (LEASES, "-k", "that_fails"),
    ),
    Mutant(
        "a lease that follows a link",
        CORE + "store/lock.py",
        "    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC\n",
        "    flags = os.O_NONBLOCK | os.O_CLOEXEC\n",
        (LEASES, "-k", "something_else"),
    ),
    Mutant(
        "a mount that another one hides taken for one",
        CORE + "secret/observe.py",
        "        return not same_mount(fd, parent.fd)\n",
        "        from ..host.mounts import read_mounts\n\n"
        "        return any(m.mount_point == os.path.realpath(parent.path) for m in read_mounts())\n",
        (SECRETS, "-k", "hidden_mount"),
    ),
    Mutant(
        "a link to the files as they are now",
        CORE + "secret/steps.py",
        "            os.symlink(self.source, mine",
        '            os.symlink(self.source + "/..data", mine',
        (SECRETS, "-k", "leads_to_the_source"),
    ),
    Mutant(
        "what root can read, the manager can",
        CORE + "secret/observe.py",
        "        os.setuid(entry.pw_uid)\n",
        "",
        (SECRETS, "-k", "cannot_read"),
    ),
    Mutant(
        "the same name in another container taken for the same file",
        CORE + "host/processes.py",
        '        if not os.path.samestat(os.stat(_proc(process, "root")), os.stat("/")):\n',
        "        if False:\n",
        (USED, "-k", "another_container"),
    ),
    Mutant(
        "a database copied while it runs",
        CORE + "seed/decide.py",
        "    if obstacles.used_by:\n",
        "    if False:\n",
        (USED, "-k", "not_seeded"),
    ),
    Mutant(
        "a database moved or restored while it runs",
        CORE + "link/plan.py",
        "        if used_by and any(not isinstance(step, BOOKKEEPING) for step in decision.steps):\n",
        "        if False:\n",
        (USED, "-k", "not_linked or not_restored"),
    ),
    Mutant(
        "a database copied whose process cannot be looked into",
        CORE + "host/processes.py",
        "        if not does and process in self._servers:\n",
        "        if False:\n",
        (USED, "-k", "known_by_its_note"),
    ),
    Mutant(
        "services that are only going to be stopped taken for stopped",
        CORE + "seed/observe.py",
        "        self.stopping = ()\n",
        "        self.stopping = settings.services\n",
        (USED, "-k", "in_check_mode_alone"),
    ),
    Mutant(
        "the only copy taken out of the store",
        CORE + "seed/unseed.py",
        "    if reason:\n",
        "    if False:\n",
        (UNSEED, "-k", "all_that_there_is_stays"),
    ),
    Mutant(
        "the record forgets before the copy has lost its name",
        CORE + "seed/unseed.py",
        '            ("withdraw", tuple(Withdraw(path.spec, store.path) for path in stored)),\n'
        '            ("forget", (forget, ClearStaging(names)) if known else ()),\n',
        '            ("forget", (forget,) if known else ()),\n'
        '            ("withdraw", tuple(Withdraw(path.spec, store.path) for path in stored)),\n'
        '            ("clear", (ClearStaging(names),) if known else ()),\n',
        (UNSEED, "-k", "killed_before_each_change"),
    ),
    Mutant(
        "a path that was taken out and not forgotten strands the next start",
        CORE + "seed/plan.py",
        "record if store.books.taken_out and writable else ()",
        "()",
        (UNSEED, "-k", "strand"),
    ),
    Mutant(
        "a database without its tablespaces",
        CORE + "seed/checks.py",
        "        if database.elsewhere:\n",
        "        if False:\n",
        (TRAPS, "-k", "not_seeded_alone"),
    ),
    Mutant(
        "an empty database in place of the one that no path names any more",
        CORE + "seed/checks.py",
        "    if databases and store.databases:\n",
        "    if False:\n",
        (TRAPS, "-k", "left_behind"),
    ),
    Mutant(
        "labels after the record",
        CORE + "seed/plan.py",
        '_with_books(store, (*changes, ("label", labels.steps)), writes, keep)',
        '(*_with_books(store, changes, writes, keep), ("label", labels.steps))',
        ("tests/filesystem/test_selinux.py", "-k", "before_the_record"),
    ),
    Mutant(
        "labels after the record of what was begun",
        CORE + "store/recovery.py",
        '            ("label", labels.steps),\n            ("record", (WriteRecord(store.path),)),\n',
        '            ("record", (WriteRecord(store.path),)),\n            ("label", labels.steps),\n',
        ("tests/filesystem/test_selinux.py", "-k", "goes_on_from_there"),
    ),
    Mutant(
        "a lost path made anew",
        CORE + "seed/decide.py",
        "    if original.kind == LINK and original.target == place:\n",
        "    if False:\n",
        ("tests/filesystem/test_missing.py", "-k", "not_made_anew"),
    ),
    Mutant(
        "services that wait for a unit that is gone",
        CORE + "lease/plan.py",
        "    steps = [RemoveDropIns(store_path, tuple(drop_ins))] if drop_ins else []\n",
        "    steps = []\n",
        ("tests/unit/test_lease_plan.py", "-k", "goes_first"),
    ),
    Mutant(
        "what was written to the store taken out of it",
        CORE + "seed/unseed.py",
        "    if not path.spare:\n",
        "    if False:\n",
        (UNSEED, "-k", "written_to_the_store_since"),
    ),
    Mutant(
        "an original put back over what the store got since",
        CORE + "link/observe.py",
        "        return difference(seeded, kept) is None and is_as_seeded(",
        "        return difference(seeded, kept) is None or is_as_seeded(",
        ("tests/filesystem/test_restore.py", "-k", "newest"),
    ),
    Mutant(
        "a merge that is not on disk when it takes its place",
        CORE + "seed/plan.py",
        "*merging, Sync()), ",
        "*merging, *([Sync()] if copies else [])), ",
        (UPGRADES, "-k", "power_loss and ext4"),
    ),
    Mutant(
        "an exchange that is not on disk when it is recorded",
        CORE + "store/swap.py",
        "            rename_noreplace(TREE, name, private_fd, parent)\n        os.fsync(parent)\n        os.fsync(private_fd)\n",
        "            rename_noreplace(TREE, name, private_fd, parent)\n",
        (UPGRADES, "-k", "power_loss and btrfs"),
    ),
    Mutant(
        "half of an exchange taken for none",
        CORE + "store/swap.py",
        "            state = HALF\n",
        "            state = BEFORE\n",
        (BACK, "-k", "killed_before_each_change and False"),
    ),
    Mutant(
        "paths that go back one by one",
        CORE + "store/swap.py",
        "    if any(swap.is_rollback and swap.state != BEFORE for swap in swaps):\n",
        "    if False:\n",
        (BACK, "-k", "all_paths_go_back"),
    ),
    Mutant(
        "what was replaced is not kept",
        CORE + "seed/plan.py",
        "    keep = tuple(KeepOld(name, backups) for name in names)\n",
        "    keep = ()\n",
        (BACK, "-k", "comes_back"),
    ),
    Mutant(
        "a kept tree with the list of the one that replaced it",
        CORE + "store/layout.py",
        'return label(path) + ".2" if entry["manifest"] == label(path) else label(path)',
        "return label(path)",
        (BACK, "-k", "comes_back"),
    ),
    Mutant(
        "a store that goes back under a running manager",
        CORE + "upgrade/rollback.py",
        "    if path.used_by:\n",
        "    if False:\n",
        (BACK, "-k", "in_use"),
    ),
    Mutant(
        "a store that is merged under a running manager",
        CORE + "upgrade/plan.py",
        "        if change.used_by:\n",
        "        if False:\n",
        (CHANGE, "-k", "where_a_merge"),
    ),
    Mutant(
        "a database merged",
        CORE + "upgrade/observe.py",
        'return "it holds a database ({})".format(os.fsdecode(database)) if database else ""',
        'return ""',
        (CHANGE, "-k", "database_is_never"),
    ),
    Mutant(
        "a database of another version started",
        CORE + "upgrade/plan.py",
        "    if change.databases:\n",
        "    if False:\n",
        (CHANGE, "-k", "another_version"),
    ),
    Mutant(
        "an image merged that nobody has named",
        CORE + "upgrade/observe.py",
        "    if not change.new.known:\n",
        "    if False:\n",
        (CHANGE, "-k", "where_a_merge"),
    ),
    Mutant(
        "an older image started",
        CORE + "seed/plan.py",
        "    if not policy.allow_downgrade:\n",
        "    if False:\n",
        (CHANGE, "-k", "older_image"),
    ),
    Mutant(
        "a changed image started though that is to fail",
        CORE + "upgrade/plan.py",
        "    if change.policy == FAIL and change.differs:\n",
        "    if False:\n",
        (CHANGE, "-k", "fail_refuses"),
    ),
    Mutant(
        "what was deleted comes back with the next image",
        CORE + "upgrade/three_way.py",
        "    if image is not None and own is None and old is not None:\n",
        "    if False:\n",
        (CHANGE, "-k", "keeps_what_was_written"),
    ),
    Mutant(
        "what was written is replaced by the next image's",
        CORE + "upgrade/three_way.py",
        "    untouched = same(old, own) and (own",
        "    untouched = True or (own",
        (CHANGE, "-k", "keeps_what_was_written"),
    ),
    Mutant(
        "what an original that a start has moved left behind, taken for an image",
        CORE + "original/notes.py",
        "        return self.removal_begun or self.mount_noted or bool(self.asides)\n",
        "        return False\n",
        (CHANGE, "-k", "is_no_image"),
    ),
    Mutant(
        "a walk at each start",
        CORE + "upgrade/observe.py",
        "(self._spec.on_image_change == KEEP or old is None or old.id == new.id):\n            return None\n",
        "(self._spec.on_image_change == KEEP or old is None or old.id == new.id):\n            pass\n",
        (CHANGE, "-k", "without_a_walk"),
    ),
    Mutant(
        "a number given out that is still to be taken away",
        CORE + "store/owners.py",
        "ready = {old: new for old, new in moves.items() if new not in moves}",
        "ready = dict(moves)",
        (OWNERS, "-k", "killed_before_each_change"),
    ),
    Mutant(
        "a pass over owners that nobody wrote down",
        CORE + "store/renumber.py",
        "        write_owners(store.state_fd, Owners(accounts, self.moves))\n",
        "",
        (OWNERS, "-k", "killed_before_each_change"),
    ),
    Mutant(
        "set-user-ID and capabilities lost with the owner",
        CORE + "store/renumber.py",
        "status.st_mode & 0o6000 or _attribute(visit, CAPABILITY)",
        "False",
        (UPGRADES, "-k", "undisturbed and owners"),
    ),
    Mutant(
        "directories above that their owner cannot enter",
        CORE + "store/renumber.py",
        "in directories_above(self._store, self._run.record):\n",
        "in ():\n",
        (OWNERS, "-k", "owners_follow_their_names"),
    ),
    Mutant(
        "lists of access that name another's number",
        CORE + "store/renumber.py",
        "            self._acls(visit, path)\n",
        "            pass\n",
        (UPGRADES, "-k", "undisturbed and owners"),
    ),
    Mutant(
        "what was begun passed over by what comes next",
        CORE + "seed/plan.py",
        "    if recovery:\n        return recovery\n",
        "",
        (BEGUN,),
    ),
    Mutant(
        "what was written during a merge left behind",
        CORE + "store/swap.py",
        "                if stamp(parent, name) != run.stamps[self.path]:\n",
        "                if False:\n",
        (BEGUN, "-k", "left_behind"),
    ),
    Mutant(
        "a directory of another run taken for this one's",
        CORE + "store/steps.py",
        "            os.mkdir(name, 0o700, dir_fd=staging)\n            self._made.append(name)",
        "            self._made.append(name)\n            os.mkdir(name, 0o700, dir_fd=staging)",
        (BEGUN, "-k", "another_run"),
    ),
    Mutant(
        "the number of a name that is gone given to another",
        CORE + "store/owners.py",
        "for old in absent if old in self._taken]",
        "for old in ()]",
        ("tests/unit/test_upgrade_plans.py", "-k", "is_gone"),
    ),
    Mutant(
        "files parked at a number that somebody has",
        CORE + "store/owners.py",
        "(number for number in itertools.count(PARKED) if number not in somebodys)",
        "itertools.count(PARKED)",
        (OWNERS, "-k", "is_nobodys"),
    ),
    Mutant(
        "files without a name given to a name that gets their number",
        CORE + "store/owners.py",
        "        for number in (self._used & news) - set(names.values()) - {ROOT}:\n",
        "        for number in ():\n",
        (OWNERS, "-k", "belong_to_no_name"),
    ),
    Mutant(
        "numbers in lists of access taken for free",
        CORE + "store/numbers.py",
        "if tag == wanted] for",
        "if False] for",
        (OWNERS, "-k", "list_of_access"),
    ),
    Mutant(
        "two owners made one because an image does",
        CORE + "store/owners.py",
        "            if other != old:\n",
        "            if False:\n",
        (OWNERS, "-k", "makes_one"),
    ),
    Mutant(
        "a walk through the store at each start",
        CORE + "seed/observe.py",
        " or not plan_passes(books.owners, image.accounts).any:\n",
        ":\n",
        (OWNERS, "-k", "looked_through"),
    ),
    Mutant(
        "what is adopted passed over by new numbers",
        CORE + "seed/plan.py",
        '    changes = (*adopt, ("renumber owners", renumber), ',
        '    changes = (("renumber owners", renumber), *adopt, ',
        (OWNERS, "-k", "is_adopted_follows"),
    ),
    Mutant(
        "a pass over what is adopted and not recorded",
        CORE + "seed/plan.py",
        '("record what is adopted", (WriteRecord(store.path),))',
        '("record what is adopted", ())',
        (OWNERS, "-k", "what_is_adopted_follows"),
    ),
    Mutant(
        "a top that is put right with a number that another has by then",
        CORE + "upgrade/plan.py",
        "    uid, gid = before(passes, original.uid, original.gid)\n",
        "    uid, gid = original.uid, original.gid\n",
        (OWNERS, "-k", "what_is_adopted_follows"),
    ),
    Mutant(
        "what was written beside lost with the next merge",
        CORE + "upgrade/merge.py",
        "    if stat.S_ISREG(status.st_mode) and before ==",
        "    if before !=",
        (CHANGE, "-k", "written_beside"),
    ),
    Mutant(
        "a note that leads out of the store",
        CORE + "store/record.py",
        ' or {"", ".", ".."} & set(path[1:].split("/"))',
        "",
        (OWNERS, "-k", "leads_out"),
    ),
)
