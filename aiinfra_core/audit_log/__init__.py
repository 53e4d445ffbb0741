"""The tamper-evident history, from a change to what outsiders hold.

`append` puts an event into the outbox, inside the change's own transaction (`snapshot` says how rows are written into it); `sequence`
takes it into the signed chain, one caller at a time (`turns`); `tiles` keeps the Merkle tree over the chain and `checkpoints` publishes its
signed heads outside, `keeping_up` says when. `sinks` and `delivery` bring events to those who keep them elsewhere; `check` and `walk`
re-check it all. Formats, hashes and proofs that need no database are rooms of `evidence`, not of this package.
"""
