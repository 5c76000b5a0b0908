"""What the documents say of HTTP is what happens: OpenAPI, its page, and the READMEs."""

import asyncio
import base64
import hashlib
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.amqp import RESULTS, peer
from support.broker import Broker
from support.web import Site, site
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = Path(__file__).parent.parent.parent
CURL_LINES = [
    line
    for name in ("schemas/README.md", "README.md")
    for line in (ROOT / name).read_text().splitlines()
    if line.startswith("curl ")
]
TOKEN = "the-token-of-these-tests"
PATHS = {
    "/submissions/new",
    "/submissions/{id}",
    "/submissions/{id}/events",
    "/languages",
    "/status",
    "/metrics",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
}


@pytest.fixture(scope="module")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon for all tests of this module but the one that needs its own port."""
    log = tmp_path_factory.mktemp("web") / "daemon.log"
    settings = {"http__tokens": TOKEN, "http__wait_s": "0.5", "http__event_stream_s": "0.1"}
    async with site(log, broker__url=broker.fresh_vhost(), **settings) as shared:
        yield shared


async def run(*argv: str, cwd: Path, limit_s: float = 60) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(limit_s):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.slow
async def test_generated_requests_are_answered_as_the_document_says(shared: Site, tmp_path: Path) -> None:
    """schemathesis: valid and broken requests to every route; each answer is one that it has."""
    code, out, _ = await run(
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"http://127.0.0.1:{shared.port}/openapi.json",
        f"--header=Authorization: Bearer {TOKEN}",
        "--phases=examples,coverage,fuzzing",
        # A compiler option of another form than its language allows is refused, which no schema can tell.
        "--exclude-checks=positive_data_acceptance",
        "--max-examples=10",
        "--max-time=3",
        "--workers=2",
        "--suppress-health-check=all",
        "--generation-database=none",
        "--seed=1",
        "--no-color",
        cwd=tmp_path,
    )
    tried = re.search(r"(\d+) generated", out)

    assert 0 == code, out
    assert tried is not None
    assert int(tried[1]) > 0  # hundreds on a machine that is not busy
    assert [] == shared.daemon.logged("http.failed")


async def test_document_has_every_route_and_the_bounds_in_force(shared: Site) -> None:
    """With the schemas of the wire contract, and references that lead somewhere."""
    _, document = await shared.get("/openapi.json")
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
    needs_token = {path for path, (operation,) in operations(document).items() if operation["security"]}

    assert "3.1.0" == document["openapi"]
    assert set(document["paths"]) == PATHS
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)
    assert 60 == schemas["Submission"]["properties"]["cpu_time_limit"]["maximum"]
    open_paths = {"/healthz", "/readyz", "/openapi.json", "/docs"}
    assert PATHS - open_paths == needs_token
    Draft202012Validator.check_schema({"$defs": schemas})


async def test_document_has_what_linters_recommend(shared: Site) -> None:
    """Rules of redocly's recommended set: a server, and security and a 4xx answer everywhere."""
    _, document = await shared.get("/openapi.json")
    found = [operation for (operation,) in operations(document).values()]

    assert [{"url": "/", "description": "This daemon."}] == document["servers"]
    assert all("security" in operation for operation in found)
    assert all(any(status.startswith("4") for status in operation["responses"]) for operation in found)
    assert len(found) == len({operation["operationId"] for operation in found})


def operations(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {path: list(methods.values()) for path, methods in document["paths"].items()}


async def test_examples_are_valid(shared: Site) -> None:
    """The submission, and the result that it leads to."""
    _, document = await shared.get("/openapi.json")
    submit = document["paths"]["/submissions/new"]["post"]
    sent = submit["requestBody"]["content"]["application/json"]["example"]
    answer = submit["responses"]["200"]["content"]["application/json"]["example"]

    assert {"source_code", "language"} <= set(sent)
    assert ("accepted", sent["expected_output"]) == (answer["status"], answer["stdout"].rstrip())
    for name, example in ("Submission", sent), ("Result", answer):
        schema = json.loads(json.dumps(document["components"]).replace("#/components/schemas/", "#/schemas/"))
        Draft202012Validator(schema | {"$ref": f"#/schemas/{name}"}).validate(example)


async def test_root_leads_to_the_page(shared: Site) -> None:
    """Without a token, as the page itself."""
    async with shared.client.get("/") as response:
        page = await response.text()

    assert (200, "/docs") == (response.status, response.url.path)
    assert "<title>verdictd" in page


async def test_page_loads_nothing_from_elsewhere(shared: Site) -> None:
    """One file; the policy lets its own script and style run, and nothing be fetched from other hosts."""
    async with shared.client.get("/docs") as response:
        page, policy = await response.text(), response.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    assert "text/html" == response.content_type
    assert ["openapi.json"] == re.findall(r'(?:src|href|action)="([^"]*)"', page)
    assert ["openapi.json"] == re.findall(r'fetch\("([^"]*)"', page)
    assert [] == re.findall(r"://|@import|(?<!c)url\(", page)
    assert ["'none'"] * 4 == [
        rules[f"{name}"] for name in ("default-src", "base-uri", "form-action", "frame-ancestors")
    ]
    assert "'self'" == rules["connect-src"]
    for tag in ("script", "style"):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" == rules[f"{tag}-src"]


async def test_page_shows_every_route(shared: Site, tmp_path: Path) -> None:
    """Its script, run by Node.js with next to no browser, tells all that there is."""
    async with shared.client.get("/docs") as response:
        (script,) = re.findall(r"<script>(.*?)</script>", await response.text(), re.DOTALL)
    _, document = await shared.get("/openapi.json")
    browser = """
        class Element {
          constructor() { this.parts = []; }
          set textContent(text) { this.parts = [String(text)]; }
          append(...parts) { this.parts.push(...parts); }
          links() { return [this.href, ...this.parts.flatMap((part) => part.links ? part.links() : [])]; }
          ids() { return [this.id, ...this.parts.flatMap((part) => part.ids ? part.ids() : [])]; }
          text() { return this.parts.map((part) => part.text ? part.text() : part).join("\\n"); }
        }
        const known = {};
        globalThis.document = {
          createElement: () => new Element(),
          getElementById: (id) => known[id] ??= new Element(),
        };
        globalThis.location = { href: "http://127.0.0.1:8080/docs" };
        globalThis.fetch = async () => ({ json: async () => (DOCUMENT) });
    """.replace("DOCUMENT", json.dumps(document))
    show = """
        setTimeout(() => {
          const all = Object.values(known);
          const ids = new Set(all.flatMap((one) => one.ids()));
          const dangling = all.flatMap((one) => one.links()).filter((to) => to && !ids.has(to.slice(1)));
          console.log([...all.map((one) => one.text()), `${dangling.length} links lead nowhere`].join("\\n"));
        });
    """
    (tmp_path / "page.js").write_text(browser + script + show)
    code, text, err = await run("node", str(tmp_path / "page.js"), cwd=tmp_path)

    assert 0 == code, err
    assert set() == {path for path in PATHS if path not in text.splitlines()}
    assert set() == {name for name in document["components"]["schemas"] if name not in text.splitlines()}
    assert "0 links lead nowhere" in text.splitlines()
    assert ["Submission", "Result", "Event"] == list(document["components"]["schemas"])[:3]
    command = text[text.index("curl -X POST") :]
    assert command.startswith("curl -X POST 'http://127.0.0.1:8080/submissions/new?wait=true'")


def test_readmes_show_how_to_publish_over_http() -> None:
    """There are two lines to test."""
    assert 2 == len(CURL_LINES)


async def test_curl_lines_of_the_readmes_work_as_printed(amqp_url: str, tmp_path: Path) -> None:
    """The first publishes, the second has the result; unchanged but for the port."""
    async with (
        site(tmp_path / "daemon.log", broker__url=amqp_url) as served,
        peer(amqp_url) as client,
    ):
        published, waited = [
            await run("curl", "-sS", *shlex.split(line.replace(":8080", f":{served.port}"))[1:], cwd=tmp_path)
            for line in CURL_LINES
        ]
        answer = Result.model_validate_json((await client.take(RESULTS)).body)
    result = Result.model_validate_json(waited[1])

    assert (0, {"id": answer.id}) == (published[0], json.loads(published[1]))
    assert ("accepted", "hello world\n") == (answer.status, answer.stdout)
    assert (0, "accepted", "42\n") == (waited[0], result.status, result.stdout)
