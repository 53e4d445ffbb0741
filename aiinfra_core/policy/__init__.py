"""The gate: may this artifact become current there? Anything but a clear yes is a no, and the whole answer is kept.

`question` is what is asked, `gate` asks whoever the settings name: `local` (the minimum-quality rule) or `sentinelnet` (over HTTP).
Recording the decision does not live here.
"""
