"""Learn from fifty years of daily weather whether it rains, with gradient-boosted trees.

A training script like any other: it knows nothing of the product that runs it, only three arguments.

    python train.py --inputs inputs.json --output DIR --metrics metrics.json

`inputs.json` holds {"model", "hyperparams", "seed", "datasets": {"rainfall": PATH}}. The rows are in time order: the model learns from
the rows before HOLD_OUT_FROM and is scored on the rows after them, up to DRIFT_FROM, where the weather station's data begin to drift.
The model is written as JSON, so nothing runs when it is loaded, and the score is measured on what was read back.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

TARGET = "rain"
HOLD_OUT_FROM = 9_000
DRIFT_FROM = 12_000
DEFAULTS = {"n_estimators": 200, "max_depth": 3, "learning_rate": 0.05, "subsample": 0.7}


def main() -> None:
    arguments = read_arguments()
    inputs = json.loads(arguments.inputs.read_text())
    names, rows, rain = read_weather(Path(inputs["datasets"]["rainfall"]))
    past, held_out = slice(0, HOLD_OUT_FROM), slice(HOLD_OUT_FROM, DRIFT_FROM)

    fitted = fit(rows[past], rain[past], inputs["hyperparams"], inputs["seed"])
    model_file = arguments.output / "model.json"
    model_file.write_text(json.dumps(describe(fitted, names), separators=(",", ":")))

    metrics = score(probabilities(json.loads(model_file.read_text()), rows[held_out]), rain[held_out])
    arguments.metrics.write_text(json.dumps(metrics, indent=2))
    print(f"ROC AUC {metrics['quality']:.4f} on {held_out.stop - held_out.start} days it has not seen")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the rain classifier.")
    for name in ("--inputs", "--output", "--metrics"):
        parser.add_argument(name, type=Path, required=True)
    return parser.parse_args()


def read_weather(path: Path) -> tuple[list[str], Any, Any]:
    """Return the feature names, the feature rows and the 0/1 target."""
    table = pq.read_table(path)
    names = [name for name in table.column_names if name != TARGET]
    print(f"read {table.num_rows} days with {len(names)} measurements each")
    return names, np.column_stack([table[name].to_numpy() for name in names]), table[TARGET].to_numpy()


def fit(rows: Any, rain: Any, hyperparams: dict[str, Any], seed: int) -> GradientBoostingClassifier:
    unknown = sorted(hyperparams.keys() - DEFAULTS.keys())
    if unknown:
        raise SystemExit(f"unknown hyperparameters {', '.join(unknown)}; known are {', '.join(DEFAULTS)}")
    model = GradientBoostingClassifier(**(DEFAULTS | hyperparams), random_state=seed)
    return model.fit(rows, rain, monitor=tell_progress)


def tell_progress(done: int, model: GradientBoostingClassifier, _: Any) -> bool:
    """Print every 50th tree; False means: go on."""
    if (done + 1) % 50 == 0 or done + 1 == model.n_estimators:
        print(f"tree {done + 1} of {model.n_estimators}, loss {model.train_score_[done]:.4f}")
    return False


def describe(model: GradientBoostingClassifier, names: list[str]) -> dict[str, Any]:
    """Return the trees as plain numbers; leaves have -1 as their children."""
    share = float(model.init_.class_prior_[1])
    return {
        "format": "boosted-trees",
        "features": names,
        "start": math.log(share / (1 - share)),
        "learning_rate": model.learning_rate,
        "trees": [
            {
                "feature": tree.feature.tolist(),
                "threshold": tree.threshold.tolist(),
                "left": tree.children_left.tolist(),
                "right": tree.children_right.tolist(),
                "value": tree.value[:, 0, 0].tolist(),
            }
            for tree in (regressor.tree_ for regressor in model.estimators_[:, 0])
        ],
    }


def probabilities(model: dict[str, Any], rows: Any) -> Any:
    """Return the probability of rain for each row of float32 features."""
    odds = np.full(len(rows), model["start"])
    for tree in model["trees"]:
        odds += model["learning_rate"] * leaf_values({name: np.array(column) for name, column in tree.items()}, rows)
    return 1 / (1 + np.exp(-odds))


def leaf_values(tree: dict[str, Any], rows: Any) -> Any:
    node = np.zeros(len(rows), dtype=int)
    while (inner := tree["left"][node] >= 0).any():
        goes_left = rows[np.arange(len(rows)), tree["feature"][node]] <= tree["threshold"][node]
        node = np.where(inner, np.where(goes_left, tree["left"][node], tree["right"][node]), node)
    return tree["value"][node]


def score(chance: Any, rain: Any) -> dict[str, float]:
    return {
        "quality": float(roc_auc_score(rain, chance)),
        "accuracy": float(accuracy_score(rain, chance >= 0.5)),
        "log_loss": float(log_loss(rain, chance)),
        "brier": float(brier_score_loss(rain, chance)),
        "rows": len(rain),
        "positives_share": float(rain.mean()),
    }


if __name__ == "__main__":
    main()
