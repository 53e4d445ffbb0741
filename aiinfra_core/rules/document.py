"""A policy with nothing open any more: the document that is digested, kept, exported and applied."""

import json
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic import Field

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.promotion import Conditions, Part, Stage
from aiinfra_core.domain.record import Name, Record, Sha256

DIGESTED_WITH = "urn:ai-infra:policy:v1"


class On(StrEnum):
    """What a rule is about: promotions, those that go back to what had been current before, or both."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    BOTH = "both"


class Rule(Record):
    """One condition in CEL, about the inputs named in `judging`.

    `reason` says why not, `missing` why not where something it names is absent, `holds` why so; `{a.b}` in them is filled from the inputs.
    """

    id: Name
    expression: str = Field(min_length=1, max_length=4000)
    reason: str = Field(min_length=1, max_length=1000)
    missing: str | None = Field(default=None, max_length=1000)
    holds: str | None = Field(default=None, max_length=1000)
    stage: Stage = Stage.REQUEST
    on: On = On.PROMOTION

    def is_about(self, *, rollback: bool) -> bool:
        """Say whether it is judged on a promotion that goes back, or on any other."""
        return self.on in (On.BOTH, On.ROLLBACK if rollback else On.PROMOTION)


class Policy(Record):
    """What has to hold before a model may become current in one environment.

    Rules of stage `request` are judged when a promotion is asked for; all of them again before one that waited for people is applied;
    those of stage `apply` only then. `source_digest` is of the YAML file it was made from, before overrides. `rollback` is what is asked
    for besides where a person has a promotion go back; who may not ask, and rules, are then only what is said to be about that.
    """

    format: str = DIGESTED_WITH
    name: Name
    version: str = Field(min_length=1, max_length=64)
    source_digest: Sha256 | None = None
    allow_id: str
    deny_id: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200)
    conditions: Conditions = Conditions()
    requester_is_not: tuple[Part, ...] = ()
    rollback: Conditions | None = None

    def asks_for(self, *, rollback: bool) -> Conditions:
        """Return what it asks for besides of a promotion that goes back, or of any other."""
        if not rollback:
            return self.conditions
        return self.rollback or self.conditions.model_copy(update={"approvals": {}})

    def is_judged_at_the_end(self, *, rollback: bool) -> bool:
        """Say whether it has rules that are only judged before such a promotion is applied."""
        return any(rule.stage is Stage.APPLY and rule.is_about(rollback=rollback) for rule in self.rules)

    def document(self) -> bytes:
        """Return its canonical JSON, which is what its digest is of; what says nothing of rollbacks is written as before there were any."""
        said = self.model_dump(mode="json", by_alias=True, exclude=None if self.rollback else {"rollback"})
        for rule in said["rules"]:
            if rule["on"] == On.PROMOTION:
                del rule["on"]
        return _canonical(json.dumps(said))

    def digest(self) -> str:
        """Return the hex SHA-256 of its document."""
        return sha256_hex(self.document())


# Each decision names its policy's digest, and the canonical form takes as long as judging the rules.
@lru_cache(maxsize=512)
def _canonical(text: str) -> bytes:
    return canonical_json.dumps(json.loads(text))
