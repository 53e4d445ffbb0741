"""How the events of the audit log are called."""

EVENT_TYPES = frozenset(
    {
        *(f"training.{word}" for word in ("requested", "started", "released", "completed", "failed")),
        *(f"promotion.{word}" for word in ("requested", "pending", "approved", "applied", "rejected", "expired", "superseded")),
        *(f"approval.{word}" for word in ("given", "withdrawn")),
        *(f"policy.{word}" for word in ("decision", "adopted")),
        *(f"key.{word}" for word in ("rotated", "compromised")),
        *(f"artifact.{word}" for word in ("registered", "scanned", "pruned")),
        *(
            f"rollout.{word}"
            for word in ("started", "held", "advanced", "completed", "paused", "resumed", "aborted", "ended", "superseded")
        ),
        "rollback.applied",
        "evaluation.recorded",
        "reproduction.checked",
        "card.written",
        "import.recorded",
    }
)

TOLD_TYPES = EVENT_TYPES | {"promotion.quarantined", "promotion.remediation", "audit.failed"}
"""What people can be told of: a no by its kind, and a history that does not verify, which stands in no log."""

LATER_TYPES = ("drift.",)
"""How events begin that there will be: they can be asked for already."""
