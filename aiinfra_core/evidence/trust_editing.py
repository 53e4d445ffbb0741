"""Changing `trust.json` in memory and signing `targets.json` over it.

What is made here is believed only through `trust_root`; roots are made in `root_editing`, directories live in `trusting`.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, TargetFile, Targets

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Compromise, Trust, TrustedKey
from aiinfra_core.errors import BadInput, Conflict, NotFound
from aiinfra_core.evidence import trust as trust_rules
from aiinfra_core.evidence.tuf_metadata import TARGETS, TRUST
from aiinfra_core.signing.signer import Signer, sign_verified

_SHORTEST_KEYID = 8


def signed_targets(trust: Trust, version: int, expires: datetime, signer: Signer) -> dict[str, bytes]:
    """Return `trust.json` and a `targets.json` of this version over it; `expires` is cut to whole seconds.

    Raises:
        BadInput: a key of the trust is not what its keyid says, or is listed twice.
        Unavailable: the signer gave no signature that verifies.
    """
    fields = trust_rules.check(trust).model_dump(mode="json", by_alias=True, exclude_none=True)
    data = canonical_json.dumps(fields)
    target = TargetFile(len(data), {"sha256": sha256(data).hexdigest()}, TRUST)
    metadata = Metadata(Targets(version=version, expires=expires, targets={TRUST: target}))
    keyid = signer.public_key.keyid
    metadata.signatures[keyid] = Signature(keyid, sign_verified(signer, metadata.signed_bytes).hex())
    return {TARGETS: metadata.to_bytes(), TRUST: data}


def key_named(trust: Trust, text: str) -> TrustedKey:
    """Return the key of this keyid or signer id, or the only one whose keyid begins so.

    Raises:
        NotFound: none or several do, or the beginning is shorter than 8 digits.
    """
    begins = [key for key in trust.keys if len(text) >= _SHORTEST_KEYID and key.keyid.startswith(text)]
    found = begins or [key for key in trust.keys if key.signer_id == text]
    if len(found) != 1:
        many = "No listed key is" if not found else f"{len(found)} listed keys are"
        raise NotFound(f"{many} called {text[:64]!r}; give a keyid, or its first {_SHORTEST_KEYID} digits or more: aiinfra trust show")
    return found[0]


def with_key(trust: Trust, key: TrustedKey, *, replace: bool = False) -> Trust:
    """Return the trust with one more key; listing the same once more changes nothing.

    Args:
        trust: what is changed.
        key: the entry.
        replace: whether another entry for the same key gives way.

    Raises:
        Conflict: the key is listed in another way and is not to be replaced, or is compromised.
    """
    known = next((one for one in trust.keys if one.keyid == key.keyid), None)
    if known is None or known == key:
        return trust if known else _with(trust, keys=(*trust.keys, key))
    if known.compromise is not None:
        raise Conflict(f"The key {key.keyid[:16]} is compromised and stays so; make a new key.")
    if not replace:
        raise Conflict(f"The key {key.keyid[:16]} is listed already, in another way; add --replace to list it like this from now on.")
    return _changed(trust, key)


def retired(trust: Trust, keyid: str, at: datetime) -> Trust:
    """Return the trust with a key that counts for nothing the log takes in from that time on; an earlier end stays.

    Raises:
        NotFound: the key is not listed.
    """
    key = key_named(trust, keyid)
    ended = key.valid_until is not None and key.valid_until <= at
    return trust if ended else _changed(trust, key.model_copy(update={"valid_until": at}))


def compromised(trust: Trust, keyid: str, compromise: Compromise) -> Trust:
    """Return the trust with a key that others may hold; the log index it is bad from may be moved to earlier, never to later.

    Raises:
        NotFound: the key is not listed.
        Conflict: it is listed as compromised from an earlier entry on.
    """
    key = key_named(trust, keyid)
    known = key.compromise
    if known is not None and known.bad_from_index < compromise.bad_from_index:
        raise Conflict(f"The key {key.keyid[:16]} is bad from log entry {known.bad_from_index} on; that cannot be moved to later.")
    same = known is not None and known.bad_from_index == compromise.bad_from_index
    return trust if same else _changed(trust, key.model_copy(update={"compromise": compromise}))


def with_threshold(trust: Trust, environment: str, roles: Mapping[str, int], since: datetime | None = None) -> Trust:
    """Return the trust that asks for this many owners of each role in an environment; no roles, no approvals asked for.

    With `since`, only for what is applied from that time on.

    Raises:
        BadInput: a number is not 1 to 100, a name is no name, or nothing is asked for since some time.
    """
    if since is not None and not roles:
        raise BadInput("Nothing is asked for, so it has no beginning: leave the beginning out, or name roles.")
    others = {name: needed for name, needed in trust.thresholds.items() if name != environment}
    begins = {name: at for name, at in (trust.thresholds_since or {}).items() if name != environment}
    begins |= {environment: since} if since else {}
    return _with(trust, thresholds=others | ({environment: dict(roles)} if roles else {}), thresholds_since=begins or None)


def with_log(trust: Trust, origin: str) -> Trust:
    """Return the trust in which this log counts too.

    Raises:
        BadInput: the origin cannot name a log.
    """
    return trust if origin in trust.logs else _with(trust, logs=(*trust.logs, origin))


def _changed(trust: Trust, key: TrustedKey) -> Trust:
    return _with(trust, keys=tuple(key if one.keyid == key.keyid else one for one in trust.keys))


def _with(trust: Trust, **changes: object) -> Trust:
    try:
        return Trust.model_validate({name: getattr(trust, name) for name in Trust.model_fields} | changes)
    except ValueError as error:
        raise BadInput(f"This is no trust: {' '.join(str(error).split())[:300]}") from None
