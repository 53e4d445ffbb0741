"""Runs of the deployment that trains, asked of Prefect's own HTTP API; Prefect itself is never imported here.

When to ask, and what a run's end means for a job, is decided in `running`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiinfra_core import canonical_json, outbound
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.outbound import Patience
from aiinfra_core.settings import Settings

PART = "prefect_server"
_MAX_BYTES = 16 * 2**20
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
_AT_ONCE = 100


@dataclass(frozen=True)
class FlowRun:
    """Where a run stands, by Prefect's names, such as `RUNNING`; `said` is what it says of it."""

    id: UUID
    state: str
    said: str

    @property
    def ended(self) -> bool:
        """Whether it will do nothing any more."""
        return self.state in _ENDED


def start_run(settings: Settings, job: TrainingJob, *, attempt: int = 1, patience: Patience | None = None) -> UUID:
    """Start the configured deployment for a job and return the run's id; the same attempt is the same run.

    Raises:
        Misconfigured: there is no such deployment, or Prefect does not take the key or the parameters.
        Unavailable: `prefect_server`.
    """
    request = job.spec.model_dump(mode="json", by_alias=True)
    asked = {
        "parameters": {"request": {"spec": request, "requestedBy": job.requested_by, "requestId": job.request_id}},
        "idempotency_key": str(job.id) if attempt == 1 else f"{job.id}:{attempt}",
        "tags": ["ai-infra", f"job:{job.id}"],
    }
    deployment = _deployment(settings, patience or Patience())
    made = _asked(settings, f"/deployments/{deployment}/create_flow_run", asked, patience or Patience())
    return _read_run(made).id


def runs(settings: Settings, ids: Sequence[UUID]) -> dict[UUID, FlowRun]:
    """Return where runs stand; one that Prefect does not know is missing.

    Raises:
        Misconfigured: Prefect does not take the key.
        Unavailable: `prefect_server`.
    """
    found: dict[UUID, FlowRun] = {}
    for start in range(0, len(ids), _AT_ONCE):
        wanted = [str(one) for one in ids[start : start + _AT_ONCE]]
        asked = {"flow_runs": {"id": {"any_": wanted}}, "limit": _AT_ONCE}
        answer = _asked(settings, "/flow_runs/filter", asked, Patience())
        found |= {run.id: run for run in map(_read_run, _list(answer))}
    return found


def address_of(settings: Settings, flow_run_id: UUID) -> str | None:
    """Return where a person looks at a run; None when Prefect's place is not configured."""
    ui = settings.prefect_ui_url or (settings.prefect_api_url or "").rstrip("/").removesuffix("/api")
    return f"{ui.rstrip('/')}/runs/flow-run/{flow_run_id}" if ui else None


def _deployment(settings: Settings, patience: Patience) -> UUID:
    flow, _, name = (settings.prefect_deployment or "").partition("/")
    asked = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}, "limit": 1}
    found = _list(_asked(settings, "/deployments/filter", asked, patience))
    if not found:
        raise Misconfigured(f"Prefect has no deployment {settings.prefect_deployment}; deploy it, or mend AI_INFRA_PREFECT_DEPLOYMENT.")
    try:
        return UUID(found[0]["id"])
    except (KeyError, TypeError, ValueError):
        raise _strange() from None


def _asked(settings: Settings, path: str, body: dict[str, Any], patience: Patience) -> Any:
    base = outbound.endpoint("PREFECT_API_URL", settings.prefect_api_url or "")
    reply = outbound.post(
        PART, f"{base}{path}", canonical_json.dumps(body), headers=_headers(settings), patience=patience, max_bytes=_MAX_BYTES
    )
    if reply.status in (401, 403):
        raise Misconfigured("Prefect does not take PREFECT_API_KEY; give it one that may start runs.")
    if reply.status not in (200, 201):
        raise Misconfigured(f"Prefect answered {path} with HTTP {reply.status}; check PREFECT_API_URL and the deployment's parameters.")
    try:
        return canonical_json.loads(reply.body, what="Prefect's answer")
    except BadInput:
        raise _strange() from None


def _headers(settings: Settings) -> dict[str, str]:
    key = settings.prefect_api_key.get_secret_value() if settings.prefect_api_key else ""
    if not all("!" <= letter <= "~" for letter in key):
        raise Misconfigured("PREFECT_API_KEY must be printable ASCII without spaces.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _read_run(answer: Any) -> FlowRun:
    try:
        state = answer.get("state") or {}
        said = state.get("message") or state.get("name") or ""
        return FlowRun(UUID(answer["id"]), str(answer.get("state_type") or state.get("type") or ""), " ".join(str(said).split())[:300])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _strange() from None


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise _strange()
    return answer


def _strange() -> Unavailable:
    return Unavailable(PART, "Prefect's answer is not one of its API; check PREFECT_API_URL.")
