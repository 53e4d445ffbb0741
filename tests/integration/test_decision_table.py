"""Gate answers x policy x approvals x reproduction x kinds of evaluation: the one way to `applied` is the one with every required yes.

The table is made from its columns, so that none can be forgotten; one row in which each column in turn is not the yes it needs to be is
run each time, the whole of it with the slow tests.
"""

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from aiinfra_core import approving, database, evaluating, jobs, promoting, registering, reproducing
from aiinfra_core.approving.statements import Vouched
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.reproduction import ReproductionRequest
from aiinfra_core.errors import Forbidden
from aiinfra_core.registry import promotions
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import sentinelnet
from tests.simulators.evaluation_script import evaluation_spec
from tests.simulators.git_repository import repository
from tests.simulators.policies import under
from tests.simulators.postgres import made_database
from tests.simulators.scripted_server import answers
from tests.simulators.training_script import HEAD, spec_for

POLICY = """\
name: table
version: "1"
answers: {allow: fine, deny: not-fine}
parameters: {open: OPEN}
rules:
  - {id: open, expression: parameters.open, reason: It is closed.}
  - {id: measured-here, expression: evaluation.source == "pipeline", reason: Somebody else measured it.}
  - {id: reproduced, expression: reproduction.outcome == "identical", reason: Other bytes came out., missing: Nobody made it again.}
approvals: {roles: {release: 1}}
"""
GATE = {
    "allow": answers(200, sentinelnet.SIMPLE_YES),
    "deny": answers(200, {"decision": "deny"}),
    "quarantine": answers(200, {"decision": "quarantine", "rationale": "keep it away"}),
    "remediate": answers(200, {"decision": "remediate", "rationale": "mend it first"}),
    "contradiction": answers(200, {"decision": "allow", "allowed": False}),
    "down": answers(503, {}),
}
LOCAL, APPROVALS = ("yes", "no"), ("given", "none", "by the requester")
REPRODUCTION, EVALUATION = ("identical", "different", "none"), ("pipeline", "training", "claimed")
COLUMNS = (tuple(GATE), LOCAL, APPROVALS, REPRODUCTION, EVALUATION)
# A training with other bytes each time, and one with the same.
SCRIPTS = {
    "identical": 'put(text=json.dumps({"quality": 0.9})); metrics.write_text(json.dumps({"quality": 0.9}))',
    "different": 'put(text=json.dumps({"quality": 0.9, "at": time.time_ns()})); metrics.write_text(json.dumps({"quality": 0.9}))',
}


class Row(NamedTuple):
    """One line of the table."""

    gate: str
    policy: str
    approvals: str
    reproduction: str
    evaluation: str


EVERY = [Row(*cells) for cells in itertools.product(*COLUMNS)]
ALL_YES = Row(*(column[0] for column in COLUMNS))
ONE_OFF = [row for row in EVERY if sum(cell != yes for cell, yes in zip(row, ALL_YES, strict=True)) <= 1]


class Table:
    """One installation for all lines; artifacts are made when a line first needs them."""

    def __init__(self, settings: Settings, folder: Path, gate: list[object]) -> None:
        self.settings, self.folder, self.gate = settings, folder, gate
        self.policies = {said: under(settings, folder, POLICY.replace("OPEN", str(said == "yes").lower())) for said in LOCAL}
        self.artifact = cache(self._artifact)

    def _artifact(self, reproduction: str, evaluation: str) -> Artifact:
        folder = self.folder / f"{reproduction}-{evaluation}"
        script = SCRIPTS["identical" if reproduction == "none" else reproduction]
        spec = spec_for(repository(folder / "code", {"train.py": HEAD + script}), model="rain", hyperparams={"named": folder.name})
        job = jobs.train(self.settings, spec, requested_by="tara", on_output=lambda _: None)
        artifact = registering.register(self.settings, registering.registration_of(job))
        if evaluation == "pipeline":
            how = evaluation_spec(folder / "evaluation")
            evaluating.evaluate(self.settings, artifact.id, how, recorded_by="eve", on_output=lambda _: None)
        if reproduction != "none":
            request = ReproductionRequest(artifact=str(artifact.id), reproduced_by="rob", tolerances={"quality": 1})
            reproducing.reproduce(self.settings, request, on_output=lambda _: None)
        return artifact

    def promote(self, row: Row) -> Promotion:
        """Ask for a promotion as a line says, approve it as it says, and return how it stands then."""
        settings, artifact = self.policies[row.policy], self.artifact(row.reproduction, row.evaluation)
        self.gate[:] = [GATE[row.gate]]
        claim = {"quality": 0.9} if row.evaluation == "claimed" else None
        asked = PromotionRequest(
            artifact=str(artifact.id), environment="prod", evaluation=claim, requested_by="paul", request_id="/".join(row).replace(" ", "-")
        )
        promotion = promoting.promote(settings, asked)
        if promotion.status is PromotionStatus.PENDING_APPROVAL and row.approvals != "none":
            who = Vouched("paul" if row.approvals == "by the requester" else "grace", ("release",), "https://id.example")
            try:
                _, promotion = approving.approve(settings, promotion.id, manifest=promotion.manifest or "", identity=who)
            except Forbidden:
                assert row.approvals == "by the requester"
        return promotion

    def current(self) -> object:
        """Return which artifact is current in prod."""
        with database.transaction(self.settings) as tx:
            pointer = promotions.pointer(tx, "prod", "rain")
        return pointer and pointer.promotion_id


@pytest.fixture(scope="module")
def table(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    folder, gate = tmp_path_factory.mktemp("table"), [GATE["allow"]]
    with made_database(postgres_server, migrated_template) as url, sentinelnet.serve(lambda *of: gate[0](*of)) as server:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
            sentinel_url=server.url,
        )
        yield Table(settings, folder, gate)  # type: ignore[arg-type]


def _expected(row: Row) -> PromotionStatus:
    if row.gate in ("quarantine", "remediate"):
        return PromotionStatus.QUARANTINED if row.gate == "quarantine" else PromotionStatus.REMEDIATION
    if (row.gate, row.policy, row.reproduction, row.evaluation) != ("allow", "yes", "identical", "pipeline"):
        return PromotionStatus.REJECTED
    return PromotionStatus.APPLIED if row.approvals == "given" else PromotionStatus.PENDING_APPROVAL


def _check(table: Table, row: Row) -> None:
    before = table.current()
    promotion = table.promote(row)
    assert promotion.status is _expected(row), (row, promotion.reason)
    assert table.current() == (promotion.id if row == ALL_YES else before)
    if promotion.status not in (PromotionStatus.APPLIED, PromotionStatus.PENDING_APPROVAL):
        assert promotion.reason


@pytest.mark.parametrize("row", ONE_OFF, ids="/".join)
def test_a_single_no_is_enough_and_only_every_yes_is_applied(table: Table, row: Row) -> None:
    _check(table, row)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("reproduction", REPRODUCTION)
@pytest.mark.parametrize("evaluation", EVALUATION)
def test_every_line_of_the_table_ends_as_it_has_to(table: Table, reproduction: str, evaluation: str) -> None:
    lines = [row for row in EVERY if (row.reproduction, row.evaluation) == (reproduction, evaluation) and row != ALL_YES]
    for row in lines:
        _check(table, row)
    assert len(lines) in (35, 36)
