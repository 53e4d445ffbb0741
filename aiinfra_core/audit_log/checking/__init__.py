"""The whole history, checked again: chain, signatures, tree, checkpoints, copies and every state row.

check        a whole or an incremental check, start to end: the findings
stretches    the log cut into stretches;  workers  processes that walk them;  walk  what is checked in one (pure)
joining      stretches put together in order
tree, tree_check    the Merkle tree, against tiles and checkpoints inside and outside
state_rows, envelopes   rows against the events that tell of them, attestations against their envelopes
verified     what was verified so far, kept so that a check can go on;  beginning  from where it may
"""
