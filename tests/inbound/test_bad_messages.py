"""What is said of a message that is no command: code, field, rule, value; and which identity could be read of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from consumers.inbound import COMMAND_TYPES, MESSAGE_BYTES_MAX, decode
from ledger.submissions import Malformed
from tests.inbound.messages import PURCHASE, SURVEY, purchase, survey

PROGRAMME = (
    b'{"type":"programme.v1","id":"p-1","source":"cli","programme":"demo","occurred_at":"2026-11-20T04:19:52Z",'
    b'"currency":"CNY"}'
)
OBJECTIVE = (
    b'{"type":"objective.v1","id":"o-1","source":"office","programme":"demo","occurred_at":"2026-11-20T04:19:52Z",'
    b'"objective":"answer","comparator":"<=","target":"10","unit":"s","direction":"down","period":"month","owner":"lee"}'
)
BUDGET = (
    b'{"type":"budget.v1","id":"b-1","source":"office","programme":"demo","occurred_at":"2026-11-20T04:19:52Z",'
    b'"direction":"top_down","level":"programme","measure":"revenue","from_on":"2027-01-01","until_on":"2027-02-01",'
    b'"value":"100"}'
)
AT = b"2026-11-20T04:19:52.161606Z"
KNOWN = ", ".join(COMMAND_TYPES)
INTEGER = "must be a whole number"


class Case(NamedTuple):
    """A message, and what is said of it."""

    name: str
    message: bytes
    code: str
    field: str
    rule: str
    value: str


NOT_MESSAGES = [
    Case("too large", PURCHASE + b" " * MESSAGE_BYTES_MAX, "MESSAGE_TOO_LARGE", "message",
         "must be at most 1,048,576 bytes", f"{len(PURCHASE) + MESSAGE_BYTES_MAX:,} bytes"),
    Case("not UTF-8", purchase(b"S-0012", b"S-\xff\xfe"), "NOT_UTF8", "message",
         "must be UTF-8; byte 188 is where it is not", "bytes ff fe 22 2c 22 6c 69 6e"),
    Case("not JSON", b"order-4711;M0001;56.00", "NOT_JSON", "message",
         "must be a JSON object: invalid character (byte 0)", "order-4711;M0001;56.00"),
    Case("empty", b"", "NOT_JSON", "message", "must be a JSON object: it is empty", ""),
    Case("cut off", PURCHASE[:60], "NOT_JSON", "message", "must be a JSON object: truncated",
         '{"type":"purchase.v1","id":"order-4711","source":"pos","prog'),
    Case("two objects", b"{}{}", "NOT_JSON", "message", "must be a JSON object: trailing characters (byte 3)", "{}{}"),
    Case("a list", b"[1]", "NOT_JSON", "message", "must be a JSON object", "[1]"),
    Case("NaN", purchase(b"5600", b"NaN"), "NOT_JSON", "message",
         "must be a JSON object: invalid character (byte 263)", PURCHASE[:119].decode() + "…"),
    Case("marked", b"\xef\xbb\xbf{}", "NOT_JSON", "message",
         "must be a JSON object: it starts with a byte order mark", "\ufeff{}"),
    Case("half a surrogate pair", purchase(b"S-0012", rb"\ud800"), "NOT_JSON", "message",
         "must be a JSON object: unexpected end of escaped utf-16 surrogate pair (byte 192)",
         PURCHASE[:119].decode() + "…"),
    Case("a bottomless list", purchase(b'"S-0012"', b"[" * 5_000 + b"]" * 5_000), "INVALID_FIELD",
         "message", "must not nest that deep", PURCHASE[:119].decode() + "…"),
    Case("cut off after a bad field", purchase(b"S-0012", b"\\n")[:-1], "NOT_JSON", "message",
         "must be a JSON object: truncated", PURCHASE[:119].decode() + "…"),
    Case("a bottomless field", purchase(b'"store":"S-0012"', b'"x":' + b"[" * 5_000 + b"]" * 5_000), "INVALID_FIELD",
         "message", "must not nest that deep", PURCHASE[:119].decode() + "…"),
    Case("no type", b"{}", "INVALID_FIELD", "type", f"is required: one of {KNOWN}", ""),
    Case("a type of no name", purchase(b'"purchase.v1"', b"7"), "INVALID_FIELD", "type", "must be text", "7"),
    Case("an unknown type", purchase(b"purchase.v1", b"sale.v1"), "UNKNOWN_TYPE", "type",
         f"is not a type that the ledger takes; it takes {KNOWN}", '"sale.v1"'),
    Case("an unknown version", purchase(b"purchase.v1", b"purchase.v9"), "UNKNOWN_TYPE", "type",
         "is a version that the ledger does not take; it takes purchase.v1", '"purchase.v9"'),
]  # fmt: skip

BAD_FIELDS = [
    Case("missing", purchase(b'"member":"M0001",', b""), "INVALID_FIELD", "member", "is required", ""),
    Case("missing in a line", purchase(b'"sku":"A1",', b""), "INVALID_FIELD", "lines[0].sku", "is required", ""),
    Case("misspelt", purchase(b"channel", b"chanel"), "INVALID_FIELD", "chanel",
         "is not a field of purchase.v1; did you mean channel?", '"mini-program"'),
    Case("extra in a line", purchase(b'"sku":"A1"', b'"sku":"A1","vat":19'), "INVALID_FIELD", "lines[0].vat",
         "is not a field of purchase.v1; known are sku, quantity, amount_minor, category, cost_minor, tax_minor,"
         " discount_minor, reward", "19"),
    Case("null", purchase(b'"S-0012"', b"null"), "INVALID_FIELD", "store", "must be text, not null", "null"),
    Case("wrong type", purchase(b'"M0001"', b"1"), "INVALID_FIELD", "member",
         "must be text, not a whole number", "1"),
    Case("a number as text", purchase(b"5600", b'"5600"'), "INVALID_FIELD", "lines[0].amount_minor",
         f"{INTEGER}, not text", '"5600"'),
    Case("float money", purchase(b"5600", b"56.00"), "INVALID_FIELD", "lines[0].amount_minor",
         f"{INTEGER}, not one with a fraction or exponent", "56.00"),
    Case("a whole float", purchase(b"5600", b"5600.0"), "INVALID_FIELD", "lines[0].amount_minor",
         f"{INTEGER}, not one with a fraction or exponent", "5600.0"),
    Case("an exponent", purchase(b"5600", b"56e2"), "INVALID_FIELD", "lines[0].amount_minor",
         f"{INTEGER}, not one with a fraction or exponent", "56e2"),
    Case("a negative amount", purchase(b"5600", b"-1"), "INVALID_FIELD", "lines[0].amount_minor",
         "must be at least 0", "-1"),
    Case("2^63", purchase(b"5600", b"9223372036854775808"), "INVALID_FIELD", "lines[0].amount_minor",
         "must be at most 1000000000000000", "9223372036854775808"),
    Case("a number of 30 digits", purchase(b"5600", b"1" * 30), "INVALID_FIELD", "lines[0].amount_minor",
         "must be at most 1000000000000000", "1" * 30),
    Case("a negative quantity", purchase(b'"quantity":2', b'"quantity":-2'), "INVALID_FIELD", "lines[0].quantity",
         "must be at least 0", "-2"),
    Case("no lines", purchase(PURCHASE[PURCHASE.index(b'"lines"') : -1], b'"lines":[]'), "INVALID_FIELD", "lines",
         "must have at least 1 entry", "[]"),
    Case("an objective without unit", OBJECTIVE.replace(b'"unit":"s",', b""), "INVALID_FIELD", "unit",
         "is required", ""),
    Case("a target in words", OBJECTIVE.replace(b'"10"', b'"ten"'), "INVALID_FIELD", "target",
         "must be an exact decimal number as text, such as 81.3", '"ten"'),
    Case("a target that is no text", OBJECTIVE.replace(b'"10"', b"10.5"), "INVALID_FIELD", "target",
         "must be text, not one with a fraction or exponent", "10.5"),
    Case("no day", BUDGET.replace(b"2027-01-01", b"2027-02-30"), "INVALID_FIELD", "from_on",
         "must be a day, such as 2026-11-20", '"2027-02-30"'),
    Case("an instant for a day", BUDGET.replace(b'"2027-01-01"', b'"2027-01-01T00:00:00Z"'), "INVALID_FIELD",
         "from_on", "must be a day, such as 2026-11-20", '"2027-01-01T00:00:00Z"'),
    Case("a number for a day", BUDGET.replace(b'"2027-01-01"', b"20270101"), "INVALID_FIELD", "from_on",
         "must be a day as text, not a whole number", "20270101"),
    Case("a currency of one letter", purchase(b"CNY", b"C"), "INVALID_FIELD", "currency",
         "must have at least 3 characters", '"C"'),
    Case("a new programme's currency in small letters", PROGRAMME.replace(b"CNY", b"cny"), "INVALID_FIELD", "currency",
         "must be an ISO 4217 code of three capital letters, such as CNY", '"cny"'),
    Case("a new programme with a space", PROGRAMME.replace(b'"demo"', b'"my demo"'), "INVALID_FIELD", "programme",
         "must be of a-z, 0-9, '.', '_' and '-', and start with a letter or digit", '"my demo"'),
    Case("an empty member", purchase(b"M0001", b""), "INVALID_FIELD", "member", "must have at least 1 character", '""'),
    Case("a long member", purchase(b"M0001", b"M" * 65), "INVALID_FIELD", "member", "must have at most 64 characters",
         f'"{"M" * 65}"'),
    Case("a control character", purchase(b"S-0012", rb"S\u0000"), "INVALID_FIELD", "store",
         "must be text without control characters", r'"S\u0000"'),
    Case("a bare DEL", purchase(b"S-0012", b"S\x7f"), "INVALID_FIELD", "store",
         "must be text without control characters", '"S\N{REPLACEMENT CHARACTER}"'),
    Case("a line break in a line", purchase(b'"A1"', rb'"A\n1"'), "INVALID_FIELD", "lines[0].sku",
         "must be text without control characters", r'"A\n1"'),
    Case("a control character in a name", survey(b'"recommend"', rb'"a\tb"'), "INVALID_FIELD",
         "answers.a\N{REPLACEMENT CHARACTER}b", "must be text without control characters", r'"a\tb"'),
    Case("a naive time", purchase(AT, b"2026-11-20T04:19:52"), "INVALID_FIELD", "occurred_at",
         "must have an offset from UTC, such as Z or +08:00", '"2026-11-20T04:19:52"'),
    Case("the year 0", purchase(AT, b"0000-01-01T00:00:00Z"), "INVALID_FIELD", "occurred_at",
         "must be an instant as in RFC 3339, such as 2026-11-20T04:19:52Z", '"0000-01-01T00:00:00Z"'),
    Case("30 February", purchase(AT, b"2026-02-30T00:00:00Z"), "INVALID_FIELD", "occurred_at",
         "must be an instant as in RFC 3339, such as 2026-11-20T04:19:52Z", '"2026-02-30T00:00:00Z"'),
    Case("seconds since 1970", purchase(b'"' + AT + b'"', b"1763612392"), "INVALID_FIELD", "occurred_at",
         "must be an instant as text, not a whole number", "1763612392"),
    Case("after the year 9999 in UTC", purchase(AT, b"9999-12-31T23:59:59-10:00"), "OCCURRED_AT_OUT_OF_RANGE",
         "occurred_at", "must be an instant that has a UTC date in the years 1 to 9999", "9999-12-31T23:59:59-10:00"),
    Case("an unknown instrument", survey(b"NPS", b"SUS"), "INVALID_FIELD", "instrument",
         "must be one of ACSI, CES, CSAT, NPS", '"SUS"'),
    Case("an answer of no kind", survey(b"9}", b'9,"why":null}'), "INVALID_FIELD", "answers.why",
         "must be a whole number or a number or text, not null", "null"),
    Case("an answer without a name", survey(b'"recommend"', b'""'), "INVALID_FIELD", "answers",
         "has a name that must have at least 1 character", '""'),
    Case("a scale of three", survey(b"[0,10]", b"[0,5,10]"), "INVALID_FIELD", "scale",
         "must have exactly 2 entries", "[0,5,10]"),
    Case("a scale of floats", survey(b"[0,10]", b"[0,9.5]"), "INVALID_FIELD", "scale[1]",
         f"{INTEGER}, not one with a fraction or exponent", "9.5"),
    Case("a long value", purchase(b"S-0012", b"S" * 500), "INVALID_FIELD", "store", "must have at most 128 characters",
         '"' + "S" * 118 + "…"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*NOT_MESSAGES, *BAD_FIELDS], ids=lambda case: case.name)
def test_it_is_said_what_is_wrong(case: Case) -> None:
    found = decode(case.message)
    assert isinstance(found, Malformed)
    rejection = found.rejection
    assert (rejection.code, rejection.field, rejection.rule, rejection.value) == case[2:]


@pytest.mark.parametrize("case", [case for case in BAD_FIELDS if case.message.startswith(PURCHASE[:40])],
                         ids=lambda case: case.name)  # fmt: skip
def test_the_identity_of_a_message_with_a_bad_field_is_known(case: Case) -> None:
    found = decode(case.message)
    assert isinstance(found, Malformed)
    assert (found.type, found.source, found.id) == ("purchase.v1", "pos", "order-4711")


def test_the_identity_is_read_where_other_bytes_are_not_utf8() -> None:
    found = decode(purchase(b"S-0012", b"\xff"))
    assert isinstance(found, Malformed)
    assert (found.programme, found.source, found.id, found.member) == ("demo", "pos", "order-4711", "M0001")


def test_what_of_the_identity_is_no_text_is_left_empty() -> None:
    found = decode(purchase(b'"M0001"', b"1").replace(b'"pos"', b"null"))
    assert isinstance(found, Malformed)
    assert (found.source, found.member, found.id) == ("", "", "order-4711")


def test_nothing_of_a_message_that_is_too_large_is_read() -> None:
    found = decode(PURCHASE + b" " * MESSAGE_BYTES_MAX, programme="shop")
    assert isinstance(found, Malformed)
    assert (found.programme, found.source, found.id, found.member, found.type) == ("shop", "", "", "", "")


def test_a_message_of_the_largest_size_is_read() -> None:
    assert not isinstance(decode(PURCHASE.ljust(MESSAGE_BYTES_MAX)), Malformed)


def test_a_message_without_programme_needs_one_of_the_way_in() -> None:
    found = decode(SURVEY.replace(b'"programme":"demo",', b""))
    assert isinstance(found, Malformed)
    assert str(found.rejection) == ("PROGRAMME_MISSING: programme: must be given, in the message or by the way in")
