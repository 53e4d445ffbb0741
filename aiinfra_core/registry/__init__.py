"""Every state change, each writing its own audit event in the same transaction.

One file per thing that has a state: `jobs`, `artifacts`, `evaluations`, `promotions`; `requests` makes a write happen once,
`attestations` keeps signed statements, `rows` is how all of them write. Functions take a transaction and never call a store,
a signer or a gate: the ordered steps around them are in `jobs`, `registering` and `promoting` above.
"""
