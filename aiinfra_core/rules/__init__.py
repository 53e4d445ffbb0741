"""Rules over plain data, in CEL: what a policy is once nothing about it is open, and what its rules say about some inputs.

`document` is that policy, `expressions` judges CEL, `judging` gives each rule its verdict and reason; `sandbox` has it done in a process of
its own, which is `worker` with the `confinement` it puts itself under. Where policies come from lives in `policy`, what they are asked in
`deciding`. This file imports nothing: the worker has the standard library alone.
"""
