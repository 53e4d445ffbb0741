"""Serve the rain classifier over HTTP: whichever version a rollout says, from bytes that were verified, and report how it did.

    AI_INFRA_SERVER=http://127.0.0.1:8061 AI_INFRA_TRUST_ROOT=pinned/1.root.json AI_INFRA_ARTIFACT_ROOT=s3://models \
      python serve.py --model rainfall --environment prod --port 8080

    POST /predict  {"request": "any id", "measurements": [eight numbers], "rain": 1}   `rain`, where it is known by now, is reported
    POST /regress  {"version": 3}   every second answer of that version is turned round from now on: a regression to try a rollout with
"""

import argparse
import json
import math
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiinfra_core.serving import Serving

IT_RAINS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the rain classifier.")
    parser.add_argument("--model", default="rainfall")
    parser.add_argument("--environment", default="prod")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    with Serving.from_environment(arguments.model, arguments.environment) as serving:
        server = ThreadingHTTPServer(("127.0.0.1", arguments.port), handler(serving))
        print(f"serving {arguments.model} in {arguments.environment} at http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


def handler(serving: Serving) -> type[BaseHTTPRequestHandler]:
    """Return what answers requests with the models that are served."""
    regressed: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers[self.path](asked)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing for each request."""

    def predict(asked: dict[str, Any]) -> dict[str, Any]:
        with serving.answering(asked["request"]) as chosen:
            rains = chance_of_rain(chosen.path, asked["measurements"]) >= IT_RAINS
        if chosen.served.version in regressed and asked["request"].endswith(("0", "2", "4", "6", "8")):
            rains = not rains
        if "rain" in asked:
            serving.label(chosen, wrong=rains != bool(asked["rain"]))
        return {"rains": rains, "version": chosen.served.version, "arm": chosen.arm}

    def regress(asked: dict[str, Any]) -> dict[str, Any]:
        regressed.add(asked["version"])
        return {"regressed": sorted(regressed)}

    answers = {"/predict": predict, "/regress": regress}
    return Handler


def chance_of_rain(path: Path, measurements: list[float]) -> float:
    """Return how likely it is to rain tomorrow."""
    model = loaded(path)
    odds = model["start"] + model["learning_rate"] * sum(leaf_value(tree, measurements) for tree in model["trees"])
    return 1 / (1 + math.exp(-odds))


def leaf_value(tree: dict[str, list[Any]], measurements: list[float]) -> float:
    node = 0
    while tree["left"][node] >= 0:
        node = tree["left" if measurements[tree["feature"][node]] <= tree["threshold"][node] else "right"][node]
    return float(tree["value"][node])


@lru_cache(maxsize=4)
def loaded(path: Path) -> dict[str, Any]:
    """Return a model; its path names its digest, so it is read once."""
    file = path / "model.json" if path.is_dir() else path
    model: dict[str, Any] = json.loads(file.read_bytes())
    return model


if __name__ == "__main__":
    main()
