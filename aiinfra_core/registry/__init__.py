"""Every state change, each writing its own audit event in the same transaction.

One file per thing that has a state: `jobs`, `artifacts`, `evaluations`, `promotions` and `promotion_moves`; `requests` makes a write
happen once, `attestations` keeps signed statements, `evidence` says what each has to hold, `dossier` is all that a promotion's steps look
at. `rows` and `writes` are how all of them write. Functions take a transaction and never call a store,
a signer or a gate: the ordered steps around them are in `jobs`, `registering` and `promoting` above.

What is only read has files of its own: `search` (lists, walked by `listing`), `reading` (one thing), `lineage` and `proving`; `as_sent`
lets the database write the JSON of their answers.
"""
