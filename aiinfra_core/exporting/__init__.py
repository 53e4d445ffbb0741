"""Write everything an auditor needs to re-check a model alone into one new directory.

    export       the whole way: bring the log up to date, gather, write, verify what was written, publish it under its name
    gathering    what belongs into an export, read out of one consistent state of the database
    writing      the files of an export, written into a folder

The layout is `evidence.bundle`'s, the check `evidence.verification`'s: an export that does not verify is never handed out.
"""
