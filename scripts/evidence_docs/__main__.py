"""Write docs/schemas and docs/examples/envelopes anew: `python -m scripts.evidence_docs`.

With `--release VERSION`, keep the envelopes of a release in tests/released_envelopes.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from aiinfra_core.checksums import sha256_hex, sums_text
from scripts.evidence_docs.examples import examples
from scripts.evidence_docs.schemas import schemas

ROOT = Path(__file__).parents[2]


def release(version: str) -> None:
    """Write tests/released_envelopes/VERSION, once: what is there is never changed."""
    folder, files = ROOT / "tests/released_envelopes" / version, examples()
    folder.mkdir()
    _write(folder, {**files, "MANIFEST": sums_text({name: sha256_hex(data) for name, data in files.items()})})


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m scripts.evidence_docs", description=__doc__)
    parser.add_argument("--release", metavar="VERSION")
    if version := parser.parse_args().release:
        release(version)
    else:
        _write(ROOT / "docs/schemas", schemas())
        _write(ROOT / "docs/examples/envelopes", examples())
