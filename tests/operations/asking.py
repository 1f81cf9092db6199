"""Asking a process for its metrics and its health, as Prometheus and a supervisor do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.broker.ports import ReservedPort
from tests.waiting import PATIENCE_SECONDS


class Told(NamedTuple):
    status: int
    body: bytes
    content_type: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


_reserved: list[ReservedPort] = []


def free_port() -> int:
    """A port that nothing listens on, kept from others as long as these tests run."""
    _reserved.append(ReservedPort())
    return _reserved[-1].number


def ask(port: int, path: str) -> Told:
    """What is answered; status 0 where nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS) as response:
            return Told(response.status, response.read(), response.headers["Content-Type"])
    except urllib.error.HTTPError as error:
        return Told(error.code, error.read(), error.headers["Content-Type"])
    except OSError:
        return Told(0, b"", "")


def samples(text: bytes) -> dict[str, float]:
    """Value by name and labels, such as `loyalty_commands_total{status=posted}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(each.labels.items()))
            found[each.name + (f"{{{labels}}}" if labels else "")] = each.value
    return found
