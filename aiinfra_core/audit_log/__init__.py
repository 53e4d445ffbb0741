"""The tamper-evident history, from a change to what outsiders hold.

    append, snapshot        an event goes into the outbox, inside the change's own transaction, with the rows as they are after it
    sequence, turns         the outbox goes into the signed chain, one caller at a time
    tiles, checkpoints      the Merkle tree over the chain, and its signed heads, published outside
    keeping_up              when both are done
    looking_after           the loop of a process that lives for long and does all of it
    delivering              events are brought to those who keep them elsewhere
    checking                all of it is checked again

Formats, hashes and proofs that need no database are rooms of `evidence`, not of this package.
"""
