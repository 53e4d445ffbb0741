"""A promotion with nothing to say against it: what the cases of a policy file are merged over."""

from collections.abc import Mapping
from typing import Any

DATASET = "5a" * 32
SPEC = "5c" * 32


def inputs() -> dict[str, Any]:
    """Return inputs for every rule: version 3 of a model, current in staging, better than version 2 in prod, asked for prod by ada."""
    evaluation = {
        "kind": "measured",
        "source": "pipeline",
        "metrics": {"quality": 0.93},
        "datasets": [{"name": "held-out", "sha256": DATASET}],
        "specDigest": SPEC,
        "codeRef": "git@models.example:rain.git@" + "0" * 40,
        "recordedBy": "pipeline",
        "recordedAt": "2026-06-01T11:00:00Z",
    }
    return {
        "artifact": {
            "id": "00000000-0000-4000-8000-000000000003",
            "model": "rainfall",
            "version": 3,
            "digest": "ab" * 32,
            "digestKind": "sha256",
            "sizeBytes": 4096,
            "registeredBy": "ci",
            "registeredAt": "2026-06-01T10:30:00Z",
            "metadata": {},
        },
        "provenance": {
            "kind": "trained",
            "codeRef": "git@models.example:rain.git",
            "commit": "0" * 40,
            "entryPoint": "train.py",
            "containerDigest": "sha256:" + "cd" * 32,
            "datasets": [{"name": "days", "sha256": "d5" * 32}],
            "hyperparams": {"depth": 3},
            "seed": 7,
            "trainedBy": "tom",
            "metrics": {"quality": 0.94},
        },
        "evaluation": evaluation,
        "evaluations": [evaluation],
        "current": {
            "artifactId": "00000000-0000-4000-8000-000000000002",
            "version": 2,
            "digest": "ba" * 32,
            "sequence": 1,
            "promotedAt": "2026-05-01T12:00:00Z",
        },
        "comparison": {
            "specDigest": SPEC,
            "datasets": [{"name": "held-out", "sha256": DATASET}],
            "challenger": {"quality": 0.93},
            "champion": {"quality": 0.91},
            "difference": {"quality": 0.02},
        },
        "reproduction": {"outcome": "identical", "reproducedBy": "rita", "finishedAt": "2026-06-01T11:30:00Z"},
        "scan": {"verdict": "no_code", "scanner": "formats 1", "formats": ["json"]},
        "drift": None,
        "approvals": [],
        "environments": {
            "staging": {"artifactId": "00000000-0000-4000-8000-000000000003", "version": 3},
            "prod": {"artifactId": "00000000-0000-4000-8000-000000000002", "version": 2},
        },
        "people": {"requester": "ada", "asker": "ada", "trainer": "tom", "registrar": "ci", "evaluators": ["pipeline"]},
        "requester": "ada",
        "environment": "prod",
        "stage": "request",
        "rollout": {
            "digest": "70" * 32,
            "fromOperator": True,
            "weights": [5, 25, 50, 100],
            "unit": "request",
            "saltGiven": False,
            "bakeMinutes": 10,
            "deadlineHours": 24,
            "lookSeconds": 60,
            "silentMinutes": 15,
            "whenInconclusive": "return",
            "margin": 1.25,
            "advanceAlpha": 0.01,
            "killShare": 0.5,
            "killUnits": 20,
            "signals": [_signal("errors", 0.004), _signal("latency", 0.003)],
        },
        "overrides": None,
        "tries": 0,
        "rollback": None,
        "now": "2026-06-01T12:00:00Z",
        "parameters": {},
    }


def _signal(kind: str, alpha: float) -> dict[str, Any]:
    by_default = {"source": "observations", "margin": 1.25, "quantile": 0.95, "seconds": None, "advances": True}
    return {"name": kind, "kind": kind, "alpha": alpha, **by_default}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return objects merged name by name; whatever else is over wins."""
    both = {
        name: merged(under[name], over[name]) for name in over if isinstance(over[name], Mapping) and isinstance(under.get(name), Mapping)
    }
    return {**under, **over, **both}
