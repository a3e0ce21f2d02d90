# SPDX-License-Identifier: Apache-2.0
"""One state path as persist_info reports it, and what is wrong with it. Nothing is changed."""

import os
from typing import List

from ..errors import printable
from ..fs.node import LINK, NONE, Node, ParentDir
from ..host.postgresql import lost_databases
from ..link.checks import has_diverged, how_to_begin_again, refuse_current, refuse_mismatch, refuse_nothing_stored, refuse_stored
from ..link.observe import see_path
from ..link.seen import LinkSeen
from ..original.links import refuse_dangling
from ..original.notes import read_mounted_by, read_notes
from ..original.pristine import find_proof, manifests_of
from ..paths import StatePath
from ..seed.decide import how_emptied, refuse_lost, refuse_lost_database
from ..store.backups import count_kept, list_kept
from ..tree.scan import scan
from ..upgrade.image import image_of
from .problems import Problems, steady
from .verify import SeededPath

# Why something is kept, and how to get it back.
ORIGINAL = "the image's original; restore.yml with cm_persist_restore: aside puts it back"
MAY_BE_NEWER = "nothing proves that it is older than the volume's; compare, and copy what is missing"
MERGED = "as it was before {} was merged; rollback.yml brings the newest of these back"
PUT_AWAY = "as it was when a rollback returned to {}; no start removes it"


class PathReport:
    """A state path; what is wrong with it goes to the problems of the report (StatusReport) that it is part of."""

    def __init__(self, report, spec: StatePath):
        self._report, self._problems, self._store, self._spec = report, report.problems, report.store, spec
        self._entry = report.record.get(spec.key)
        self._stored_path = report.found.path + spec.path
        self._shown = {
            "path": spec.path, "state": "missing", "target": "", "method": "", "in_store": False, "origin": "", "at": None,
            "files": None, "bytes": None, "seeded_files": None, "seeded_bytes": None, "image": "", "seen_image": "",
            "diverged": False, "hidden": None, "hidden_names": [], "aside": [], "backups": 0, "replaced": [],
        }  # fmt: skip

    def shown(self) -> dict:
        """The path as persist_info documents it."""
        if self._report.settings.verify:
            self._shown["verified"] = None
        entry = self._entry
        if entry is not None:
            image, seen = (printable(entry[key]["name"]) if entry[key] else "" for key in ("image", "seen"))
            self._shown.update(origin=entry["origin"], at=entry["at"], image=image, seen_image=seen)
            self._shown.update(seeded_files=entry["files"], seeded_bytes=entry["bytes"])
        self._problems.guarded(self._spec.path, self._see)
        return self._shown

    def _see(self):
        stored = None
        if self._store:
            stored = self._guarded(lambda: self._store.look(self._spec.relative, inside=True), Node())
            self._shown["in_store"] = stored.real
        with ParentDir(self._spec.path) as parent:
            mounted_by = self._problems.guarded(self._spec.path, lambda: read_mounted_by(parent), "")
            seen = see_path(parent, self._spec, stored, self._report.mounts, mounted_by)
            seen = seen._replace(notes=read_notes(parent, self._report.settings.image_manifest))
            self._shown.update(_state_of(seen))
            self._shown["aside"] = self._problems.guarded(self._spec.path, lambda: self._show_asides(parent, seen.notes), [])
            if self._store is None:
                self._judge_without_store(seen)
            else:
                self._see_with_store(parent, seen)

    def _see_with_store(self, parent, seen):
        if seen.current.real and seen.stored.real and not seen.mount.bound:
            seen = self._compare(parent, seen)
            self._shown["diverged"] = has_diverged(seen)
        self._judge_stored(seen)
        self._judge_current(seen)
        if seen.stored.real:
            counted = self._guarded(lambda: steady(lambda: _count(self._store, self._spec, self._stored_path)))
            if counted is not None:
                self._shown.update(files=counted.files, bytes=counted.data)
        self._shown["replaced"] = self._guarded(lambda: _show_replaced(self._store, self._spec), [])
        self._shown["backups"] = self._guarded(lambda: count_kept(self._store, self._spec.path), 0)
        if self._entry is not None and (self._entry["manifest"] or self._entry["base"]) and not self._is_interrupted():
            self._show_seeded(parent, seen, SeededPath(self._store, self._spec, self._entry))

    def _manifests(self, parent):
        name = self._entry["manifest"] if self._entry else None
        seeded = self._store.manifest_path(name) if name and self._store else ""
        return manifests_of(parent, self._report.settings.image_manifest, seeded)

    def _show_asides(self, parent, notes) -> List[dict]:
        shown = []
        for aside in notes.asides:
            if aside.real:
                counted = scan(parent.fd, aside.name, aside.path, 0)
                is_original = find_proof(self._manifests(parent), parent, aside.name)[0] is not None
                why = ORIGINAL if is_original else MAY_BE_NEWER
                shown.append({"path": aside.path, "bytes": counted.data, "files": counted.files, "why": why})
        return shown

    def _compare(self, parent, seen) -> LinkSeen:
        proof, found = find_proof(self._manifests(parent), parent)
        return seen._replace(evidence=seen.evidence._replace(proof=proof, difference=found, compared=True))

    def _is_interrupted(self) -> bool:
        return self._spec.key in self._report.interrupted

    def _judge_without_store(self, seen):
        found, image_list = self._report.found, self._report.settings.image_manifest
        if found.absent:  # what a start would refuse
            self._problems.guarded(self._spec.path, lambda: refuse_dangling(found, [self._spec], image_list))
        elif seen.current.kind == LINK and not os.path.exists(self._spec.path):
            text = "it is a symbolic link to {}, where nothing is".format(printable(seen.current.target))
            self._problems.add(self._spec.path, text, how_to_begin_again(seen))

    def _judge_stored(self, seen):
        """Add what is wrong with the path in the store."""
        if self._is_interrupted():
            found = "an earlier run began to put another tree in its place, and did not come to its end"
            self._problems.add(self._stored_path, found, "Start again (start.yml), which completes it.")
        elif not self._problems.refused(refuse_stored, seen, self._stored_path) and self._entry is not None:
            emptied = how_emptied(seen, self._entry)
            lost = self._problems.refused(refuse_lost, self._report.found.path, seen, seen.current, self._entry)
            if not lost and not self._has_lost_a_database() and emptied:
                self._problems.add(self._stored_path, emptied, "Find out who emptied it, and restore it from a backup.")

    def _has_lost_a_database(self) -> bool:
        lost = lost_databases(self._store.fd, self._spec.relative, self._entry["databases"])
        return self._problems.refused(refuse_lost_database, self._report.found.path, self._spec.path, self._entry, lost)

    def _judge_current(self, seen):
        """Add what is wrong with the path itself: what a start would refuse, and that a start has to link it."""
        path, stored, current = self._spec.path, seen.stored, seen.current
        if self._problems.refused(refuse_current, seen, self._stored_path):
            return
        if current.kind == LINK:
            if self._entry is None:
                self._problems.refused(refuse_nothing_stored, seen, self._stored_path)
        elif stored.real and current.kind == NONE:
            self._problems.add(path, "nothing is there, though the store has it", "Start again (start.yml), which links it.")
        elif stored.real and not seen.mount.bound and not self._problems.refused(refuse_mismatch, seen):
            found = "it is not linked, though the store has it: data written here is not saved to the volume"
            hint = "Stop what uses it, then start again (start.yml), which links it and keeps what may be newer."
            self._problems.add(path, found, hint)

    def _show_seeded(self, parent, seen, seeded):
        """Show what is found out by the manifest of the path, as it was seeded; that it is lost matters only for verify."""
        ignored = Problems()
        hidden = ignored.guarded(self._spec.path, lambda: seeded.find_hidden(parent, seen, self._report.image_list))
        if hidden is not None:
            count, names = hidden
            self._shown.update(hidden=count, hidden_names=[printable(name) for name in names])
        if not seen.stored.real or seen.stored.kind != self._entry["kind"]:
            return
        if self._report.settings.verify:
            self._shown["verified"] = self._guarded(lambda: steady(lambda: seeded.compare(self._report.store_accounts)))

    def _guarded(self, act, otherwise=None):
        return self._problems.guarded(self._stored_path, act, otherwise)


def _state_of(seen) -> dict:
    if seen.current.kind == LINK:
        return {"state": "linked", "method": "symlink", "target": printable(seen.current.target)}
    if seen.mount.bound:
        return {"state": "mounted", "method": "bind"}
    return {"state": "missing" if seen.current.kind == NONE else "own"}


def _count(store, spec, stored_path):
    with store.parent_of(spec.relative) as (parent, name):
        return scan(parent, name, stored_path, 0)


def _show_replaced(store, spec) -> List[dict]:
    if store.state_fd is None:
        return []
    shown = []
    for kept in list_kept(store, spec.path):
        successor = image_of(kept.replaced.successor)
        why = PUT_AWAY if kept.replaced.by_rollback else MERGED
        why = why.format(printable(successor.describe()) if successor else "an unknown image")
        shown.append({"path": kept.path, "files": kept.entry["files"], "bytes": kept.entry["bytes"], "why": why})
    return shown
