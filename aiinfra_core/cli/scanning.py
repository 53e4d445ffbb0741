"""`scan`: look into a version again, and say what was found."""

from aiinfra_core.cli.exit_codes import ExitCode
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_table, working
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.cli.typed import Reference, RequestedBy, person, reference
from aiinfra_core.domain.scan import HARMLESS, IN_WORDS
from aiinfra_core.scanning.scan import scan_again


def scan(artifact: Reference, /, *, requested_by: RequestedBy = None, as_json: AsJson = False) -> ExitCode:
    """Look into an artifact and record, signed, what was found."""
    settings = running_parts()
    with working(f"Looking into {artifact}"):
        known, found = scan_again(settings, reference(settings, artifact), person(requested_by))
    if as_json:
        say_json(found)
    else:
        say(f"{known.model}:{known.version} is {found.verdict}: {IN_WORDS[found.verdict]}.")
        say_fields({"scanner": found.scanner, "statement": found.attestation, "scanned": f"{found.created_at:%Y-%m-%d %H:%M} UTC"})
        rows = [(f"  {one.file or '(the file)'}", one.format, one.verdict, one.detail) for one in found.findings]
        say_table(("  FILE", "FORMAT", "VERDICT", "WHY"), rows)
    return ExitCode.OK if found.verdict in HARMLESS else ExitCode.REFUSED
