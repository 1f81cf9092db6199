"""Focus audits, the data of members, and the chain from focus to value, through the command line."""

from __future__ import annotations

from tests.steering_reads.conftest import Club


def audit(at: str, *scores: int, factor: str = "information", segment: str = "", scale: tuple[int, int] = (1, 5)):
    items = [{"item": f"item {number}", "score": score} for number, score in enumerate(scores, 1)]
    return "focus.v1", at, {"factor": factor, "scale": scale, "items": items, "assessor": "wu", "segment": segment}


def test_audits_by_factor_and_segment_the_newest_first(club: Club) -> None:
    club.say_all(
        [
            audit("2026-01-10", 1, 2, 5),
            audit("2026-04-10", 4, 4, 5),
            audit("2026-02-10", 7, factor="communications", scale=(0, 10), segment="tier=gold"),
        ]
    )
    found = club.read("focus")["audits"]
    assert [(one["factor"], one["segment"], one["assessed_on"], one["index"]) for one in found] == [
        ("communications", "tier=gold", "2026-02-10", "70.0"),
        ("information", "", "2026-04-10", "83.3"),
        ("information", "", "2026-01-10", "41.7"),
    ]
    assert [item["index"] for item in found[2]["items"]] == ["0.0", "25.0", "100.0"]
    assert len(club.read("focus", "--as-of", "2026-02-10")["audits"]) == 2
    assert "item 1 0.0, item 2 25.0, item 3 100.0" in club.loyalty("focus").stdout


def test_completeness_and_currency_of_member_data(club: Club) -> None:
    """Of open members; personal data are known to be there, whatever they are."""
    assert club.read("focus")["member_data"]["current_percent"] is None
    club.member("ann", "2024-01-10", tier="gold", city="sh")
    club.member("bob", "2026-01-10", tier="plain")
    club.member("eve", "2026-01-10")
    club.member("kim", "2026-01-10", tier="gold")
    club.member("lea", "2024-01-10")
    club.say_all(
        [
            ("profile.v1", "2025-12-10", {"member": "eve", "personal": {"phone": "1"}}),
            ("profile.v1", "2026-02-01", {"member": "bob", "attributes": {"tier": None}}),
            ("profile.v1", "2026-02-01", {"member": "kim", "personal": {"name": "Kim"}}),
            ("erasure.v1", "2026-02-02", {"member": "kim"}),
        ]
    )
    found = club.read("focus", "--as-of", "2026-02-02")["member_data"]
    assert found == {
        "open_members": 4, "with_personal_percent": "25.0", "with_attributes_percent": "25.0",
        "current_percent": "50.0", "current_for_days": 365, "median_age_days": 54,
        "attributes": [{"attribute": "city", "members": 1, "percent": "25.0"},
                       {"attribute": "tier", "members": 1, "percent": "25.0"}],
    }  # fmt: skip


def chain(club: Club, quarters: int) -> dict[tuple[str, str], dict]:
    """Gold: each audit shows in the answers of the next quarter, these in the purchases of the one after."""
    club.member("ann", "2019-01-02", tier="gold")
    scores = [2, 4, 3, 5, 1, 4, 2, 5][: quarters - 3]
    starts = [f"{2019 + number // 4}-{3 * (number % 4) + 2:02}" for number in range(quarters)]
    messages = [audit(f"{start}-10", score, segment="tier=gold") for start, score in zip(starts, scores, strict=False)]
    for number, score in enumerate(scores):
        messages.append(club.answer("ann", f"{starts[number + 1]}-11", 2 * score))
        messages += [club.purchase("ann", f"{starts[number + 2]}-{day:02}", 100) for day in range(1, score + 1)]
    club.say_all(messages)
    links = club.read("focus", "--as-of", "2023-12-31")["links"]
    return {(link["cause"], link["effect"]): link for link in links}


def test_the_chain_from_focus_to_value_with_its_warnings(club: Club) -> None:
    found = chain(club, 11)
    assert list(found) == [("focus", "satisfaction"), ("satisfaction", "behaviour"), ("behaviour", "value")]
    first = found["focus", "satisfaction"]
    assert (first["segment"], first["lag"], first["pairs"]) == ("tier=gold", 1, 8)
    assert first["pearson"]["coefficient"] > 0.999
    assert any("only 8 pairs" in warning for warning in first["warnings"])
    assert found["satisfaction", "behaviour"]["pearson"]["coefficient"] > 0.999
    assert found["behaviour", "value"]["pearson"]["coefficient"] < 0.9


def test_too_little_data_is_said_plainly(club: Club) -> None:
    found = chain(club, 5)["focus", "satisfaction"]
    assert (found["pairs"], found["pearson"]["coefficient"]) == (2, None)
    assert "a correlation needs at least 4" in found["warnings"][0]
    assert "a correlation needs at least 4" in club.loyalty("focus", "--as-of", "2023-12-31").stdout


def test_no_audit(club: Club) -> None:
    assert club.read("focus")["links"] == []
    assert "No audits" in club.loyalty("focus").stderr
