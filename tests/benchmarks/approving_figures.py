"""Measure what approving adds, in a process as a user has it, without a test runner's heap; started by test_approving."""

from aiinfra_core import approving, promoting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.evidence import dsse
from aiinfra_core.settings import Settings
from tests.benchmarks.registry_figures import CALLS, durable, measured
from tests.simulators import approvers
from tests.simulators.trust_files import signer

ADDED_CPU_MS = 10.0


def measure(settings: Settings) -> None:
    """Print the figures: a promotion that needs nobody, one that waits for a person, and the difference."""
    place = approvers.settings_with_approvers(settings, settings.home / "trust", {"prod": {"security": 1}})
    artifacts = {number: approvers.registered(place, f"weights-{number + 1000}") for number in range(-20, CALLS)}

    def to(environment: str, artifact: Artifact) -> Promotion:
        asked = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": 0.9}, requested_by="bench")
        return promoting.promote(place, asked)

    def alone(number: int) -> None:
        assert to("staging", artifacts[number]).status is PromotionStatus.APPLIED

    def by_name(number: int) -> None:
        asked = to("prod", artifacts[number])
        _, promotion = approvers.agree_by_name(place, asked, "dora", "security")
        assert promotion.status is PromotionStatus.APPLIED

    def by_key(number: int) -> None:
        asked = to("prod", artifacts[number])
        envelope = dsse.sign(approving.payload_to_sign(place, asked.id, "alice", asked.updated_at), signer("alice"))
        _, promotion = approving.approve(place, asked.id, manifest=asked.manifest or "", envelope=envelope)
        assert promotion.status is PromotionStatus.APPLIED

    floor = measured(place, "promote, nobody has to agree", alone)
    for name, call in (("one is vouched for", by_name), ("one signs", by_key)):
        added = measured(place, f"promote, {name}", call) - floor
        print(f"approving where {name} adds {added:.2f} ms CPU; / {ADDED_CPU_MS} ms: {added / ADDED_CPU_MS:.2f}")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings)
