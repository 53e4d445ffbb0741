"""Whose signatures count where models are served: those of a pinned root of trust, or of keys that were pinned themselves."""

from collections.abc import Sequence
from pathlib import Path

from aiinfra_core import trust_directory
from aiinfra_core.domain.trust import Purpose, Trust, TrustedKey
from aiinfra_core.errors import Misconfigured
from aiinfra_core.signing import public_key


def opened(trust: Trust | Path) -> Trust:
    """Return the trust as it is now; a path is that of a pinned `N.root.json` in its trust directory.

    Raises:
        Misconfigured: the files cannot be read, or have expired.
        EvidenceBroken: they do not verify, or are older than those this process has seen.
    """
    return trust if isinstance(trust, Trust) else trust_directory.opened(trust).trust


def pinned(keys: Sequence[str]) -> Trust:
    """Return a trust in these keys for promotions, each base64 of its 32 raw bytes.

    Raises:
        Misconfigured: there is none.
        BadInput: one is no key.
    """
    if not keys:
        raise Misconfigured(
            "Nothing says whose promotions count: name a pinned root of trust (AI_INFRA_TRUST_ROOT, --trust-root), or pin the key they are"
            " signed with (--key BASE64), which `aiinfra keys show` says where they are signed."
        )
    parsed = [public_key.parse(key) for key in dict.fromkeys(keys)]
    entries = (
        TrustedKey(keyid=key.keyid, public_key=key.base64, signer_id="pinned", owner="pinned", purposes=(Purpose.PROMOTION,))
        for key in parsed
    )
    return Trust(keys=tuple(entries), logs=("pinned/none",))
