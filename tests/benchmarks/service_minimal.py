"""The service the figures are compared with: FastAPI, psycopg and one row, written as their guides have it; started by service_figures.

A request takes a connection from a pool, and what it does is one transaction (as `with pool.connection()` of psycopg_pool is).
"""

import json
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from pydantic import BaseModel

TABLE = """
CREATE TABLE IF NOT EXISTS bench_rows (id uuid PRIMARY KEY, model text NOT NULL, artifact_uri text NOT NULL, checksum text NOT NULL,
  metadata json NOT NULL, created_at timestamptz NOT NULL DEFAULT now())
"""
_INSERT = "INSERT INTO bench_rows (id, model, artifact_uri, checksum, metadata) VALUES (%s, %s, %s, %s, %s) RETURNING *"
_READ = "SELECT * FROM bench_rows WHERE id = %s"
_CONNECTIONS = 40


class Asked(BaseModel):
    """What is inserted."""

    model: str
    artifact_uri: str
    checksum: str
    metadata: dict[str, Any] = {}


app = FastAPI()
_free: queue.LifoQueue[psycopg.Connection[dict[str, Any]] | None] = queue.LifoQueue()
for _ in range(_CONNECTIONS):
    _free.put(None)


@contextmanager
def _connection() -> Iterator[psycopg.Connection[dict[str, Any]]]:
    kept = _free.get() or psycopg.connect(os.environ["BENCH_DATABASE_URL"], row_factory=dict_row)
    try:
        with kept.transaction():
            yield kept
    finally:
        _free.put(kept)


@app.post("/rows", status_code=201)
def insert(asked: Asked) -> dict[str, Any]:
    """Insert one row and return it."""
    values = (uuid4(), asked.model, asked.artifact_uri, asked.checksum, json.dumps(asked.metadata))
    with _connection() as connection:
        return connection.execute(_INSERT, values).fetchone() or {}


@app.get("/rows/{row_id}")
def read(row_id: UUID) -> dict[str, Any]:
    """Return one row."""
    with _connection() as connection:
        row = connection.execute(_READ, (row_id,)).fetchone()
    if row is None:
        raise HTTPException(404)
    return row
