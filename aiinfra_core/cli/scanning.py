"""`scan`: look into a version again, and say what was found."""

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, RequestedBy, person, reference
from aiinfra_core.domain.scan import Verdict
from aiinfra_core.scanning.scan import scan_again

_GOOD = (Verdict.NO_CODE, Verdict.SAFE)
_IN_WORDS = {
    Verdict.NO_CODE: "its formats cannot hold code",
    Verdict.SAFE: "it holds only what is known to do no harm",
    Verdict.SUSPICIOUS: "loading it runs code that nobody knows here",
    Verdict.UNSAFE: "loading it runs code that does harm",
    Verdict.UNKNOWN: "nobody could tell what loading it does",
}


def scan(artifact: Reference, /, *, requested_by: RequestedBy = None, as_json: AsJson = False) -> ExitCode:
    """Look into an artifact and record, signed, what was found."""
    settings = running_parts()
    with working(f"Looking into {artifact}"):
        known, found = scan_again(settings, reference(settings, artifact), person(requested_by))
    if as_json:
        say_json(found)
    else:
        say(f"{known.model}:{known.version} is {found.verdict}: {_IN_WORDS[found.verdict]}.")
        say_fields({"scanner": found.scanner, "statement": found.attestation, "scanned": f"{found.created_at:%Y-%m-%d %H:%M} UTC"})
        rows = [(f"  {one.file or '(the file)'}", one.format, one.verdict, one.detail) for one in found.findings]
        say_table(("  FILE", "FORMAT", "VERDICT", "WHY"), rows)
    return ExitCode.OK if found.verdict in _GOOD else ExitCode.REFUSED
