"""The command line: reads what was typed, calls the core, prints what came of it. It knows no rule of its own and no Prefect.

    app          every command with its help text; `main`, where errors become one line and an exit code
    exit_codes   which error ends in which exit code; only here
    typed        what was typed, made into the core's records
    parts        the settings with every part running
    registry     where the work is done: in this installation (`here`) or, with --server, at a service (`there`)
    output       tables, JSON, progress
    the rest     one small file per group of commands

A command's module, and with it the core, is imported only when the command is typed: `aiinfra --help` stays quick.
"""
