"""The OpenAPI document and a page to read and try it, made of files that come with the service: nothing is fetched from elsewhere."""

import json
from enum import StrEnum
from html import escape
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse

from aiinfra_core.http_api.access.identity import Demand

router = APIRouter(include_in_schema=False, dependencies=[Depends(Demand(("viewer",), open_read=True))])

_FILES = Path(fastapi_offline.__file__).parent / "static"
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</html>
"""
_SCRIPT = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
# The browser itself sees to it that nothing is fetched from or sent to anywhere else.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"


class PageFile(StrEnum):
    """A file the page is made of."""

    BUNDLE = "swagger-ui-bundle.js"
    STYLE = "swagger-ui.css"


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    """Give the OpenAPI document."""
    return Response(json.dumps(request.app.openapi()), media_type="application/json")


@router.get("/docs")
def docs(request: Request) -> Response:
    """Give the page that shows the document."""
    return Response(_PAGE.format(title=escape(request.app.title)), headers={"Content-Security-Policy": _POLICY}, media_type="text/html")


@router.get("/docs/page.js")
def script() -> Response:
    """Give the script that fills the page."""
    return Response(_SCRIPT, media_type="text/javascript")


@router.get("/docs/{name}")
def file(name: PageFile) -> Response:
    """Give a file the page is made of."""
    return FileResponse(_FILES / name, headers={"Cache-Control": "max-age=86400"})
