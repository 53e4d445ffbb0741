"""The `audit` commands: each is in the module named beside it, imported when it is typed."""

from cyclopts import App

from aiinfra_core.cli.examples import examples

audit = App(name="audit")
audit.command(
    "aiinfra_core.cli.audit_verifying:verify",
    name="verify",
    help="""Re-check the whole log: chain, signatures, tree, checkpoints here and outside, and every row against its event.

    An interrupted run continues where it stood.""",
    help_epilogue=examples("aiinfra audit verify", "aiinfra audit verify --incremental --json"),
)
audit.command(
    "aiinfra_core.cli.delivering:deliver",
    name="deliver",
    help="""Deliver to every sink what it has not been given yet; a sink that is down holds only itself.

    Interrupted, the next one continues.""",
    help_epilogue=examples("aiinfra audit deliver", "aiinfra audit deliver --now --json"),
)
audit.command(
    "aiinfra_core.cli.delivering:sinks",
    name="sinks",
    help="Show how far each sink is, what it would not take, and what went wrong last.",
    help_epilogue=examples("aiinfra audit sinks"),
)
audit.command(
    "aiinfra_core.cli.delivering:replay",
    name="replay",
    help="Deliver a sink again what it was given before: a stretch of the log, or only what it would not take.",
    help_epilogue=examples(
        "aiinfra audit replay --sink https://bus.example/events --from 100 --to 200", "aiinfra audit replay --sink 3fa29c11d0b4 --dead"
    ),
)
audit.command(
    "aiinfra_core.cli.rebuilding:rebuild",
    name="rebuild",
    help="""Make a lost database again, in an empty one, from the archive of its log; everything is verified on the way.

    Refused or interrupted, the database stays empty and the same command begins anew.""",
    help_epilogue=examples(
        "aiinfra audit rebuild --from s3://bucket/archive", "aiinfra audit rebuild --from file:///archive --skip-artifacts"
    ),
)
audit.command(
    "aiinfra_core.cli.publishing:checkpoint",
    name="checkpoint",
    help="""Commit to the log as it is now: sign its size and root, publish that outside the database, and print it.

    Without new events the newest checkpoint is printed. Keep it: a later export is checked against it.""",
    help_epilogue=examples("aiinfra audit checkpoint > last-checkpoint"),
)
audit.command(
    "aiinfra_core.cli.publishing:proof",
    name="proof",
    help="Print the proof that an event is in the log (C2SP tlog-proof), with the checkpoint it leads to.",
    help_epilogue=examples("aiinfra audit proof 17", "aiinfra audit proof 6f1c5f0e-2f5e-5f0a-9b59-0d9f0a3c2f11 --json"),
)
audit.command(
    "aiinfra_core.cli.publishing:run",
    name="run",
    help="""Chain, publish and deliver what others write, until SIGTERM or Ctrl-C; one such process per database is enough.

    Checkpoints are AI_INFRA_CHECKPOINT_SECONDS apart.""",
    help_epilogue=examples("aiinfra audit run"),
)
