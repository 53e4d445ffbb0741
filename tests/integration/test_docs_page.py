"""The pages of the API's documentation: served whole by the service itself, and shown by a real browser where one is installed."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from aiinfra_core.settings import Settings
from tests.simulators.http_story import is_problem, open_to_debug
from tests.simulators.service import AS_DEBUG, serving

BROWSER = shutil.which("chromium")


class _Addresses(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline_scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.found += [value for name, value in attrs if name in ("src", "href") and value is not None]
        self.inline_scripts += tag == "script" and "src" not in named


def test_the_page_and_all_it_is_made_of_come_from_the_service(settings: Settings) -> None:
    with serving(open_to_debug(settings)) as url, httpx.Client(base_url=url) as client:
        page = client.get("/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        addresses = _Addresses(page.text)
        assert addresses.inline_scripts == 0
        parts = [it for it in addresses.found if not it.startswith("data:")]
        assert len(parts) == 3
        for part in parts:
            assert "//" not in part
            answer = client.get(f"/{part}")
            assert (answer.status_code, len(answer.content) > 100) == (200, True), part
            if part.endswith(".css"):
                assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", answer.text)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not re.search(r"https?:|\*", policy)
        assert client.get("/openapi.json").json()["info"]["title"] == "AI & Infrastructure"


def test_where_reads_are_not_public_neither_are_the_pages(settings: Settings) -> None:
    with serving(open_to_debug(settings, public_reads=False)) as url, httpx.Client(base_url=url) as client:
        for path in ("/docs", "/docs/page.js", "/docs/swagger-ui.css", "/openapi.json"):
            assert is_problem(client.get(path), 401)
            assert client.get(path, headers=AS_DEBUG).status_code == 200
        assert is_problem(client.get("/docs/..%2fcore.py", headers=AS_DEBUG), 404)
        assert is_problem(client.get("/docs/redoc.standalone.js", headers=AS_DEBUG), 400)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_shows_the_operations_without_asking_anybody_else(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "network.json"
    with serving(open_to_debug(settings)) as url:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        shown = subprocess.run(
            [
                str(BROWSER),
                *options,
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--log-net-log={log}",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # what the browser itself would ask for, it does not get
                "--virtual-time-budget=15000",
                "--dump-dom",
                f"{url}/docs",
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        ).stdout
    assert "/ai-infra/promote" in shown.replace("\u200b", "")
    assert "Failed to load" not in shown
    events = json.loads(log.read_text())["events"]
    by_the_page = {it["params"]["url"] for it in events if it.get("params", {}).get("initiator") == url and "url" in it["params"]}
    assert by_the_page >= {f"{url}/openapi.json", f"{url}/docs/swagger-ui-bundle.js", f"{url}/docs/swagger-ui.css"}
    assert {it for it in by_the_page if not it.startswith((f"{url}/", "data:"))} == set()
