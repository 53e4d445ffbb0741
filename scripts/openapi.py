"""Write docs/openapi.json as the service gives it: `python -m scripts.openapi`; a test holds both equal."""

import json
from pathlib import Path

from aiinfra_core.http_api.app import create_app
from aiinfra_core.settings import Settings

WRITTEN = Path(__file__).parent.parent / "docs" / "openapi.json"


def text() -> str:
    """Return the document as it is kept."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text())
