"""The description of the API in OpenAPI 3.1: Litestar generates it, but for the bodies of commands."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any, Final, cast

import msgspec
from litestar import Litestar, Request
from litestar.datastructures import ResponseHeader
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from ledger.commands import Command, CreateProgramme, RecordPurchase
from service.http.command_routes import CREATE_PROGRAMME, ROUTES
from service.http.problems import MEDIA_TYPE, ProblemDetails

PREFIX: Final = "commands."
"""Of the names of the schemas of bodies, which may also be the names of what is read."""
POSITION_HEADER: Final = ResponseHeader(
    name="Ledger-Position",
    documentation_only=True,
    description="`journal:position` of what was recorded, for `at_least` of a read; of several journals with commas.",
)
AS_OF_HEADERS: Final = (
    ResponseHeader(name="ETag", documentation_only=True, description="Of the body; for If-None-Match."),
    ResponseHeader(
        name="Ledger-As-Of",
        documentation_only=True,
        description="`journal:position`, with commas between several: everything up to there was folded in.",
    ),
    ResponseHeader(
        name="Ledger-Behind",
        documentation_only=True,
        description="How many recorded events were not folded in yet: 0 means that the answer is up to date.",
    ),
)
_WORDS: Final = {
    400: "The request is not one that the path takes",
    401: "No known key",
    403: "The key may not do this",
    404: "There is no such thing",
    408: "The request took too long to arrive",
    409: "It is there already, with other input",
    413: "The body is too large",
    422: "The ledger refuses the command: `code` says why",
    429: "The key was used too often",
    500: "The server failed",
    503: "The database is away, a read model is behind, or the server is stopping: try again",
}
PROBLEMS: Final = {
    status: ResponseSpec(ProblemDetails, description=words, media_type=MEDIA_TYPE, generate_examples=False)
    for status, words in _WORDS.items()
}
_UNCHANGED: Final = ResponseSpec(None, description="It is what the client has already", generate_examples=False)
READ_PROBLEMS: Final = {304: _UNCHANGED} | {status: PROBLEMS[status] for status in (400, 401, 403, 404, 429, 500, 503)}

_DESCRIPTION: Final = """\
The ledger over HTTP. Every request has a key, `Authorization: Bearer <key>`, which `loyalty key create` makes.

Commands answer when what they recorded is durable. Points and money are whole numbers; money is in minor units.
Errors are `application/problem+json` with a stable `code`, and the `field` and `rule` they are about.
Names in a path are percent-encoded: a member `a/b` is `a%2Fb`.
"""


def operation_with_body(schema: str) -> type[Operation]:
    """An operation whose body has a schema of the components."""

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            content = {"application/json": OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{schema}"))}
            self.request_body = RequestBody(required=True, content=content)

    return OperationWithBody


def openapi_config() -> OpenAPIConfig:
    """What Litestar is told; the page and the document are at /v1/docs and /v1/docs/openapi.json."""
    return OpenAPIConfig(
        title="Loyalty ledger",
        version=version("loyalty-ledger"),
        description=_DESCRIPTION,
        path="/v1/docs",
        render_plugins=[ReferencePage(path="/")],
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer", description="loyalty key create")}
        ),
        security=[{"key": []}],
    )


def add_bodies(app: Litestar) -> None:
    """Add the schemas of the bodies to the description of an application."""
    schemas = app.openapi_schema.components.schemas
    schemas |= cast(dict[str, Schema], body_schemas())


def body_schemas() -> dict[str, Any]:
    """The JSON Schemas of the bodies: those of the commands, without what the path or the key says."""
    routes = (CREATE_PROGRAMME, *ROUTES)
    _, found = msgspec.json.schema_components(
        [route.command for route in routes],
        schema_hook=lambda _: {"description": "Any value."},  # a terms document has a schema of its own
        ref_template=f"#/components/schemas/{PREFIX}{{name}}",
    )
    for route in routes:
        _say_less(found[route.command.__name__], route.command)
    schemas = {f"{PREFIX}{name}": schema for name, schema in sorted(found.items())}
    purchase = f"#/components/schemas/{PREFIX}{RecordPurchase.__name__}"
    schemas["PurchaseBatch"] = {
        "title": "PurchaseBatch",
        "description": "Up to 5,000 purchases, each as it would be posted alone.",
        "type": "object",
        "properties": {"purchases": {"type": "array", "items": {"$ref": purchase}, "minItems": 1, "maxItems": 5_000}},
        "required": ["purchases"],
        "additionalProperties": False,
    }
    return schemas


def _say_less(schema: dict[str, Any], command: type[Command]) -> None:
    said = {"type"} if command is CreateProgramme else {"type", "programme"}
    for name in said:
        del schema["properties"][name]
    schema["properties"]["id"]["description"] = "May be left out where the header Idempotency-Key has it."
    schema["properties"]["source"]["description"] = "That of the key; may be left out."
    known_elsewhere = said | {"id", "source"}
    schema["required"] = [name for name in schema["required"] if name not in known_elsewhere]
    if command is CreateProgramme:
        schema["required"].append("programme")


# --- the page -----------------------------------------------------------------------------------------------------


class ReferencePage(OpenAPIRenderPlugin):
    """The description as a page without scripts, that loads nothing."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page as UTF-8."""
        return page(openapi_schema).encode()


def page(schema: dict[str, Any]) -> str:
    """A page that lists the operations of a description and its schemas."""
    operations = [
        (path, method, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and "responses" in operation
    ]
    parts = [_operation(path, method, operation) for path, method, operation in operations]
    schemas = [_schema(name, found) for name, found in sorted(schema["components"]["schemas"].items())]
    return _PAGE.format(
        title=escape(schema["info"]["title"]),
        version=escape(schema["info"]["version"]),
        description=_paragraphs(schema["info"].get("description", "")),
        operations="\n".join(parts),
        schemas="\n".join(schemas),
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
        f"<td>{_type(one.get('schema', {}))}</td><td>{escape(one.get('description') or '')}</td></tr>"
        for one in operation.get("parameters", ())
    )
    body = "".join(
        f"<p>Body: {_type(one['schema'])}</p>" for one in operation.get("requestBody", {}).get("content", {}).values()
    )
    answers = "".join(
        f"<li><b>{escape(status)}</b> {escape(one.get('description', ''))}"
        + "".join(f" {_type(content['schema'])}" for content in (one.get("content") or {}).values())
        + "</li>"
        for status, one in operation["responses"].items()
    )
    parameters = f"<table><tbody>{rows}</tbody></table>" if rows else ""
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{escape(method.upper())}</b>'
        f" <code>{escape(path)}</code> {escape(operation.get('summary') or '')}</summary>"
        f"{_paragraphs(operation.get('description') or '')}{parameters}{body}<ul>{answers}</ul></details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{'required' if field in required else ''}</td>"
        f"<td>{_type(found)}</td><td>{escape(found.get('description') or '')}</td></tr>"
        for field, found in schema.get("properties", {}).items()
    )
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_paragraphs(schema.get('description') or '')}<table><tbody>{rows}</tbody></table></details>"
    )


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words; one of the components as a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if "const" in schema or "enum" in schema:
        return " | ".join(escape(str(value)) for value in schema.get("enum", [schema.get("const")]))
    for together in ("oneOf", "anyOf"):
        if together in schema:
            return " | ".join(_type(one) for one in schema[together])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or {})}"
    kinds = schema.get("type", "any")
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("maximum", "≤"), ("minLength", "length ≥"), ("maxLength", "length ≤"))
        if name in schema
    ]
    shown = " | ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return escape(" ".join([schema.get("format", shown), *bounds]))


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
summary {{ cursor: pointer; padding: .25rem 0; }}
details {{ border-bottom: 1px solid #8884; }}
table {{ border-collapse: collapse; }}
td {{ padding: .15rem .8rem .15rem 0; vertical-align: top; }}
</style>
</head>
<body>
<h1>{title} {version}</h1>
{description}
<p><a href="/v1/docs/openapi.json">openapi.json</a></p>
<h2>Operations</h2>
{operations}
<h2>Schemas</h2>
{schemas}
</body>
</html>
"""
