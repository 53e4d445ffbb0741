"""What stands in during development for a part nobody configured; production refuses every one of them.

- `defaults`         which settings are missing, and what is filled in for them
- `postgres`         a PostgreSQL server of our own, on a Unix socket only
- `prefect_server`   one local Prefect server with its UI
- `development_key`  an Ed25519 key made once
- `processes`        starting, recognising and ending processes that outlive the one that started them

Nothing is started, and nothing is written, when one of these is imported.
"""
