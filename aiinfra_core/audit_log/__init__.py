"""The tamper-evident history: `append` (inside the change's own transaction), `sequence` (into the signed chain), `check` (re-check it).

`snapshot` says how a state row is written into its event, so that rows and events can be compared. Merkle proofs and
checkpoints are rooms of `evidence`, not of this package.
"""
