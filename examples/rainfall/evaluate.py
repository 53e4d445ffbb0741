"""Measure a rain classifier on days it was not trained on.

An evaluation script like any other: it gets the same three arguments as a training.

    python evaluate.py --inputs inputs.json --output DIR --metrics metrics.json

`inputs.json` holds {"model": PATH, "parameters", "seed", "datasets": {"held_out": PATH}}; what it writes below `--output` is not kept.
`parameters.parts` divides the days, which are in time order, into so many parts: the worst of them is measured too, since a model that is
good on the whole may have been good only once.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from train import probabilities, read_arguments, read_weather, score  # type: ignore[import-not-found] # it stands beside this script

PARTS = 4


def main() -> None:
    arguments = read_arguments()
    inputs = json.loads(arguments.inputs.read_text())
    model = json.loads(Path(inputs["model"]).read_text())
    names, rows, rain = read_weather(Path(inputs["datasets"]["held_out"]))
    if names != model["features"]:
        raise SystemExit(f"the model was trained on {', '.join(model['features'])}, the days have {', '.join(names)}")

    chance = probabilities(model, rows)
    metrics = score(chance, rain) | {"worst_part": worst_part(chance, rain, inputs["parameters"].get("parts", PARTS))}
    arguments.metrics.write_text(json.dumps(metrics, indent=2))
    print(f"ROC AUC {metrics['quality']:.4f} on {len(rain)} days, {metrics['worst_part']:.4f} on their worst part")


def worst_part(chance: Any, rain: Any, parts: int) -> float:
    edges = [len(rain) * part // parts for part in range(parts + 1)]
    scores: list[float] = [score(chance[begin:end], rain[begin:end])["quality"] for begin, end in itertools.pairwise(edges)]
    return min(scores)


if __name__ == "__main__":
    main()
