"""How an approver's page shows scores: a plot only beside a champion, never of counts, and what was measured otherwise says so."""

import re
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import awaiting, evaluating, promoting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.http_api import approval_page
from aiinfra_core.settings import Settings
from tests.simulators import policies
from tests.simulators.evaluation_script import evaluation_spec, registered

MEASURE = """
quality = json.loads(Path(inputs["model"]).read_text())["quality"]
at["--metrics"].write_text(json.dumps({"quality": quality, "worst_part": quality / 2, "rows": 3000, "positives_share": 0.31}))
"""


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    return policies.under(settings, tmp_path)


@pytest.fixture
def spec(tmp_path: Path) -> EvaluationSpec:
    return evaluation_spec(tmp_path / "code", MEASURE, parameters={"parts": 4})


def measured(settings: Settings, artifact: Artifact, spec: EvaluationSpec) -> None:
    evaluating.evaluate(settings, artifact.id, spec, recorded_by="eva", on_output=print)


def promoted(settings: Settings, artifact: Artifact) -> Promotion:
    return promoting.promote(settings, PromotionRequest(artifact=str(artifact.id), environment="prod", requested_by="paul"))


def page_of(settings: Settings, promotion: Promotion) -> str:
    return approval_page.page(*awaiting.story_of(settings, promotion.id), "https://registry.example")


def plotted(page: str) -> list[str]:
    return re.findall(r'<text class="metric"[^>]*>([^<]*)</text>', page)


def test_without_a_champion_nothing_is_plotted(place: Settings, tmp_path: Path, spec: EvaluationSpec) -> None:
    first = registered(place, tmp_path)
    measured(place, first, spec)
    page = page_of(place, promoted(place, first))
    assert ("<svg" in page, "Nothing is current there that it could be compared with." in page) == (False, True)


def test_beside_a_champion_scores_are_plotted_and_no_counts(place: Settings, tmp_path: Path, spec: EvaluationSpec) -> None:
    first, second = registered(place, tmp_path, 0.8), registered(place, tmp_path, 0.9)
    for one in (first, second):
        measured(place, one, spec)
    promoted(place, first)
    page = page_of(place, promoted(place, second))
    assert plotted(page) == ["quality", "worst_part"]
    assert "Both were measured by the same spec on the same data." in page
    assert "not measured as what it is judged on" not in page
    assert (
        page.count(f'by spec <span class="code">{spec.digest()[:12]}</span>, parameters <span class="code">{{&#34;parts&#34;: 4}}</span>')
        == 2
    )


def test_what_was_measured_by_another_spec_says_so(place: Settings, tmp_path: Path, spec: EvaluationSpec) -> None:
    first, second = registered(place, tmp_path, 0.8), registered(place, tmp_path, 0.9)
    measured(place, first, spec.model_copy(update={"parameters": {}, "seed": 3}))
    promoted(place, first)
    measured(place, second, spec)
    page = page_of(place, promoted(place, second))
    assert page.count("not measured as what it is judged on") == 1
    assert "The two were not measured by the same spec on the same data." in page


def test_a_long_value_a_rule_saw_is_cut_and_kept_beneath(place: Settings, tmp_path: Path, spec: EvaluationSpec) -> None:
    first, second = registered(place, tmp_path, 0.8), registered(place, tmp_path, 0.9)
    for one in (first, second):
        measured(place, one, spec)
        page = page_of(place, promoted(place, one))
    cut: dict[str, Any] = dict(re.findall(r"<details><summary>(\w+) = ([^<]*)</summary>", page))
    assert len(cut["current"]) < 600 and cut["current"].endswith("…")
    assert re.search(rf"</summary>[^<]*{first.id}[^<]*&#34;promotedAt&#34;", page)
