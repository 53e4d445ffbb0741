"""What requests and answers look like, for the OpenAPI document: by the name of the record. A test holds each to its schema."""

from typing import Any

_JOB = "7c0c1c37-2f4e-4c0e-9d7e-0a4f5f5a4f10"
_ARTIFACT = "0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e21"
_MANIFEST = "c4" * 32
_ASKED_AT = "2026-11-23T15:04:05.120394Z"
_DONE_AT = "2026-11-23T15:04:05.143870Z"
_ENDED_AT = "2026-11-23T15:05:05.143870Z"
_ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
_NOTE_SIGNATURE = "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
_SIGNATURE = "p5AAOJ68xUP6WAhRWdhS/M7N6O+WCAqBae4yX+di4OHX80Yhp8phLuFPgSPVZRxTYlBidqn0L5AsTRj5MJfaCw=="
_SPEC: dict[str, Any] = {
    "codeRef": "https://git.example.org/weather/rainfall@3f1c9a0de5a7c2b1f0e9d8c7b6a5948372615040",
    "containerDigest": "sha256:" + "c0" * 32,
    "entryPoint": "train.py",
    "hyperparams": {"epochs": 10},
    "datasetRefs": [{"name": "rain", "uri": "s3://weather/rain-2026.parquet", "sha256": "5e" * 32, "version": "2026"}],
    "seed": 7,
}
_REGISTRATION: dict[str, Any] = {
    "trainingJobId": _JOB,
    "artifactUri": f"s3://models/artifacts/{_JOB}.model",
    "checksum": "9f" * 32,
    "metadata": {"framework": "sklearn"},
}
_PROMOTION: dict[str, Any] = {"artifactId": _ARTIFACT, "environment": "staging", "evaluation": {"quality": 0.95}}

_SENT_JOB: dict[str, Any] = {
    "id": _JOB,
    "model": "rainfall",
    **_SPEC,
    "status": "queued",
    "requestedBy": "ada@example.org",
    "createdAt": _ASKED_AT,
    "updatedAt": _ASKED_AT,
    "requestId": "0b8e9e995d8d77f1/train-2026-11",
    **dict.fromkeys(("startedAt", "finishedAt", "exitCode", "error", "artifactUri", "checksum", "metrics", "attestation", "logUri")),
    **dict.fromkeys(("digestKind", "sizeBytes", "trainingRecordSha256", "trainingRecordUri", "flowRunId")),
}
_SENT_ARTIFACT: dict[str, Any] = {
    "id": _ARTIFACT,
    **_REGISTRATION,
    "signerId": "models-2026",
    "signature": _SIGNATURE,
    "manifestSignatureId": None,
    "createdAt": _ASKED_AT,
    "model": "rainfall",
    "version": 3,
    "digestKind": "sha256",
    "sizeBytes": 1_048_576,
    "attestation": "a7" * 32,
    "registeredBy": "ada@example.org",
    "provenance": "trained",
}
_SENT_PROMOTION: dict[str, Any] = {
    "id": "445498d7-250f-4640-b898-f7dddebc4f86",
    **_PROMOTION,
    "status": "applied",
    "sentinelDecision": {
        "allowed": True,
        "policyId": "sentinel-allow",
        "reason": "The quality score 0.95 is at least the required 0.8.",
        "source": "local",
        "policyVersion": None,
        "ruleId": None,
        "decision": "allow",
        "policyDigest": "1b" * 32,
        "unavailable": False,
        "answer": {"minimum": "0.8", "rule": "evaluation.quality >= minimum"},
        "conditions": None,
    },
    "promotedBy": "ada@example.org",
    "promotedAt": _DONE_AT,
    "signature": _SIGNATURE,
    "signerId": "models-2026",
    "createdAt": _ASKED_AT,
    "model": "rainfall",
    "evaluationKind": "claimed",
    "reason": None,
    "sequence": 4,
    "manifest": _MANIFEST,
    "follows": "d2" * 32,
    "updatedAt": _DONE_AT,
    "requestId": "0b8e9e995d8d77f1/release-2026-11",
    "approvalsRequired": {"approver": 1},
    "pendingUntil": "2026-11-26T15:04:05.120394Z",
    "rollout": {"weights": [5, 25, 50, 100], "unit": "request", "specDigest": "d5" * 32},
    "rollback": None,
    "overrides": None,
}
_APPROVAL: dict[str, Any] = {
    "id": "c0d1f6f4-7a9b-4f0e-9d51-3f0f7f5a1b22",
    "promotionId": _SENT_PROMOTION["id"],
    "manifest": _MANIFEST,
    "approver": "grace@example.org",
    "means": "identity",
    "roles": ["approver"],
    "comment": "Looked at the coast's scores.",
    "attestation": "a9" * 32,
    "expiresAt": "2026-11-30T15:04:05.120394Z",
    "createdAt": _DONE_AT,
    "countsAs": ["approver"],
    "objection": None,
    "withdrawn": None,
}

_RUNNING: dict[str, Any] = _SENT_JOB | {"status": "running", "startedAt": _DONE_AT, "updatedAt": _DONE_AT}
_COMPLETED: dict[str, Any] = _RUNNING | {
    "status": "completed",
    "finishedAt": _ENDED_AT,
    "updatedAt": _ENDED_AT,
    "exitCode": 0,
    "artifactUri": _REGISTRATION["artifactUri"],
    "checksum": _REGISTRATION["checksum"],
    "metrics": {"quality": 0.95},
    "attestation": "a1" * 32,
    "digestKind": "sha256",
    "sizeBytes": 1_048_576,
}
_LEASE: dict[str, Any] = {"token": "0ZpF7pQmB3mX2q9l5J8wXr1d6cVtKJ4yZbHn0sAeUuE", "expiresAt": _ENDED_AT, "heartbeatSeconds": 20.0}
_NOTE = f"ai-infra.example.org/audit\n4711\n{_ROOT}\n\n— ai-infra.example.org/audit {_NOTE_SIGNATURE}\n"
_STATEMENT: dict[str, Any] = {
    "digest": _MANIFEST,
    "predicateType": "https://slsa.dev/verification_summary/v1",
    "subjectChecksum": _REGISTRATION["checksum"],
    "signerId": "models-2026",
    "createdAt": _DONE_AT,
    "envelope": {
        "payload": "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ==",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "3d" * 32, "sig": _SIGNATURE}],
    },
    "envelopeBase64": "eyJwYXlsb2FkIjoiLi4uIn0=",
}
_CARD_TEXT: dict[str, Any] = {"description": "Rain for tomorrow", "tags": {"team": "weather"}, "card": "# Rainfall\n\nFor the coast only."}
_EVENT: dict[str, Any] = {
    "seq": 4710,
    "id": "5f1d1a52-3c1b-4a5e-9d0b-0f6f1f1b9a77",
    "eventType": "promotion.applied",
    "payload": '{"actor":"ada@example.org","type":"promotion.applied"}',
    "prevHash": "e0" * 32,
    "hash": "e1" * 32,
    "signature": _SIGNATURE,
    "signerId": "audit-2026",
    "ts": _DONE_AT,
    "createdAt": _DONE_AT,
    "metadata": "{}",
    "version": 1,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "AskedTraining": _SPEC,
    "AskedRegistration": _REGISTRATION,
    "AskedPromotion": _PROMOTION,
    "SentJob": _SENT_JOB,
    "SentJobDetails": _RUNNING | {"attempts": 1, "holder": "runner@host-1", "leaseExpiresAt": _ENDED_AT, "flowRunUrl": None},
    "SentClaim": {"job": _RUNNING, "lease": _LEASE},
    "SentLease": _LEASE,
    "SentOutcome": {"job": _COMPLETED, "artifact": _SENT_ARTIFACT},
    "SentArtifact": _SENT_ARTIFACT,
    "SentPromotion": _SENT_PROMOTION,
    "SentPromotionDetails": _SENT_PROMOTION
    | {
        "decisions": [
            {
                "gate": "local",
                "stage": "request",
                "allowed": True,
                "decision": "allow",
                "unavailable": False,
                "reason": "The quality score 0.95 is at least the required 0.8.",
                "policyId": "sentinel-allow",
                "policyVersion": "1",
                "policyDigest": "1b" * 32,
                "rules": [
                    {
                        "id": "quality",
                        "verdict": "yes",
                        "reason": "The quality score 0.95 is at least the required 0.8.",
                        "used": {"evaluation.metrics.quality": 0.95, "parameters.minimum_quality": 0.8},
                    }
                ],
                "createdAt": _DONE_AT,
            }
        ]
    },
    "SentModel": {"artifact": _SENT_ARTIFACT, "promotions": [_SENT_PROMOTION]},
    "SentLineage": {
        "artifact": _SENT_ARTIFACT,
        "nodes": [
            {"id": f"artifact:{_ARTIFACT}", "kind": "artifact", "label": "rainfall:3", "about": {"checksum": _REGISTRATION["checksum"]}},
            {"id": f"job:{_JOB}", "kind": "job", "label": "training of rainfall", "about": {"status": "completed"}},
        ],
        "edges": [{"source": f"artifact:{_ARTIFACT}", "kind": "made_by", "target": f"job:{_JOB}"}],
        "truncated": False,
    },
    "SentStatement": _STATEMENT,
    "SentReport": {
        "artifact": _SENT_ARTIFACT,
        "verified": True,
        "checkedAt": _ENDED_AT,
        "checks": [{"name": "bytes", "passed": True, "detail": "They hash to what was registered."}],
    },
    "SentProof": {"seq": 4710, "size": 4711, "entry": '{"seq":4710}', "proof": f"c2sp.org/tlog-proof@v1\nindex 4709\n{_ROOT}\n\n{_NOTE}"},
    "SentEnvironment": {"name": "staging", "order": 1},
    "SentCurrent": {
        "environment": "staging",
        "model": "rainfall",
        "sequence": 4,
        "updatedAt": _DONE_AT,
        "artifact": _SENT_ARTIFACT,
        "promotion": _SENT_PROMOTION,
        "manifest": _STATEMENT,
    },
    "AskedApproval": {"manifest": _MANIFEST, "comment": _APPROVAL["comment"]},
    "AskedWithdrawal": {"reason": "The scores of the coast were those of another year."},
    "SentApproval": _APPROVAL,
    "SentAgreement": {"approval": _APPROVAL, "promotion": _SENT_PROMOTION},
    "SentApprovals": {
        "promotion": _SENT_PROMOTION,
        "artifact": _SENT_ARTIFACT,
        "manifest": _STATEMENT,
        "required": {"approver": 1},
        "missing": [],
        "pendingUntil": _SENT_PROMOTION["pendingUntil"],
        "approvalHours": 168.0,
        "approvals": [_APPROVAL],
        "rollout": None,
        "sentBack": None,
        "tries": 0,
    },
    "AskedRollback": {"model": "rainfall", "environment": "prod", "to": 2, "reason": "It answers with yesterday's rain."},
    "AskedObservations": {
        "batch": "4b7a6c0e-51b3-4f0c-8a2e-9d2f1c5b7e10",
        "reporter": "rainfall-7c9d:1",
        "step": 0,
        "counts": [
            {"arm": "champion", "units": 950, "errors": 9, "labelled": 0, "wrong": 0, "latency": {"24": 900, "31": 50}},
            {"arm": "challenger", "units": 50, "errors": 1, "labelled": 0, "wrong": 0, "latency": {"24": 48, "31": 2}},
        ],
        "users": [],
    },
    "SentObservations": {"batch": "4b7a6c0e-51b3-4f0c-8a2e-9d2f1c5b7e10", "counted": True},
    "SentReproduction": {
        "id": "5a0d6e0c-3a0e-5b53-9d3a-0b6f5a9c1e77",
        "artifactId": _ARTIFACT,
        "outcome": "different",
        "reproducedChecksum": "7d" * 32,
        "report": {"independent": True, "causes": [{"kind": "time", "certainty": "seen", "says": "It holds a time.", "code": []}]},
        "attestation": "ab" * 32,
        "reproducedBy": "rosa@example.org",
        "startedAt": _DONE_AT,
        "finishedAt": _ENDED_AT,
        "createdAt": _ENDED_AT,
    },
    "SentScan": {
        "id": "2f0a4c1e-90b1-5c3e-a1ff-6f2f8d1b7c55",
        "artifactId": _ARTIFACT,
        "scanner": "ai-infra/2 picklescan/1.0.5",
        "verdict": "no_code",
        "findings": [{"file": "", "format": "safetensors", "verdict": "no_code", "imports": [], "detail": None}],
        "attestation": _MANIFEST,
        "scannedBy": "ada@example.org",
        "createdAt": _DONE_AT,
    },
    "CardText": _CARD_TEXT,
    "SentCard": {
        "id": "9a2c7a31-7b0e-4c86-8d24-2a8d4f2f5b10",
        "model": "rainfall",
        "version": None,
        "revision": 2,
        **_CARD_TEXT,
        "writtenBy": "ada@example.org",
        "createdAt": _ASKED_AT,
    },
    "SentEvent": _EVENT,
    "SentCheckpoint": {"origin": "ai-infra.example.org/audit", "size": 4711, "root": _ROOT, "note": _NOTE, "createdAt": _ENDED_AT},
    "SentConsistency": {
        "fromSize": 4096,
        "fromRoot": "b6" * 32,
        "toSize": 4711,
        "toRoot": "b7" * 32,
        "hashes": [_ROOT],
        "proof": f"{_ROOT}\n",
        "checkpoint": _NOTE,
    },
    "Problem": {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": f"There is no artifact {_ARTIFACT}.",
        "error": f"There is no artifact {_ARTIFACT}.",
        "code": "not_found",
        "requestId": "c0ffee01",
    },
}
