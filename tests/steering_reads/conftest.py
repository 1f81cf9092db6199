"""A programme with trade, answers and plans, made through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.cli import cli
from service.cli_steering import COMMANDS
from tests.cli.running import COFFEE, Loyalty

for command in COMMANDS:
    cli.add_command(command)


class Club:
    """A ledger with the programme `club` in Shanghai, on a database of its own."""

    def __init__(self, dsn: str, directory: Path, journals: int = 2) -> None:
        self.loyalty = Loyalty(LOYALTY_DATABASE_URL=dsn, LOYALTY_PROGRAMME="club")
        self._file = directory / "messages.jsonl"
        self._number = 0
        self.loyalty(
            "programme", "create", "club", "--currency", "CNY", "--time-zone", "Asia/Shanghai",
            "--journals", str(journals),
        )  # fmt: skip
        terms = directory / "terms.json"
        document = json.loads(COFFEE.read_text(encoding="utf-8"))
        terms.write_text(json.dumps({**document, "effective_from": "2018-01-01T00:00:00Z"}), encoding="utf-8")
        self.loyalty("terms", "publish", str(terms), "--at", "2018-01-01T00:00:00Z")

    def say(self, type_: str, at: str, exit_code: int = 0, **fields: Any) -> str:
        """Ingest one message, dated on a day at noon in Shanghai; its id."""
        return self.say_all([(type_, at, fields)], exit_code)[0]

    def say_all(self, messages: list[tuple[str, str, dict[str, Any]]], exit_code: int = 0) -> list[str]:
        """Ingest messages in order; their ids."""
        lines, ids = [], []
        for type_, at, fields in messages:
            self._number += 1
            ids.append(fields.get("id", f"m{self._number}"))
            given = {"type": type_, "id": ids[-1], "source": "desk", "occurred_at": f"{at}T12:00:00+08:00", **fields}
            lines.append(json.dumps(given))
        self._file.write_text("\n".join(lines), encoding="utf-8")
        self.loyalty("ingest", str(self._file), exit_code=exit_code)
        return ids

    def read(self, *arguments: str) -> Any:
        """What a command says as JSON, once everything is folded in."""
        self.loyalty("project", "--once")
        return self.loyalty.json(*arguments)

    def member(self, member: str, at: str = "2026-01-02", **attributes: str) -> None:
        """Enrol a member with attributes."""
        self.say("enrolment.v1", at, member=member, attributes=attributes)

    def purchase(self, member: str, at: str, amount: int, cost: int | None = None) -> tuple[str, str, dict[str, Any]]:
        """A message to say."""
        line = {"sku": "A", "quantity": 1, "amount_minor": amount} | ({} if cost is None else {"cost_minor": cost})
        return "purchase.v1", at, {"member": member, "currency": "CNY", "lines": [line]}

    def answer(self, member: str, at: str, score: int, instrument: str = "ACSI") -> tuple[str, str, dict[str, Any]]:
        """A message to say; ACSI and CES on 1 to 10, NPS on 0 to 10."""
        scale = [0 if instrument == "NPS" else 1, 10]
        return "survey.v1", at, {"member": member, "instrument": instrument, "scale": scale, "answers": {"q": score}}


@pytest.fixture
def club(database_dsn: str, tmp_path: Path) -> Club:
    return Club(database_dsn, tmp_path)
