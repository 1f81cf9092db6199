"""The OpenAPI description: as it was agreed, true to the types, and kept to under data that is made up from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from ledger.store.database import Database
from tests.http.serving import AT, Api, Server, a_key, purchase
from tests.waiting import PATIENCE_SECONDS

GOLDEN = Path(__file__).parent / "openapi.json"
SECONDS = 30
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,negative_data_rejection,unsupported_method,ignored_auth"
)
CONFIG = """
headers = {{ Authorization = "Bearer {key}" }}
[dictionaries.members]
values = ["a", "b"]
[dictionaries.instants]
values = ["2026-03-01T10:00:00Z"]
[parameters]
"path.programme" = "club"
"path.member" = "a"
"body.member" = {{ dictionary = "members", probability = 0.9 }}
"body.occurred_at" = {{ dictionary = "instants", probability = 0.9 }}
"""


@pytest.fixture(scope="module")
def described(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/v1/docs/openapi.json", timeout=PATIENCE_SECONDS).json()
    return found


def test_it_is_as_agreed(described: dict[str, Any]) -> None:
    """After a change that is meant: LOYALTY_WRITE_GOLDEN=1 pytest tests/http/test_description.py."""
    text = json.dumps(described | {"info": described["info"] | {"version": "*"}}, indent=1, sort_keys=True) + "\n"
    if os.environ.get("LOYALTY_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_it_is_openapi_3_1_and_complete(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    operations = [one for item in described["paths"].values() for one in item.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert all(one["summary"] for one in operations)
    references = set(_references(described))
    assert {name.rpartition("/")[2] for name in references} <= described["components"]["schemas"].keys()


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_bodies_that_are_taken_fit_and_others_do_not(described: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/commands.RecordPurchase", "components": described["components"]}
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(purchase("m"))
    assert check.is_valid({key: value for key, value in purchase("m").items() if key != "id"})
    for wrong in ({"type": "purchase.v1"}, {"programme": "club"}, {"lines": []}, {"currency": "DOLLARS"}):
        assert not check.is_valid(purchase("m") | wrong)


def test_it_holds_under_data_that_is_made_up(
    server: Server, keys: Database, described: dict[str, Any], tmp_path: Path
) -> None:
    """Schemathesis, with data that fits and that does not: never a 5xx, and answers are what was promised."""
    key = a_key(keys, "admin", None)
    api = Api(server.url, key)
    for member in ("a", "b"):
        assert api.post("members", {"id": f"enrol {member}", "member": member, "occurred_at": AT}).status_code == 201
    api.close()
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(key=key))
    run = subprocess.run(
        [Path(sys.executable).parent / "schemathesis", "--config-file", str(config), "run",
         f"{server.url}/v1/docs/openapi.json", "--phases", "fuzzing,stateful",
         "--checks", CHECKS,
         "--exclude-operation-id", "StreamChanges", "-n", "15", "--seed", "1",
         "--max-time", str(SECONDS), "--request-timeout", str(PATIENCE_SECONDS), "--no-color",
         "--suppress-health-check", "filter_too_much,too_slow"],  # how well it makes data up, not how it is answered
        capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS + PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-8_000:] + run.stderr[-2_000:]
    assert "Traceback" not in server.log()
    selected = sum(len(item) for item in described["paths"].values()) - 1
    assert f"Selected: {selected}/{selected + 1}" in run.stdout
