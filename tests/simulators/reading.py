"""A registry with a little of everything in it, served on a real socket, for the tests of what can be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from aiinfra_core import checksums, evaluating, jobs, promoting, registering
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests.factories import make_training_repository
from tests.simulators import exports
from tests.simulators.http_story import open_to_debug
from tests.simulators.service import calling

OTHER_CODE = f"https://git.example/rainfall.git@{'b' * 40}"
HAIL = DatasetRef(name="hail", uri="https://data.example/hail.csv", sha256="4a" * 32)


@dataclass(frozen=True)
class Known:
    """Two trained versions of `rainfall`, one of `snowfall` without provenance, in the order they were registered, and who can be asked."""

    settings: Settings
    first: Artifact
    second: Artifact
    untrained: Artifact
    rain: DatasetRef
    code: str
    api: httpx.Client

    def read(self, path: str, **query: Any) -> Any:
        """Return the JSON at an address, which must be there."""
        answer = self.api.get(f"/ai-infra{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, path: str, **query: Any) -> list[Any]:
        """Return all of a list, following its `Link` headers."""
        url, shown = str(self.api.base_url.join(f"/ai-infra{path}").copy_merge_params(query)), []
        while url:
            answer = self.api.get(url)
            assert answer.status_code == 200, answer.text
            shown += answer.json()
            assert len(shown) < 1000, "the pages go round in a circle"
            url = answer.links.get("next", {}).get("url", "")
        return shown


def promoted(settings: Settings, artifact: Artifact, environment: str, quality: float) -> str:
    """Promote an artifact on a claimed score, whatever comes of it; return the promotion's id."""
    asked = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by="paul")
    return str(promoting.promote(settings, asked).id)


def trained(settings: Settings, code_ref: str, *datasets: DatasetRef, seed: int, entry_point: str | None = None) -> Artifact:
    """Train and register a version of `rainfall`."""
    container = f"sha256:{'b' * 64}"
    spec = TrainingSpec(
        model="rainfall", code_ref=code_ref, container_digest=container, entry_point=entry_point, dataset_refs=datasets, seed=seed
    )
    job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
    return registering.register(settings, registering.registration_of(job))


@pytest.fixture(autouse=True)
def home() -> None:
    """Leave connections alone between tests, unlike the fixture it replaces: the service goes on and uses them."""


def publish(settings: Settings) -> int:
    """Chain all that waits, publish a checkpoint over it and return its size."""
    sequence_pending(settings, audit_signer(settings))
    made = checkpoints.checkpoint(settings, audit_signer(settings))
    assert made is not None
    return made.size


@pytest.fixture(scope="module")
def known(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Give a served registry: the first version was replaced in staging by the second, and refused in production."""
    folder = tmp_path_factory.mktemp("reads")
    with exports.installation(postgres_server, migrated_template, folder) as made:
        settings = open_to_debug(made, checkpoint_seconds=60)
        data = folder / "rain.csv"
        data.write_text("day,mm\n1,4\n")
        rain = DatasetRef(name="rain", uri=str(data), sha256=checksums.sha256_hex(data.read_bytes()))
        code = make_training_repository(folder / "repository", quality=0.9)
        first = trained(settings, code, rain, seed=1, entry_point="train.py")
        second = trained(settings, OTHER_CODE, rain, HAIL, seed=2)
        untrained = exports.directory_model(settings, folder, "snowfall")
        evaluating.record_measured(settings, first.id)
        for artifact, environment, quality in (
            (first, "staging", 0.85),
            (first, "prod", 0.5),
            (second, "staging", 0.9),
            (untrained, "prod", 0.95),
        ):
            promoted(settings, artifact, environment, quality)
        with calling(settings) as api:
            yield Known(settings, first, second, untrained, rain, code, api)
