"""The files of an export, written into a folder: what was gathered, the artifact's bytes, and what is made from them."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from aiinfra_core import artifact_store, describing
from aiinfra_core.checksums import sha256_hex, sums_text
from aiinfra_core.domain.artifact import Artifact, DigestKind
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence import bundle, openssf, sigstore_bundle
from aiinfra_core.evidence.bundle import Bundle
from aiinfra_core.exporting.gathering import Gathered
from aiinfra_core.settings import Settings


def write_model(settings: Settings, artifact: Artifact, folder: Path) -> dict[str, str]:
    """Copy the artifact's bytes below `model/`, verified on their way, and return name -> hex SHA-256 of its files.

    Raises:
        DigestMismatch: the stored bytes are not those that were registered.
        NotFound, Unavailable: they are gone, or the store cannot be reached.
    """
    model = folder / bundle.MODEL
    is_file = artifact.digest_kind is DigestKind.FILE
    name = artifact.artifact_uri.rpartition("/")[2]
    place = artifact_store.location_of(settings, artifact.artifact_uri)
    artifact_store.fetch(place, artifact.artifact_uri, artifact.checksum, model / name if is_file else model)
    names = sorted((path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()), key=str.encode)
    return bundle.hash_model(Bundle(folder, {}, tuple(names), {}))


def write_files(settings: Settings, gathered: Gathered, trust: Mapping[str, bytes], hashed: Mapping[str, str], folder: Path) -> bytes:
    """Write every file but the model's and the export's own statement; return the list of files.

    Args:
        settings: where training records are kept and which OpenSSF key signs, if one does.
        gathered: what belongs into the export.
        trust: the files of the trust directory.
        hashed: the model's files, from `write_model`.
        folder: where they are written.

    Raises:
        BadInput, Unavailable, EvidenceBroken: as `describing.bill_of_materials` and `artifact_store.read_bytes`.
        Misconfigured: the OpenSSF key cannot be read.
    """
    files = {
        **_gathered_files(gathered),
        **{f"{bundle.TRUST}/{name}": data for name, data in trust.items()},
        **_training_records(settings, gathered),
        **_openssf(settings, gathered.artifact, hashed),
        bundle.SUMS: sums_text(hashed),
        bundle.BOM: describing.bill_of_materials(settings, gathered.known),
        bundle.README: _packaged("README.txt") + _provenance(gathered.artifact),
        bundle.SCRIPT: _packaged("verify.sh"),
    }
    for name, data in files.items():
        write(folder, name, data)
    (folder / bundle.SCRIPT).chmod(0o755)
    listed = sums_text({name: sha256_hex(data) for name, data in files.items()})
    write(folder, bundle.FILES, listed)
    return listed


def write(folder: Path, name: str, data: bytes) -> None:
    """Write one new file of the export."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)


def _provenance(artifact: Artifact) -> bytes:
    trained = "trained by a recorded job" if artifact.training_job_id else "no provenance: trained elsewhere, and nothing here says how"
    return f"\nThis model: {artifact.model}:{artifact.version}, {trained}\n".encode()


def _gathered_files(gathered: Gathered) -> dict[str, bytes]:
    return {
        bundle.CHECKPOINT: gathered.head.note,
        **{bundle.attestation_name(digest): envelope for digest, envelope in gathered.envelopes.items()},
        **{bundle.sigstore_name(digest): sigstore_bundle.bundle(envelope) for digest, envelope in gathered.envelopes.items()},
        **{bundle.event_name(seq): data for seq, data in gathered.events.items()},
        **{bundle.proof_name(seq): data for seq, data in gathered.proofs.items()},
        **{bundle.consistency_name(size): data for size, data in gathered.consistency.items()},
        **{bundle.policy_name(digest): data for digest, data in gathered.policies.items()},
        **{bundle.value_name(digest): data for digest, data in gathered.values.items()},
    }


def _training_records(settings: Settings, gathered: Gathered) -> dict[str, bytes]:
    return {
        bundle.training_name(job.training_record_sha256): artifact_store.read_bytes(
            artifact_store.location_of(settings, job.training_record_uri), job.training_record_uri, job.training_record_sha256
        )
        for job in gathered.trainings
        if job.training_record_uri is not None and job.training_record_sha256 is not None
    }


def _openssf(settings: Settings, artifact: Artifact, hashed: Mapping[str, str]) -> dict[str, bytes]:
    if settings.openssf_key is None:
        return {}
    try:
        key = openssf.load_key(settings.openssf_key.read_bytes())
    except OSError as error:
        raise Misconfigured(f"AI_INFRA_OPENSSF_KEY names a file that cannot be read ({error.strerror}).") from None
    return {bundle.OPENSSF: openssf.sign(artifact.model, hashed, key), bundle.OPENSSF_KEY: openssf.public_pem(key)}


def _packaged(name: str) -> bytes:
    return (resources.files("aiinfra_core.evidence") / name).read_bytes()
