"""Settings, from the environment: the only place that reads it, and the table of what it may say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
import psycopg2
from msgspec import Meta, Struct
from psycopg2.extensions import make_dsn, parse_dsn

PREFIX: Final = "LOYALTY_"
DATABASE_URL: Final = "LOYALTY_DATABASE_URL"
MASK: Final = "***"
UNREADABLE: Final = "(cannot be read, so it is not shown)"
ELSEWHERE: Final = frozenset(
    {
        "LOYALTY_JOURNAL",  # applications of the eventsourcing library: ledger.store.factory
        "LOYALTY_KAFKA_CACHE",  # tests and benchmarks
        "LOYALTY_PROPERTY_EXAMPLES",
        "LOYALTY_SCREENSHOTS",
        "LOYALTY_SOAK_UNFENCED",
        "LOYALTY_TEST_CHROMIUM",
        "LOYALTY_TEST_DATABASE_URL",
        "LOYALTY_TEST_KAFKA",
    }
)
"""Names that are known and are no settings of the program."""

_SECRETS_OF_A_DSN: Final = ("password", "sslpassword")


def _variable(name: str, meaning: str, rule: str = "", default: str = "") -> Meta:
    """What the table says of a setting; `rule` completes the sentence "must be …"."""
    return Meta(description=meaning, extra={"name": PREFIX + name, "rule": rule, "default": default})


class Settings(Struct, frozen=True, kw_only=True):
    """What the environment says; an empty variable counts as unset. `variables` has the table."""

    database_url: Annotated[
        str | None,
        _variable(
            "DATABASE_URL",
            "the PostgreSQL server to use, a libpq URI or `key=value` pairs; run `loyalty migrate` as the owner first",
            "a connection string of libpq, such as postgresql://user@host:5432/loyalty",
            "an embedded one",
        ),
    ] = None
    data_directory: Annotated[
        Path, _variable("DATA_DIR", "where the embedded server keeps its data", default="./loyalty-data")
    ] = Path("loyalty-data")
    programme: Annotated[str, _variable("PROGRAMME", "the programme of commands and messages that name none")] = ""
    kafka_bootstrap: Annotated[
        Annotated[str, Meta(pattern=r"^[^\s,]+:[0-9]{1,5}(,[^\s,]+:[0-9]{1,5})*$")] | None,
        _variable(
            "KAFKA_BOOTSTRAP",
            "`host:port` of Kafka brokers, between commas, for `consume`, `relay` and `lag`",
            "host:port of one or more brokers, between commas",
        ),
    ] = None
    checkpoint_key_file: Annotated[
        Path | None,
        _variable("CHECKPOINT_KEY_FILE", "the file with the private key that signs checkpoints; mode 0600"),
    ] = None
    verifier_keys: Annotated[
        tuple[str, ...],
        _variable("VERIFIER_KEYS", "verifier keys that are trusted, of the ledger and its witnesses, between spaces"),
    ] = ()
    log_format: Annotated[
        Literal["text", "json"],
        _variable("LOG_FORMAT", "how long-running commands log: `text` or `json`, a line each", "text or json", "text"),
    ] = "text"
    metrics_port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        _variable(
            "METRICS_PORT",
            "the port for `/metrics`, `/health/live` and `/health/ready` of `consume`, `relay`, `project` and `serve`",
            "a port, 1 to 65535",
            "none",
        ),
    ] = None
    metrics_host: Annotated[
        str, _variable("METRICS_HOST", "the address to listen on there; `0.0.0.0` in a container", default="127.0.0.1")
    ] = "127.0.0.1"
    ready_lag_max: Annotated[
        Annotated[int, Meta(ge=0)],
        _variable(
            "READY_LAG_MAX",
            "so many events may a read model be behind, where `/health/ready` of `project` is to say ready",
            "a number of events, 0 or more",
            "100000",
        ),
    ] = 100_000
    read_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=3_600)],
        _variable(
            "READ_SECONDS",
            "so many seconds may a read of `serve` take; then it is answered with 503",
            "a number of seconds, above 0, at most 3600",
            "30",
        ),
    ] = 30.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings as the environment has them now. Raises SettingsError, which names all that is wrong."""
        found = read_environment(environment)
        if found.problems:
            raise SettingsError("; ".join(found.problems.values()))
        return cls(**found.values)


class SettingsError(ValueError):
    """A variable of the environment is not what it must be."""


class Variable(Struct, frozen=True, kw_only=True):
    """A row of the table: the variable, the field of Settings that it sets, and words about it."""

    name: str
    field: str
    meaning: str
    rule: str
    default: str


class Reading(Struct, frozen=True, kw_only=True):
    """What an environment says: values by field; what is wrong, by variable; names that nothing knows, with the one
    that was probably meant, or "".
    """

    values: dict[str, Any]
    problems: dict[str, str]
    unknown: dict[str, str]


def variables() -> list[Variable]:
    """The settings there are, in the order of the table."""
    return [
        Variable(field=field, meaning=str(meta.description), **(meta.extra or {})) for field, _, meta in _annotated()
    ]


def table() -> str:
    """The table in Markdown, as docs/operating.md has it."""
    rows = (f"| `{each.name}` | {each.meaning} |{_as_code(each.default)} |" for each in variables())
    return "\n".join(["| variable | meaning | default |", "| --- | --- | --- |", *rows]) + "\n"


def read_environment(environment: Mapping[str, str] = os.environ) -> Reading:
    """Read every setting; what is wrong with one does not hide the others."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    names: set[str] = set()
    for field, hint, meta in _annotated():
        name, rule = (meta.extra or {})["name"], (meta.extra or {})["rule"]
        names.add(name)
        text = environment.get(name)
        if not text:
            continue
        try:
            values[field] = _value(field, hint, text)
        except (msgspec.ValidationError, psycopg2.ProgrammingError):
            problems[name] = f"{name}: must be {rule}" + ("" if field == "database_url" else f", not {text!r}")
    given = {name for name in environment if name.startswith(PREFIX)}
    unknown = {name: _probably(name, names) for name in sorted(given - names - ELSEWHERE)}
    return Reading(values=values, problems=problems, unknown=unknown)


def shown(variable: Variable, environment: Mapping[str, str] = os.environ) -> str:
    """The value of a variable for people to see, "" where it is unset: without the password of a connection string."""
    text = environment.get(variable.name, "")
    if variable.field != "database_url" or not text:
        return text
    try:
        parts = parse_dsn(text)
    except psycopg2.ProgrammingError:
        return UNREADABLE
    return str(make_dsn(**{name: MASK if name in _SECRETS_OF_A_DSN else value for name, value in parts.items()}))


def _annotated() -> list[tuple[str, Any, Meta]]:
    """field, its type, what `_variable` says of it."""
    hints = get_type_hints(Settings, include_extras=True)
    return [(field, hints[field], hints[field].__metadata__[-1]) for field in Settings.__struct_fields__]


def _value(field: str, hint: Any, text: str) -> Any:
    if field == "database_url":
        parse_dsn(text)
        return text
    given = text.split() if field == "verifier_keys" else text
    return msgspec.convert(given, hint, strict=False, dec_hook=lambda _, value: Path(value).expanduser())


def _probably(name: str, names: set[str]) -> str:
    return next(iter(get_close_matches(name, sorted(names), n=1, cutoff=0.75)), "")


def _as_code(default: str) -> str:
    if not default or " " in default or default == "none":
        return f" {default}".rstrip()
    return f" `{default}`"
