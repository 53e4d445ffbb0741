"""The HTTP front door: `aiinfra serve`.

`app` puts it together; `routes/` has a file for each group of addresses, each calling one core function; `access/` says who asks and
whether they may; `problems` gives errors their status; `paging`, `idempotency`, `strict_json` are what routes share. `server` forks the
processes that run it and `worker` is what each does, with `tls` and `lifespan`; `logs` with `redaction`, `tracing` and `readiness` are for
those who watch it. What things are called on the wire is in `aiinfra_core.wire`; no rule about models lives here.
"""
