"""How examples stand below a command's help."""


def examples(*lines: str) -> str:
    """Return the text that shows how a command is typed."""
    return "\n".join(("Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)))
