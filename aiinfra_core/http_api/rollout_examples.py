"""What requests and answers about rollouts look like, beside `examples`."""

from typing import Any

from aiinfra_core.http_api.examples import EXAMPLES

_BEGAN_AT = "2026-11-23T15:04:05.143870Z"
_LOOKED_AT = "2026-11-23T15:21:05.402114Z"
_CHALLENGER: dict[str, Any] = EXAMPLES["SentArtifact"]
_CHAMPION = _CHALLENGER | {"id": "6c0a8a34-2b1f-4f57-8a3e-0a6c2a1f9b10", "version": 2, "checksum": "8e" * 32}
_COUNTED = {"champion": {"units": 9690, "bad": 97}, "challenger": {"units": 510, "bad": 4}}

_ROLLOUT: dict[str, Any] = {
    "id": "d5b2f0a4-7c1e-4c2b-9b58-6f0e1d2c3b4a",
    "environment": "prod",
    "model": "rainfall",
    "status": "running",
    "step": 0,
    "weight": 500,
    "looks": 17,
    "reason": None,
    "promotionId": EXAMPLES["SentPromotion"]["id"],
    "challengerVersion": 3,
    "champion": "1f0c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11",
    "championVersion": 2,
    "sequence": 4,
    "spec": {
        "weights": [5.0, 25.0, 50.0, 100.0],
        "bakeMinutes": 10.0,
        "unit": "request",
        "signals": [{"name": "errors", "kind": "errors", "alpha": 0.004, "source": "observations"}],
        "margin": 1.25,
    },
    "specDigest": "5b" * 32,
    "salt": "Qm9vcGxZb1ZqT3M",
    "frozen": None,
    "createdAt": _BEGAN_AT,
    "stepStartedAt": _BEGAN_AT,
    "heardAt": _LOOKED_AT,
    "lookedAt": _LOOKED_AT,
    "updatedAt": _LOOKED_AT,
    "endedAt": None,
}
_LOOK: dict[str, Any] = {
    "number": 17,
    "step": 0,
    "weight": 500,
    "readings": [{"signal": "errors", "heard": "ok", **_COUNTED, "reason": None, "query": None, "seconds": None, "through": _LOOKED_AT}],
    "judged": {
        "signals": [
            {
                "signal": "errors",
                **_COUNTED,
                "ratios": [-0.72, -1.41, -2.63, -4.4, -7.2],
                "rollback": -1.58,
                "rollbackAt": 5.52,
                "advance": 1.26,
                "advanceAt": 4.61,
            }
        ],
        "sampleRatio": -2.83,
        "sampleRatioAt": 6.91,
    },
    "verdict": "hold",
    "reason": "not enough evidence yet that the challenger is as good as the champion in errors",
    "createdAt": _LOOKED_AT,
}
_ORDER: dict[str, Any] = {
    "id": "e8f2a1b0-9c3d-4e5f-8a7b-6c5d4e3f2a1b",
    "action": "pause",
    "step": 0,
    "reason": "A game tonight.",
    "orderedBy": "ada@example.org",
    "attestation": "3c" * 32,
    "createdAt": _LOOKED_AT,
}

_ENVELOPE = {
    "payload": "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ==",
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [{"keyid": "9a" * 32, "sig": "c2lnbmF0dXJl"}],
}

ROLLOUTS: dict[str, dict[str, Any]] = {
    "SentRouting": {"routing": _ENVELOPE, "manifests": {"d1" * 32: _ENVELOPE}},
    "AskedOrder": {"reason": _ORDER["reason"]},
    "AskedAdvance": {"reason": "Its errors are those of a dataset that is mended.", "step": 0},
    "SentRollout": _ROLLOUT,
    "SentRolloutDetails": {
        "rollout": _ROLLOUT,
        "challenger": _CHALLENGER,
        "champion": _CHAMPION,
        "looks": [_LOOK],
        "orders": [_ORDER],
    },
}
