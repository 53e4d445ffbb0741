"""Training: from a spec that names everything to bytes that can be made again.

`execute` is the front door: it chooses the executor and returns what came of it, without touching a database. `measure` is the other: it
runs an evaluation of an artifact in the same isolation.

    code            pins a work tree to a commit; puts exactly that commit's files into a clean directory
    git             runs git so that nobody's configuration, hooks or prompts take part
    git_tree        writes a commit's files exactly as they are, and no link that leads outside
    datasets        fetches each dataset once into a content-addressed cache and verifies it whenever it is used
    dataset_sources where a dataset's bytes come from: files, HTTP, S3
    environment     what the interpreter and the installed packages are, with a digest
    scratch         the directory a run works in: one at a time, begun empty
    process         runs the entry point with nothing inherited, a time limit and a captured log
    unreadable      keeps what this process knows from the trainings it starts
    supervisor      the small program between us and the entry point, which leaves no process behind
    captured_output keeps what a training prints, and hands it on line by line
    outcome         what a finished run wrote: its output, its metrics, and what it should not have touched
    deterministic   the other executor: an artifact derived from the declared inputs alone

What a job's status is, and where the output is stored, is decided elsewhere (`registry`, `artifact_store`).
"""
