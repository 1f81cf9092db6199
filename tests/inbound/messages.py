"""Messages to break: valid ones, and small changes of their text."""

from __future__ import annotations

PURCHASE = (
    b'{"type":"purchase.v1","id":"order-4711","source":"pos","programme":"demo","member":"M0001",'
    b'"occurred_at":"2026-11-20T04:19:52.161606Z","currency":"CNY","channel":"mini-program","store":"S-0012",'
    b'"lines":[{"sku":"A1","category":"coffee","quantity":2,"amount_minor":5600,"cost_minor":3000}]}'
)
SURVEY = (
    b'{"type":"survey.v1","id":"nps-3","source":"survey","programme":"demo","member":"M0001",'
    b'"occurred_at":"2026-11-23T10:00:00Z","instrument":"NPS","answers":{"recommend":9},"scale":[0,10]}'
)
FOLLOW_UP = (
    b'{"type":"follow-up.v1","id":"f-1","source":"crm","programme":"demo","member":"M0001",'
    b'"occurred_at":"2026-11-23T10:00:00+08:00","due_at":"2026-11-24T10:00:00+08:00"}'
)


def purchase(old: bytes, new: bytes) -> bytes:
    """The purchase with one piece of its text replaced."""
    assert PURCHASE.count(old) == 1, (old, PURCHASE.count(old))
    return PURCHASE.replace(old, new)


def survey(old: bytes, new: bytes) -> bytes:
    """The survey with one piece of its text replaced."""
    assert SURVEY.count(old) == 1, (old, SURVEY.count(old))
    return SURVEY.replace(old, new)
