# SPDX-License-Identifier: Apache-2.0
"""What a plan is. Check mode prints it, --diff shows it, a real run executes it: one list, three readings.

A step is a NamedTuple with two methods: describe() gives the text that a person reads, execute(run) does it. Deciding functions
touch no disk and return a Decision; the caller puts the decisions together, in the order in which they are executed.
"""

from typing import List, NamedTuple, Optional, Tuple


class Decision(NamedTuple):
    """What to do about one state path, or about one aspect of the store: steps in their order, its result, and warnings."""

    steps: Tuple[tuple, ...] = ()
    result: Optional[dict] = None
    warnings: Tuple[str, ...] = ()


class Plan(NamedTuple):
    """Named phases, each a tuple of steps, in the order of execution; the result of each state path as it will be; warnings.

    resume_only: the plan only completes an interrupted run, and another plan has to be made afterwards.
    """

    phases: Tuple[Tuple[str, Tuple[tuple, ...]], ...] = ()
    paths: Tuple[dict, ...] = ()
    warnings: Tuple[str, ...] = ()
    resume_only: bool = False

    @property
    def steps(self) -> List[tuple]:
        """All steps of all phases, in the order of execution."""
        return [step for _name, steps in self.phases for step in steps]


class Outcome(NamedTuple):
    """What a module returns: its steps as text, the store's state as it was found, the result of each state path."""

    changed: bool
    store_state: str
    steps: List[str]
    paths: List[dict]
    warnings: List[str]
    message: str = ""


def execute(steps, run):
    """Execute steps in their order. If one fails, that is a PersistError, and the next run completes or removes what was left.

    run is what the steps share. Its failed(step, error) gives the PersistError for an OSError; its abandon() removes what is of
    no use after a failure.
    """
    for step in steps:
        try:
            step.execute(run)
        except Exception as error:
            run.abandon()
            if isinstance(error, OSError):
                raise run.failed(step, error) from error
            raise


def path_result(spec, state: str, files: int, size: int) -> dict:
    """The result of a state path (StatePath) whose content has that many files and bytes."""
    return {"path": spec.path, "state": state, "files": files, "bytes": size, "seconds": 0.0}


def outcome_of(state: str, steps, paths, warnings, message: str = "") -> Outcome:
    """The Outcome of these steps, taken or planned."""
    return Outcome(bool(steps), state, [step.describe() for step in steps], list(paths), list(warnings), message)
