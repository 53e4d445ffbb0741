"""Which key may sign what, when: pure rules over a `Trust`. How a `Trust` is itself signed lives in `trust_root`."""

from collections.abc import Iterator
from datetime import datetime

from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey, is_within
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey


def check(trust: Trust) -> Trust:
    """Return the trust if every key is what its keyid says and is listed once, and no threshold begins that is not there.

    Raises:
        BadInput: names the entry.
    """
    seen: set[bytes] = set()
    for environment in (trust.thresholds_since or {}).keys() - trust.thresholds.keys():
        raise BadInput(f"The threshold for {environment} has a beginning but asks for nobody; write neither, or both.")
    for entry in trust.keys:
        key = public_key.parse(entry.public_key)
        if entry.public_key != key.base64:
            raise BadInput(f"The key {entry.keyid[:16]} must be written as base64 of its 32 raw bytes.")
        if key.keyid != entry.keyid:
            raise BadInput(f"The key listed as {entry.keyid[:16]} is {key.keyid[:16]}; correct its keyid.")
        if key.raw in seen:
            raise BadInput(f"The key {entry.keyid[:16]} is listed twice; one key has one entry, whatever it is used for.")
        seen.add(key.raw)
        if len(trust.logs) > 1 and entry.compromise is not None and entry.compromise.bad_from_index > 0:
            raise BadInput(f"The key {entry.keyid[:16]} is compromised from an index on, but {len(trust.logs)} logs count; write 0.")
    return trust


def listed(trust: Trust, keyid: str) -> TrustedKey:
    """Return the entry of a key.

    Raises:
        EvidenceBroken: at `key`; it is not listed.
    """
    for entry in trust.keys:
        if entry.keyid == keyid:
            return entry
    raise EvidenceBroken("key", f"{keyid[:64]!r} is not in the trust root.")


def listed_keys(trust: Trust, purpose: Purpose) -> dict[str, PublicKey]:
    """Return keyid -> public key of everybody listed for a purpose; when and where each counts is for `may_sign` to say."""
    return {entry.keyid: public_key.parse(entry.public_key) for entry in trust.keys if purpose in entry.purposes}


def held_by(trust: Trust, owner: str) -> Trust:
    """Return the trust with the keys of one owner alone."""
    return trust.model_copy(update={"keys": tuple(entry for entry in trust.keys if entry.owner == owner)})


def threshold(trust: Trust, environment: str, at: datetime) -> dict[str, int]:
    """Return role -> how many owners must agree to what is applied in an environment at that time."""
    since = (trust.thresholds_since or {}).get(environment)
    return trust.thresholds.get(environment, {}) if since is None or since <= at else {}


def as_if_never_compromised(trust: Trust) -> Trust:
    """Return the trust without what it knows of compromised keys: to bring back what was recorded, never to believe it."""
    return trust.model_copy(update={"keys": tuple(entry.model_copy(update={"compromise": None}) for entry in trust.keys)})


def may_sign(entry: TrustedKey, purpose: Purpose, *, at: datetime, index: int | None, environment: str | None = None) -> None:
    """Check that a key may have signed something of this purpose at that time.

    Args:
        entry: the key.
        purpose: of what was signed.
        at: when the log took it in; for something the log has not taken in yet, now.
        index: where in the log it stands, from 0; None when it is not in the log yet, and then no compromised key counts.
        environment: that it is about, where it is about one.

    Raises:
        EvidenceBroken: at `key`, with the reason.
    """
    if problem := objection(entry, purpose, at=at, index=index, environment=environment):
        way_out = (
            "" if purpose in entry.purposes else f" If it was meant to, whoever keeps the trust root types: {_listing(entry, purpose)}"
        )
        raise EvidenceBroken("key", problem + way_out)


def objection(entry: TrustedKey, purpose: Purpose, *, at: datetime, index: int | None, environment: str | None = None) -> str | None:
    """Return why a key may not have signed this, in a sentence; None where it may. The arguments are those of `may_sign`."""
    problem = next(_objections(entry, purpose, at, index, environment), None)
    return f"{entry.keyid[:16]} of {entry.owner} {problem}." if problem else None


def keys_for(
    trust: Trust, purpose: Purpose, *, at: datetime, index: int | None = None, environment: str | None = None
) -> dict[str, PublicKey]:
    """Return keyid -> public key of everybody who may sign this now, or could at that time and place in the log."""
    able = [entry for entry in trust.keys if not any(_objections(entry, purpose, at, index, environment))]
    return {entry.keyid: public_key.parse(entry.public_key) for entry in able}


# What `--replace` is not told of a key stays as it is listed, but purposes are always told.
def _listing(entry: TrustedKey, purpose: Purpose) -> str:
    purposes = " ".join(f"--purpose {one}" for one in (*entry.purposes, purpose))
    return f"aiinfra trust add-key {entry.public_key} --signer-id {entry.signer_id} {purposes} --replace"


def _objections(entry: TrustedKey, purpose: Purpose, at: datetime, index: int | None, environment: str | None) -> Iterator[str]:
    if purpose not in entry.purposes:
        yield f"may not sign for the purpose {purpose}"
    if environment is not None and entry.environments is not None and environment not in entry.environments:
        yield f"may not sign for the environment {environment}"
    if not is_within(at, entry):
        yield f"was not valid at {at.isoformat()}"
    if entry.compromise is not None and (index is None or index >= entry.compromise.bad_from_index):
        where = "what the log has not taken in before that" if index is None else f"entry {index}"
        yield f"is compromised from log entry {entry.compromise.bad_from_index} on, so {where} does not count"
