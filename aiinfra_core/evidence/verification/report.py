"""What a verification found: steps, their outcomes, and every problem with its place. Nothing in here can steer a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiinfra_core.errors import AiInfraError, EvidenceBroken

_MOST_DETAIL = 400
_MOST_PLACE = 200


class Outcome(StrEnum):
    """How a step ended."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"


STEPS = {
    1: "trust",
    2: "envelopes",
    3: "signatures",
    4: "keys",
    5: "approvals",
    6: "subject",
    7: "policy",
    8: "inputs",
    9: "log",
    10: "consistency",
    11: "sequence",
    12: "current",
    13: "files",
    14: "rollouts",
}
REQUIRED = frozenset({1, 2, 3, 4, 6, 8, 9, 13})


@dataclass(frozen=True)
class Problem:
    """Something that does not verify: in which file of the export, and what is wrong."""

    place: str
    detail: str


@dataclass
class Step:
    """One step; `detail` says what was found, why it does not apply, or the first problem."""

    number: int
    outcome: Outcome = Outcome.PASS
    found: str = ""
    problems: list[Problem] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the step is called."""
        return STEPS[self.number]

    @property
    def failed(self) -> bool:
        """Whether something in it does not verify."""
        return bool(self.problems)

    @property
    def detail(self) -> str:
        """The sentence for people."""
        if not self.problems:
            return self.found
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return self.problems[0].detail + more

    @property
    def place(self) -> str | None:
        """Where the first problem is."""
        return self.problems[0].place if self.problems else None

    def add(self, place: str, detail: str) -> None:
        """Take a problem down; the step fails."""
        self.problems.append(Problem(_plain(place, _MOST_PLACE), _plain(detail, _MOST_DETAIL)))
        self.outcome = Outcome.FAIL

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Do something with a file of the export; whatever goes wrong is a problem there, and the step goes on."""
        try:
            yield
        except EvidenceBroken as error:
            self.add(place, str(error))
        except AiInfraError as error:
            self.add(place, str(error))
        except Exception as error:  # noqa: BLE001 - what nobody vouches for may break anything; that it did is the answer
            self.add(place, f"It cannot be checked ({type(error).__name__}).")

    def does_not_apply(self, reason: str) -> None:
        """Say why there is nothing to check; problems that were found stay."""
        if not self.problems:
            self.outcome, self.found = Outcome.NOT_APPLICABLE, reason

    def as_json(self) -> dict[str, Any]:
        """Return the step as the report's JSON has it."""
        return {
            "step": self.number,
            "name": self.name,
            "outcome": self.outcome.value,
            "detail": self.detail,
            "place": self.place,
            "problems": [{"place": problem.place, "detail": problem.detail} for problem in self.problems],
        }


def _plain(text: str, most: int) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
