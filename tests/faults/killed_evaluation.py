"""Register a model and measure it, in a forked child that is killed as `killed_at` says; started by test_killed_evaluation."""

import os
import signal

from aiinfra_core import evaluating
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.settings import Settings
from tests.faults import killed_at
from tests.simulators.evaluation_script import registered


def story(settings: Settings) -> None:
    """Measure a model by the spec in the home; where the home says so, end while the script runs, once."""
    artifact = registered(settings, settings.home)
    spec = EvaluationSpec.model_validate_json((settings.home / "spec.json").read_bytes())

    def on_output(_: str) -> None:
        last = settings.home / "die-while-it-runs"
        if last.exists():
            last.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    evaluating.evaluate(settings, artifact.id, spec, recorded_by="eva", on_output=on_output)


if __name__ == "__main__":
    killed_at.main(story)
