"""What a serving process has from its first request to its last: what is looked after beside them, traces, connections."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from aiinfra_core import database
from aiinfra_core.approving import waiting
from aiinfra_core.artifact_store import recorded
from aiinfra_core.audit_log import keeping_up
from aiinfra_core.http_api import tracing
from aiinfra_core.rolling_out import beside


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Begin and end what runs beside the requests; all of it is begun here, after the process was forked."""
    settings = app.state.settings
    to_thread.current_default_thread_limiter().total_tokens = settings.worker_threads
    stack = ExitStack()
    stack.callback(database.close_connections)
    stack.enter_context(recorded.leaving_threads_free(settings))
    stack.enter_context(tracing.sending(app.state.tracer_provider))
    await to_thread.run_sync(stack.enter_context, keeping_up.in_background(settings))
    stack.enter_context(waiting.in_thread(settings))
    stack.enter_context(beside.in_threads(settings))
    try:
        yield
    finally:
        await to_thread.run_sync(stack.close)
