"""The log of a long-running command: lines on standard error, for people or as JSON.

Nothing personal and no secret gets into it. Our own messages name topics, offsets, journals and counts; of an exception
the log has its type and where it was raised, but not its words, which may quote what the ledger was given.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

import click
from eventsourcing.persistence import PersistenceError
from pythonjsonlogger.json import JsonFormatter

from ledger.store.database import sentence, sqlstate
from ledger.store.embedded import EmbeddedPostgresError
from ledger.store.migrations import MigrationError

OURS: Final = ("ledger", "projections", "consumers", "audit", "service")

ErrorInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def _without_its_words(error: ErrorInfo) -> str:
    """Where an exception was raised, and its type; SQLSTATE where the database sent one."""
    kind, value, frames = error
    if kind is None or value is None:
        return ""
    code = sqlstate(value)
    named = f"{kind.__module__}.{kind.__qualname__}" + (f" (SQLSTATE {code})" if code else "")
    return "".join(traceback.format_tb(frames)) + named


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # what another handler may have made of the exception
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that logging gave it
        return _without_its_words(ei)


class _Text(_Discreet):
    converter = time.gmtime


class _Json(_Discreet, JsonFormatter):
    pass


class Troubles(logging.Handler):
    """Remembers the last warning or worse, and counts them by level."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: tuple[datetime, str] | None = None
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one."""
        self.last = datetime.fromtimestamp(record.created, UTC), record.getMessage()
        self.counts[record.levelname.lower()] += 1


@contextmanager
def logging_to_stderr(log_format: Literal["text", "json"], command: str) -> Iterator[Troubles]:
    """Log to standard error while it lasts. As JSON, what ends the command is a line of the log too."""
    handler, troubles = logging.StreamHandler(sys.stderr), Troubles()
    handler.setFormatter(_formatter(log_format, command))
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in OURS]
    levels = [logger.level for logger in loggers]
    for each in (handler, troubles):
        root.addHandler(each)
    for logger in loggers:
        logger.setLevel(logging.INFO)
    try:
        yield troubles
    except click.exceptions.Exit:
        raise
    except Exception as error:
        if log_format == "text":
            raise
        _log_end(error)
        raise click.exceptions.Exit(getattr(error, "exit_code", 1)) from error
    finally:
        for each in (handler, troubles):
            root.removeHandler(each)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _formatter(log_format: Literal["text", "json"], command: str) -> logging.Formatter:
    if log_format == "text":
        return _Text("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    return _Json(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        static_fields={"command": command},
        timestamp=True,
    )


def _log_end(error: Exception) -> None:
    if isinstance(error, click.ClickException):
        logging.getLogger(__name__).critical("%s", error.format_message())
    elif isinstance(error, PersistenceError | OSError | MigrationError | EmbeddedPostgresError):
        logging.getLogger(__name__).critical("%s", sentence(error))
    else:
        logging.getLogger(__name__).critical("the command ended with an error", exc_info=error)
