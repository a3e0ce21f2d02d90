# SPDX-License-Identifier: Apache-2.0
"""Link the place where Kubernetes mounts its API credentials to a copy of them that init has not hidden."""

from typing import List, NamedTuple, Tuple

from ..errors import AS_ROOT, PersistError, SecretError, SpecError, because
from ..host.machine import THIS_MACHINE
from ..paths import normalise
from ..plan import execute
from .observe import TOKEN, observe
from .plan import plan_secret

GENERATION = "..data"  # kubelet's link to the current files, which it replaces whenever they change


class Settings(NamedTuple):
    """The options of the module, as in the documentation of secret_link."""

    source: str
    target: str
    required_files: Tuple[str, ...] = (TOKEN,)
    required: bool = False
    user: str = "cfyuser"


class SecretOutcome(NamedTuple):
    """The result of the module. state is absent, mounted, already or linked; message is a sentence for the log."""

    changed: bool
    state: str
    steps: List[str]
    warnings: List[str]
    message: str


class _Linking(NamedTuple):
    target: str

    def failed(self, step, error: OSError) -> PersistError:
        return SecretError(self.target, "cannot {}: {}".format(step.describe(), because(error)), AS_ROOT)

    def abandon(self) -> None:
        pass  # the next run removes what is left


def link_secret(settings: Settings, check_mode: bool = False, machine=THIS_MACHINE) -> SecretOutcome:
    """Make the credentials readable at the target again. In check mode, return what this would do.

    The result has paths and names only, nothing of the credentials. A PersistError is a refusal, in which case nothing was
    changed, or a failure.
    """
    source, target = _directory(settings.source, "the source"), _directory(settings.target, "the target")
    settings = settings._replace(source=source, target=target)
    steps, result, warnings = plan_secret(settings, observe(settings, machine.mounts(), machine.clock.time()))
    if not check_mode:
        execute(steps, _Linking(target))
    return SecretOutcome(bool(steps), result["state"], [step.describe() for step in steps], list(warnings), result["message"])


def _directory(path, what):
    path = normalise(path, what)
    if GENERATION in path.split("/"):
        found = "{} goes through {}, which is another directory once the token is rotated".format(what, GENERATION)
        raise SpecError(path, found, "Name the directory above it.")
    return path
