"""Split traffic as the router's webhook says: with KServe, or with a canary ingress of ingress-nginx. To be run inside the cluster.

    ROUTER_SECRET=whsec_… python receiver.py kserve --namespace models --port 8080
    ROUTER_SECRET=whsec_… python receiver.py nginx --namespace models --port 8080

It answers 2xx only once Kubernetes has taken the change; whatever else it answers, the same message comes again. It needs `httpx`,
`standardwebhooks`, and a service account that may patch what it changes. docs/routers.md says what has to be there. With `--dry-run` it
runs anywhere, prints the patches it would send, and sends none.
"""

import argparse
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MERGE = {"Content-Type": "application/merge-patch+json"}
ALL = 10_000
Patch = tuple[str, dict[str, Any]]
"""The path of an object of Kubernetes below its API, and what is merged into it."""


def kserve(namespace: str, kind: str, data: Mapping[str, Any]) -> list[Patch]:
    """Return how an InferenceService named after the model is changed: KServe splits between the newest revision and the one before."""
    challenger = data["challenger"]
    predictor: dict[str, Any]
    if challenger:
        predictor = {"canaryTrafficPercent": round(100 * challenger["weight"] / ALL), "model": {"storageUri": challenger["artifactUri"]}}
    elif kind == "promotion.applied":
        predictor = {"canaryTrafficPercent": None, "model": {"storageUri": data["champion"]["artifactUri"]}}
    else:  # the challenger was sent back: all traffic to the revision before
        predictor = {"canaryTrafficPercent": 0}
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{data['model']}"
    return [(path, {"spec": {"predictor": predictor}})]


def nginx(namespace: str, _kind: str, data: Mapping[str, Any]) -> list[Patch]:
    """Return how the canary ingress of a model and the services behind both ingresses are changed; pods are labelled with their version."""
    champion, challenger, model = data["champion"], data["challenger"], data["model"]
    weights = {"canary-weight": str(challenger["weight"] if challenger else 0), "canary-weight-total": str(ALL)}
    annotations = {f"nginx.ingress.kubernetes.io/{name}": value for name, value in weights.items()}
    weight = (f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{model}-canary", {"metadata": {"annotations": annotations}})
    behind = _selecting(namespace, model, champion)
    # Nothing gets traffic before it is what is to get it, and who goes back does so first.
    return [_selecting(namespace, f"{model}-canary", challenger), behind, weight] if challenger else [weight, behind]


def _selecting(namespace: str, service: str, arm: Mapping[str, Any]) -> Patch:
    return f"/api/v1/namespaces/{namespace}/services/{service}", {"spec": {"selector": {"version": str(arm["version"])}}}


class Receiver:
    """Takes messages of the webhook, carries out each that is newer than what was carried out for its model, one at a time."""

    def __init__(self, secret: str, api: httpx.Client, patches: Callable[[str, Mapping[str, Any]], list[Patch]]) -> None:
        self._webhook, self._api, self._patches = Webhook(secret), api, patches
        self._turn, self._done = threading.Lock(), dict[tuple[str, str], tuple[int, int]]()

    def take(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the status to answer with."""
        try:
            told = self._webhook.verify(body, {name.lower(): value for name, value in headers.items()})
        except WebhookVerificationError:
            return 401
        data = told["data"]
        place, change = (data["environment"], data["model"]), (data["sequence"], data["changes"])
        with self._turn:
            if change < self._done.get(place, (0, 0)):
                return 204  # something newer was carried out already
            for path, patch in self._patches(told["type"], data):
                answer = self._api.patch(path, content=json.dumps(patch), headers=MERGE)
                if not answer.is_success:
                    print(f"{path}: HTTP {answer.status_code} {answer.text[:200]}", flush=True)
                    return 503
            self._done[place] = change
        print(f"{told['type']} {data['model']} in {data['environment']}: {data['challenger'] and data['challenger']['weight']}", flush=True)
        return 204


def served(receiver: Receiver, port: int) -> ThreadingHTTPServer:
    """Return a server that hands every POST to a receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status = receiver.take(body, dict(self.headers))
            except (httpx.HTTPError, KeyError, TypeError) as error:
                print(f"{type(error).__name__}: {error}", flush=True)
                status = 503
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    return ThreadingHTTPServer(("", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="Split traffic as the router's webhook says.")
    parser.add_argument("how", choices=["kserve", "nginx"])
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--dry-run", action="store_true", help="print the patches, and send none; for outside of a cluster")
    asked = parser.parse_args()
    patches = {"kserve": kserve, "nginx": nginx}[asked.how]
    with _printing() if asked.dry_run else _cluster() as api:
        receiver = Receiver(_secret(), api, lambda kind, data: patches(asked.namespace, kind, data))
        served(receiver, asked.port).serve_forever()


def _secret() -> str:
    secret = os.environ.get("ROUTER_SECRET", "")
    try:
        Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        sys.exit("ROUTER_SECRET is not set to the secret of the webhook, whsec_…: that of AI_INFRA_ROUTER_SECRET.")
    return secret


def _cluster() -> httpx.Client:
    try:
        inside = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        account = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}
    except OSError as error:
        sys.exit(f"There is no service account in {ACCOUNT} ({error.strerror}): run it inside the cluster, or with --dry-run.")
    return httpx.Client(base_url="https://kubernetes.default.svc", headers=account, verify=inside, timeout=5)


def _printing() -> httpx.Client:
    def say(request: httpx.Request) -> httpx.Response:
        print(f"{request.method} {request.url.path} {request.content.decode()}", flush=True)
        return httpx.Response(200, json={})

    return httpx.Client(base_url="https://kubernetes.default.svc", transport=httpx.MockTransport(say))


if __name__ == "__main__":
    main()
