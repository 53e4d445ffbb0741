"""Fuzz one parser with atheris, guided by coverage:  atheris_parsers.py PARSER [libFuzzer's options and corpus folders].

`scripts/fuzz.sh` installs atheris and runs every parser. Without arguments the parsers' names are printed.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["aiinfra_core"]):
    from tests.simulators.parsers import PARSERS, check


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's options say that it is enough; a crash or a false accept ends the process with an error."""
    if len(arguments) < 2:
        sys.stdout.write("".join(f"{name}\n" for name in PARSERS))
        return
    parser = PARSERS[arguments[1]]
    for corpus in [it for it in arguments[2:] if not it.startswith("-")]:
        (Path(corpus) / "good").write_bytes(parser.good)
    atheris.Setup([arguments[0], *arguments[2:]], lambda data: check(parser, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
