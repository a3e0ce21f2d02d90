# SPDX-License-Identifier: Apache-2.0
"""A World whose acts are the real playbooks. What they cannot be told is left out: names of owners, and a list of the image."""

from module_utils.cm_persist.errors import PersistError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.plan import Outcome
from tests.plays import each_result

from .deeds import QUIET
from .lives_world import World

MODULES = ("persist_seed", "persist_link")
NUMBERS = {"root": 0, "app": 901, "db": 902}


class BookWorld(World):
    """A World on which ansible-playbook works."""

    def acts(self, what):
        word, _blank, how = what.partition(" ")
        if word == "restore":
            return [lambda: self._play("restore.yml", cm_persist_restore=how)]
        return [lambda: self._play("rollback.yml" if word == "roll" else "start.yml")]

    def _play(self, book, **more):
        settings = self._settings()
        variables = {
            "cm_persist_" + key: getattr(settings, key)
            for key in ("store", "paths", "require_mount", "missing", "lease", "image", "backups", "allow_downgrade")
        }
        code, lines = each_result(book, dict(variables, **more))
        results = [line["result"] for line in lines if line["module"] in MODULES]
        warnings = [text for result in results for text in result.get("warnings", ())]
        if code:
            error = PersistError(results[-1].get("where", book), results[-1]["msg"], "")
            error.warnings = warnings
            raise error
        told = {key: [each for result in results for each in result[key]] for key in ("steps", "paths")}
        return Outcome(any(result["changed"] for result in results), "", warnings=warnings, **told)


def for_books(life):
    """Life: one that playbooks can lead, as like as possible to another."""
    numbers = Accounts(NUMBERS, NUMBERS)
    images = tuple(image._replace(named=True, listed=False, accounts=numbers) for image in life.setup.images)
    kept = [each._replace(trouble=QUIET) for each in life.happenings if each.what != "unseed"]
    return life._replace(setup=life.setup._replace(images=images, bound=()), happenings=tuple(kept))
