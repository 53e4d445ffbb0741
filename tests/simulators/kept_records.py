"""Cards, imports and tombstones for a platform that has a model `rainfall`: every kind of row, some with values over 4 KB."""

from aiinfra_core import artifact_store, cards, pruning, registering
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.card import CardText
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.importing import copying
from aiinfra_core.importing.go_service import service_at
from aiinfra_core.settings import Settings
from tests.simulators.go_service import go_service


def write_cards(settings: Settings) -> None:
    """Say something about a model, twice, and much about a version of it."""
    for words in ("rain", "rain, in millimetres"):
        cards.write_card(settings, CardText(description=words, tags={"team": "weather"}), model="rainfall", written_by="carla")
    tags = {f"tag-{number}": "value " * 20 for number in range(60)}
    long = CardText(description="Ränge " * 200, tags=tags, card="# Rainfall ☂\n" * 3000)
    cards.write_card(settings, long, model="rainfall", version=1, written_by="carla")


def import_some(settings: Settings) -> None:
    """Copy a job, two artifacts, one of them with much metadata and one that cannot be read, and a promotion."""
    with go_service() as old:
        artifact = old.trained(_stored(settings, "imported"), b"imported", model="imported", metadata={"notes": "It rained. " * 900})
        old.promoted(artifact, "prod")
        old.trained("s3://elsewhere/x.model", b"x", model="imported")
        copying.copy(settings, service_at(old.url, None), imported_by="ida")


def prune_two(settings: Settings) -> None:
    """Register an artifact of each of two models, and remove the bytes of both."""
    for model in ("frost", "hail"):
        uri = _stored(settings, model)
        checksum = artifact_store.measure(artifact_store.location(settings), uri).checksum
        registering.register(settings, RegistrationRequest(model=model, artifact_uri=uri, checksum=checksum, registered_by="rita"))
        rule = RetentionRule(older_than_days=0, keep_last=0)
        (done,) = pruning.prune(settings, rule, pruning.plan(settings, rule, model), pruned_by="olga", reason=None)
        assert done.removed is not None
        assert done.removed.files == 1


def _stored(settings: Settings, name: str) -> str:
    source = settings.home / f"{name}.bin"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    return artifact_store.put(artifact_store.location(settings), source, f"uploads/{name}").uri
