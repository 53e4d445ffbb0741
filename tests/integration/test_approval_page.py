"""The page an approver looks at: all they need, nothing a browser would run or fetch, and nobody's words as markup."""

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from aiinfra_core import awaiting, jobs, promoting, registering
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.http_api import approval_page
from aiinfra_core.registering import registration_of
from aiinfra_core.settings import Settings
from tests.factories import training_spec
from tests.simulators.approvers import agree, agree_by_name, asked, registered, settings_with_approvers
from tests.simulators.service import serving

EVIL = "</style><script>alert('x')</script><img src=//evil.example>"
POLICY = """
name: weather
version: "3"
answers: {allow: weather-yes, deny: weather-no}
rules:
  - {id: quality, expression: evaluation.metrics.quality >= 0.8, reason: "The quality {evaluation.metrics.quality} is too low."}
  - {id: not-empty, expression: artifact.sizeBytes > 0, reason: It is empty.}
environments:
  prod:
    separation_of_duties: {approver_is_not: [trainer]}
"""


class Elements(HTMLParser):
    """The elements of a page and the addresses in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str | None] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data", "xlink:href")]
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    policy = tmp_path / "weather.yaml"
    policy.write_text(POLICY)
    return settings_with_approvers(settings, tmp_path / "trust").model_copy(update={"policy": str(policy)})


@pytest.fixture
def waits(place: Settings, code_ref: str) -> Promotion:
    """Give a promotion of a trained rainfall:2 over rainfall:1, whose words are as evil as they may be."""
    first = asked(place, registered(place, "first"))
    agree(place, first, "alice")
    agree(place, first, "bob")
    spec = training_spec(code_ref, hyperparams={EVIL: EVIL})
    job = jobs.train(place, spec, requested_by="tina", request_id="t", on_output=lambda _line: None)
    artifact = registering.register(place, registration_of(job))
    return promoting.promote(place, PromotionRequest(artifact=str(artifact.id), environment="prod", requested_by=f"paul{EVIL[8:16]}"))


@pytest.fixture
def served(place: Settings) -> Iterator[str]:
    with serving(place) as url:
        yield url


def page_of(settings: Settings, promotion: Promotion) -> str:
    return approval_page.page(*awaiting.story_of(settings, promotion.id), "https://registry.example")


def test_it_shows_what_is_agreed_to_how_it_scores_why_it_was_allowed_and_who_did_what(place: Settings, waits: Promotion) -> None:
    agree_by_name(place, waits, "dora", "security")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_of(place, waits)))
    for shown in (
        "rainfall:2 to prod",
        "waits for approval",
        f"aiinfra approve {waits.id} --manifest {waits.manifest} --server https://registry.example",
        "ml-lead 1 1 security 1 none",
        "rainfall:1, at sequence 1",
        "measured by its own training",
        "The two were not measured by the same spec on the same data.",
        "quality evaluation.metrics.quality &gt;= 0.8 yes",
        "artifact.sizeBytes = ",
        "nobody has run it again",
        "trained tina (also registered, evaluated)",
        "approved dora",
        "nor can whoever trained it",
        "dora the service vouches security",
    ):
        assert shown in text, shown
    assert text.count(waits.manifest or "") == 4


def test_nothing_anybody_wrote_becomes_markup(place: Settings, waits: Promotion) -> None:
    found = Elements(page_of(place, waits))
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page_of(place, waits)
    assert not found.names & {"script", "img", "iframe", "object", "form", "input", "base"}
    assert (found.addresses, found.inline) == (["data:,"], [])


def test_a_browser_is_told_to_run_and_fetch_nothing_and_takes_the_style_it_is_given(served: str, waits: Promotion) -> None:
    answer = httpx.get(f"{served}/ai-infra/promotions/{waits.id}/page")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_what_has_ended_shows_no_command_but_who_agreed(place: Settings) -> None:
    first = asked(place, registered(place, "first"))
    agree(place, first, "alice")
    agree(place, first, "bob")
    page = page_of(place, first)
    assert "aiinfra approve" not in page
    assert "It became current on" in page and "the local policy, asked again before it was applied" in page.lower()
    refused = page_of(place, asked(place, registered(place, "other"), quality=0.1))
    assert "The quality 0.1 is too low." in refused and "nothing is signed for it" in refused and "aiinfra approve" not in refused
