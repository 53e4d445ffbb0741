"""Rules over plain data, in CEL: what a policy is once nothing about it is open, and what its rules say about some inputs.

Where policies come from and what they are asked lives in `policy` and `deciding`.
"""
