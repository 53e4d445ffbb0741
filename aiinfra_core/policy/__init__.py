"""The gate: may this artifact become current there? Anything but a clear yes is a no, and the whole answer is kept.

`question` is what is asked over HTTP (`sentinelnet`); `files`, `policy_file` and `yaml_reading` make the local policy out of YAML, `local`
decides by it, `cases` tries a file's own tests; `gate` knows who has to be asked and what answers mean together. Gathering what rules see
and recording decisions does not live here.
"""
