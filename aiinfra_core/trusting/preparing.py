"""What a production installation begins with: a key per purpose, a trust root that lists them, an environment file to fill in.

Everything is built beside its place and appears there in one step, or not at all.
"""

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, Conflict, Misconfigured
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.keys import SIGNED_HERE, WITH_VOUCHING, signer_at, signers_as_keys
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer
from aiinfra_core.signing.uri import is_remote
from aiinfra_core.trusting import changing
from aiinfra_core.trusting.changing import Standing

ENVIRONMENT_FILE = "production.env"
_KEYS = "keys"
_TRUST = "trust"
_ONLY_IN_KMS = "aiinfra serve wants every key in a KMS; key files are for the command line and flows"


@dataclass(frozen=True)
class Wanted:
    """What is there already: signer URIs by purpose, who holds the root, the targets key. What is missing becomes key files."""

    signers: Mapping[Purpose, str]
    root_keys: Sequence[tuple[PublicKey, Signer | None]]
    threshold: int
    targets_key: str | None
    owner: str
    log: str


@dataclass(frozen=True)
class Prepared:
    """What was made: the folder, the signer URI of each purpose, the names of key files, the trust root, and what is left to do."""

    folder: Path
    signers: Mapping[Purpose, str]
    key_files: tuple[str, ...]
    trust: Standing
    left: tuple[str, ...]


def prepare(settings: Settings, folder: Path, wanted: Wanted) -> Prepared:
    """Make the folder of a production installation.

    Raises:
        Conflict: something is there already.
        BadInput: the root keys do not fit the threshold.
        Misconfigured: a signer cannot be loaded, or the folder cannot be made.
        Unavailable: a signer gave no signature that verifies.
    """
    final = folder.absolute()
    if final.exists():
        raise Conflict(f"{folder} exists already and nothing in it is overwritten; name a folder that does not.")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made ({error.strerror}); name another folder.") from None
    try:
        prepared = _fill(settings, draft, final, wanted)
        draft.rename(final)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made ({error.strerror}); name another folder.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return prepared


def _fill(settings: Settings, draft: Path, final: Path, wanted: Wanted) -> Prepared:
    (draft / _KEYS).mkdir(mode=0o700)
    for purpose in SIGNED_HERE:
        if purpose not in wanted.signers:
            _make_key(draft, purpose)
    signers = {purpose: wanted.signers.get(purpose) or _uri(draft, purpose) for purpose in SIGNED_HERE}
    if vouching := wanted.signers.get(Purpose.VOUCHING) or settings.vouching_signer_uri:
        signers[Purpose.VOUCHING] = vouching
    targets = signer_at(settings, wanted.targets_key or _uri(draft, _make_key(draft, "targets")))
    root = list(wanted.root_keys) or [_as_pair(signer_at(settings, _uri(draft, _make_key(draft, "root"))))]
    trust = changing.begin(
        draft / _TRUST,
        RootPlan(tuple(key for key, _ in root), wanted.threshold, targets.public_key),
        Trust(keys=signers_as_keys(_with_signers(settings, signers), wanted.owner, tuple(signers)), logs=(wanted.log,)),
        signers=[signer for _, signer in root if signer is not None],
        targets_signer=targets,
    )
    at_last = {purpose: uri.replace(str(draft), str(final)) for purpose, uri in signers.items()}
    _write_private(draft / ENVIRONMENT_FILE, environment_file(final / _TRUST / "1.root.json", at_last, wanted.log))
    draft.chmod(0o755)  # the trust is public; keys and settings are private each
    files = tuple(sorted(path.name for path in (draft / _KEYS).iterdir()))
    return Prepared(final, at_last, files, trust, tuple(_left(final, files, at_last, trust)))


def environment_file(trust_root: Path, signers: Mapping[Purpose, str], log: str) -> str:
    """Return the settings a platform engineer has to fill in or check, with a comment above each."""
    made = {
        "trust_root": shlex.quote(str(trust_root)),
        "log": shlex.quote(log),
        "signers": "\n".join(f"AI_INFRA_{purpose.upper()}_SIGNER_URI={shlex.quote(uri)}" for purpose, uri in signers.items()),
        "kms": "REQUIRE_KMS=true" if all(map(is_remote, signers.values())) else "#REQUIRE_KMS=true",
    }
    return _ENVIRONMENT.format(**made)


def _make_key(draft: Path, name: str) -> str:
    _write_private(draft / _KEYS / f"{name}.key", f"# the Ed25519 private key for: {name}\n{local.generate()}\n")
    return name


def _write_private(path: Path, content: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(content)


def _uri(draft: Path, name: str) -> str:
    return f"file:{draft / _KEYS / f'{name}.key'}?signer-id={name}"


def _as_pair(signer: Signer) -> tuple[PublicKey, Signer]:
    return signer.public_key, signer


def _with_signers(settings: Settings, signers: Mapping[Purpose, str]) -> Settings:
    return settings.model_copy(update={f"{purpose}_signer_uri": uri for purpose, uri in signers.items()})


def _left(folder: Path, files: Sequence[str], signers: Mapping[Purpose, str], trust: Standing) -> list[str]:
    near = [f"{purpose}.key" for purpose in SIGNED_HERE if f"{purpose}.key" in files]
    steps = [f"fill in {ENVIRONMENT_FILE}: AI_INFRA_DATABASE_URL and AI_INFRA_ARTIFACT_ROOT are empty"]
    if trust.waiting is not None:
        steps.append(f"have the other root keys sign: aiinfra trust sign {folder / _TRUST} --key URI")
    if "root.key" in files:
        steps.append(f"move {_KEYS}/root.key offline: it signs nothing but new roots")
    if "targets.key" in files:
        steps.append(f"keep {_KEYS}/targets.key apart from the servers: it signs every change of whose signatures count")
    if near:
        steps.append(f"put {', '.join(near)} into a KMS, change the URIs to it, and set REQUIRE_KMS=true, which refuses key files")
    if not all(map(is_remote, signers.values())) and not near:
        steps.append("set REQUIRE_KMS=true once every signer is in a KMS; it refuses key files")
    here = "" if all(map(is_remote, signers.values())) else f" ({_ONLY_IN_KMS})"
    return [
        *steps,
        f"give {_TRUST}/1.root.json to those who will verify, by a way they trust",
        f"set -a; . {folder / ENVIRONMENT_FILE}; set +a; aiinfra migrate --roles && aiinfra keys check && aiinfra trust publish",
        f"fill in the service's part of {ENVIRONMENT_FILE}{here}: aiinfra serve",
    ]


def purpose_named(text: str) -> Purpose:
    """Return the purpose of a signer that works here.

    Raises:
        BadInput: it is none.
    """
    if text not in WITH_VOUCHING:
        raise BadInput(f"{text[:40]!r} is no purpose a server signs for; those are {', '.join(WITH_VOUCHING)}.")
    return Purpose(text)


_ENVIRONMENT = """\
# Settings of a production installation. Use it with: set -a; . production.env; set +a
# or as systemd's EnvironmentFile. All variables: docs/deployment.md. No private key belongs in this file.
AI_INFRA_ENV=production

# FILL IN. PostgreSQL 14 or later, as its owner for aiinfra migrate --roles: postgresql://USER@HOST/DATABASE?sslmode=verify-full
AI_INFRA_DATABASE_URL=

# FILL IN. Where artifacts are kept: s3://BUCKET/PREFIX (switch on versioning and, if you can, Object Lock) or file:///DIRECTORY
AI_INFRA_ARTIFACT_ROOT=
# CHECK. Another S3 server than AWS's; credentials come from the usual AWS environment or instance role.
#AI_INFRA_S3_ENDPOINT_URL=

# CHECK. Whose signatures count: the pinned root; the files beside it hold the rest and must be readable by every server.
AI_INFRA_TRUST_ROOT={trust_root}
# CHECK. The name of the audit log. trust.json lists it; it must be yours alone, and it stays: name it with init --log.
AI_INFRA_LOG_ORIGIN={log}

# CHECK. One signer for each purpose: awskms:, vault:, pkcs11:, https: or file:. public-key=BASE64 pins its key, signer-id= names it.
{signers}
# No key in a file or in the environment: refuses to start otherwise.
{kms}

# CHECK. Copies of the log's checkpoints outside the database, best in another account; and how long S3 must keep them (Object Lock).
#AI_INFRA_CHECKPOINT_ROOT=s3://OTHER-BUCKET/audit
#AI_INFRA_CHECKPOINT_LOCK_DAYS=365
# CHECK. Where every audit event goes too, separated by commas: https://…, s3://…
#AI_INFRA_AUDIT_SINKS=

# CHECK. Who says yes to a promotion; without it the local rule asks for AI_INFRA_MIN_PROMO_SCORE.
#AI_INFRA_SENTINEL_URL=https://sentinelnet.example
AI_INFRA_MIN_PROMO_SCORE=0.8
# CHECK. In the order a model goes through them.
AI_INFRA_ENVIRONMENTS=staging,prod

# The service, aiinfra serve. FILL IN one way to know who asks and one way to TLS; the keys above must be in a KMS for it.
#AI_INFRA_ADDR=:8061
# Whose bearer tokens count, and what their audience must be.
#AI_INFRA_OIDC_ISSUER=https://login.example
#AI_INFRA_OIDC_AUDIENCE=ai-infra
# Who may do what: viewer, trainer, executor, registrar, promoter:ENVIRONMENT, approver:ENVIRONMENT[:ROLE], auditor, admin.
#AI_INFRA_ROLES='{{"group:ml-platform": ["trainer", "registrar"], "sub:alice": ["promoter:prod"]}}'
# TLS of its own, PEM; and the client certificates it takes, which everybody needs with REQUIRE_MTLS.
#AI_INFRA_TLS_CERT=/etc/ai-infra/service.pem
#AI_INFRA_TLS_KEY=/etc/ai-infra/service.key
#AI_INFRA_TLS_CLIENT_CA=/etc/ai-infra/clients.pem
#REQUIRE_MTLS=true
# Or TLS of a proxy: nobody but it can reach the service, and this is where it is.
#AI_INFRA_TLS_TERMINATED_BY_PROXY=true
#AI_INFRA_TRUSTED_PROXIES=10.0.0.0/8
"""
