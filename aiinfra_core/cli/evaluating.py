"""`evaluate`: what a version's own training measured, signed. A service does this by itself, when a promotion is judged on it."""

from aiinfra_core import database
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, score
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, reference
from aiinfra_core.errors import BadInput
from aiinfra_core.evaluating import record_measured
from aiinfra_core.registry import artifacts


def evaluate(artifact: Reference, /, *, as_json: AsJson = False) -> None:
    """Record what the artifact's training measured."""
    settings = running_parts()
    with database.transaction(settings) as tx:
        found = artifacts.find(tx, reference(settings, artifact))
    evaluation = record_measured(settings, found.id)
    if evaluation is None:
        raise BadInput(f"The training of {found.model}:{found.version} measured nothing; let it write metrics, or claim some with promote.")
    if as_json:
        return say_json(evaluation)
    say(f"{found.model}:{found.version} has a signed, {evaluation.kind} evaluation")
    say_fields({"score": score(evaluation.metrics), "digest": evaluation.digest})
    return say_next(f"aiinfra promote {found.model}:{found.version} --to {settings.environments[0]}")
