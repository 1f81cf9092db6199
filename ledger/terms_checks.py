"""Reading a terms document: every problem in it, each with its place, the rule in words and the value as it came.

Three passes, each only over what the one before let through: the text is JSON and its numbers are exact; the fields are
known, present and in range; the rules make sense together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from itertools import combinations, pairwise
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct, inspect

from ledger.conditions import are_disjoint, clock_minute, condition
from ledger.earning import BASE_RULE
from ledger.periods import Period, is_surely_longer, parse_period
from ledger.terms_document import (
    EarningTerms,
    ExpiryAfter,
    ExpiryEndOfMonth,
    ExpiryOnDate,
    RedemptionTerms,
    TermsDocument,
    When,
    exact,
)

DOCUMENT_BYTES_MAX = 1_048_576
PROBLEMS_MAX = 100
VALUE_LENGTH_MAX = 120
DEPTH_MAX = 32
"""No value that a document can have lies deeper; what does is refused as a field that is not known."""
YEARS = range(1970, 9_000)
"""Years in which an instant of a document may lie: those that business times may, and far from the calendar's end."""

Json: TypeAlias = Any
Problems: TypeAlias = Iterator["Problem"]


class Problem(Struct, frozen=True, gc=False):
    """One thing wrong with a document: JSON path, the rule that the value breaks, and the value as it came."""

    path: str
    rule: str
    value: str = ""

    def __str__(self) -> str:
        shown = f" (was {self.value})" if self.value else ""
        return f"{self.path}: {self.rule}{shown}"


def parse_terms(document: bytes | dict[str, Any]) -> TermsDocument | list[Problem]:
    """Read and check a terms document, as JSON text or as decoded JSON; at most `PROBLEMS_MAX` problems are told."""
    if isinstance(document, bytes):
        try:
            decoded = _decoded(document)
        except _Unreadable as unreadable:
            return [Problem("$", str(unreadable))]
    else:
        decoded = document
    if problems := list(_inexact("$", decoded))[:PROBLEMS_MAX]:
        return problems
    try:
        terms = msgspec.convert(decoded, TermsDocument)
    except msgspec.ValidationError as error:
        return [_structural(str(error), decoded)]
    try:
        msgspec.json.encode(terms)
    except UnicodeEncodeError as error:
        return [Problem("$", "must be text that UTF-8 can hold, without lone surrogates", ascii(error.object))]
    return list(_instants(terms) or _semantic(terms))[:PROBLEMS_MAX] or terms


# --- the text -----------------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    pass


class _Float(float):
    """A JSON number with a point or an exponent, with its text."""

    text: str

    def __new__(cls, text: str) -> _Float:
        made = super().__new__(cls, text)
        made.text = text
        return made


def _decoded(document: bytes) -> Json:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise _Unreadable(f"must not be larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        return json.loads(
            document.decode("utf-8"), object_pairs_hook=_object, parse_float=_Float, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise _Unreadable("must be UTF-8 text") from None
    except RecursionError:
        raise _Unreadable("is nested too deeply") from None
    except ValueError as error:
        raise _Unreadable(f"must be JSON: {error}") from None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Unreadable(f"has the field {twice!r} twice in one object")
    return made


def _no_constant(text: str) -> Json:
    raise _Unreadable(f"must be JSON, which has no {text}")


def _inexact(path: str, value: Json, depth: int = 0) -> Problems:
    """Every float of the document: nothing in it may be one."""
    match value:
        case _ if depth > DEPTH_MAX:
            return
        case float():
            yield Problem(path, _instead_of_float(path), value.text if isinstance(value, _Float) else repr(value))
        case dict():
            for name, inner in value.items():
                yield from _inexact(f"{path}.{name}", inner, depth + 1)
        case list() | tuple():
            for index, inner in enumerate(value):
                yield from _inexact(f"{path}[{index}]", inner, depth + 1)


def _instead_of_float(path: str) -> str:
    exactly = "must be exact, not a JSON float"
    match path.rsplit(".", 1)[-1]:
        case "rate":
            return (
                'must be exact, not a JSON float: a decimal string such as "0.01", or {"points": 1, "per_minor": 100}'
            )
        case "multiplier":
            return (
                'must be exact, not a JSON float: a decimal string such as "1.5", or {"numerator": 3, "denominator": 2}'
            )
        case _:
            return exactly


# --- the fields ---------------------------------------------------------------------------------------------------

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+|\.\.\.)\]")
_KINDS = {
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": "an instant",
}


def _structural(error: str, document: Json) -> Problem:
    """The problem that msgspec found, in the words of the field it found it in."""
    place = _PLACE.match(error)
    assert place is not None
    what, path = place["what"], place["path"] or "$"
    if missing := re.match(r"Object missing required field `(.*)`", what):
        return Problem(f"{path}.{missing[1]}", "is required")
    if unknown := re.match(r"Object contains unknown field `(.*)`", what):
        here = _at(document, path)
        value = here.get(unknown[1]) if isinstance(here, dict) else None
        return Problem(f"{path}.{unknown[1]}", "is not a field of the terms", _shown(value))
    return Problem(path, _field_rule(path) or _generic_rule(what), _shown(_at(document, path)))


def _generic_rule(what: str) -> str:
    """Msgspec's sentence for a range, a length or a type, in words."""
    if bound := re.match(r"Expected `int` (>=|<=) (-?\d+)", what):
        return f"must be at {'least' if bound[1] == '>=' else 'most'} {bound[2]}"
    if length := re.match(r"Expected `(array|str|object)` of length (>=|<=) (\d+)", what):
        one, many = ("character", "characters") if length[1] == "str" else ("entry", "entries")
        unit = one if length[3] == "1" else many
        return f"must have at {'least' if length[2] == '>=' else 'most'} {length[3]} {unit}"
    if kind := re.match(r"Expected `([^`]*)`, got `([^`]*)`", what):
        wanted, got = (" or ".join(_KINDS.get(k, k) for k in kinds.split(" | ")) for kinds in kind.groups())
        return f"must be {wanted}, not {got}"
    if what.startswith("Expected `str` matching regex"):
        return "must not have control characters and, where it names something, not be empty"
    return what[:1].lower() + what[1:]


def _field_rule(path: str) -> str:
    """What the document's own definition says about the field at a path: its `rule`, or the values it may have."""
    found: inspect.Type | None = inspect.type_info(TermsDocument)
    for name, _ in _STEP.findall(path):
        found = _inner(found, name)
    return "" if found is None else _type_rule(found)


def _type_rule(found: inspect.Type) -> str:
    match found:
        case inspect.Metadata():
            rule: str = (found.extra or {}).get("rule", "")
            return rule or _type_rule(found.type)
        case inspect.UnionType():
            return next((rule for kind in found.types if (rule := _type_rule(kind))), "")
        case inspect.LiteralType():
            return f"must be one of {', '.join(map(str, found.values))}"
    return ""


def _inner(outer: inspect.Type | None, name: str) -> inspect.Type | None:
    """The type of a field (by name) or of an entry (no name) of a type; None where there is none."""
    match outer:
        case inspect.Metadata():
            return _inner(outer.type, name)
        case inspect.UnionType() if name == "kind":
            tags = tuple(str(t.tag) for t in outer.types if isinstance(t, inspect.StructType))
            return inspect.LiteralType(tags)
        case inspect.UnionType():
            return next((found for t in outer.types if (found := _inner(t, name)) is not None), None)
        case inspect.StructType():
            return next((field.type for field in outer.fields if field.encode_name == name), None)
        case inspect.ListType() if not name:
            return outer.item_type
        case inspect.DictType() if not name:
            return outer.value_type
    return None


def _at(document: Json, path: str) -> Json:
    value = document
    for name, index in _STEP.findall(path):
        match value:
            case dict() if name in value:
                value = value[name]
            case list() | tuple() if index.isdigit() and int(index) < len(value):
                value = value[int(index)]
            case _:
                return None
    return value


def _shown(value: Json) -> str:
    if value is None:
        return ""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return ""
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"


# --- the rules together -------------------------------------------------------------------------------------------


def _semantic(terms: TermsDocument) -> Problems:
    """The rules of the document as a whole, in the order of its fields."""
    yield from _time_zone(terms.time_zone)
    yield from _periods(terms)
    yield from _rate(terms.earning)
    yield from _base(terms.earning)
    yield from _multipliers(terms)
    yield from _caps(terms.earning)
    yield from _expiry(terms.earning)
    yield from _redemption(terms.redemption)


def _instants(terms: TermsDocument) -> list[Problem]:
    """Told before anything else, because nothing can be compared with an instant at the end of the calendar."""
    instants = {"$.effective_from": terms.effective_from}
    for index, multiplier in enumerate(terms.earning.multipliers):
        for name, instant in (("from", multiplier.when.from_), ("until", multiplier.when.until)):
            if instant is not None:
                instants[f"$.earning.multipliers[{index}].when.{name}"] = instant
    rule = f"must be in the years {YEARS[0]} to {YEARS[-1]}"
    return [Problem(path, rule, _shown(at.isoformat())) for path, at in instants.items() if at.year not in YEARS]


def _time_zone(name: str) -> Problems:
    """A name that IANA gave out: not a file of this machine, and not the variants with leap seconds."""
    known = not name.startswith(("posix/", "right/")) and name not in ("localtime", "posixrules", "Factory")
    try:
        known = known and bool(ZoneInfo(name))
    except (KeyError, ValueError, OSError):  # KeyError: not found; OSError: the name of a directory
        known = False
    if not known:
        yield Problem("$.time_zone", "must be the IANA name of a time zone, such as Asia/Shanghai", _shown(name))


def _periods(terms: TermsDocument) -> Problems:
    earning, redemption, returns = terms.earning, terms.redemption, terms.returns
    texts = {
        "$.earning.activation": earning.activation,
        "$.redemption.hold_timeout": redemption.hold_timeout,
        "$.redemption.reversal_window": redemption.reversal_window,
        "$.returns.window": returns.window,
        "$.returns.late_grace": returns.late_grace,
    }
    match earning.expiry:
        case ExpiryAfter():
            texts["$.earning.expiry.period"] = earning.expiry.period
        case ExpiryEndOfMonth() | ExpiryOnDate():
            texts["$.earning.expiry.after"] = earning.expiry.after
    for path, text in texts.items():
        try:
            period = parse_period(text)
        except ValueError as error:
            yield Problem(path, str(error), _shown(text))
            continue
        if path.endswith(".after") and not period.is_calendar:
            yield Problem(path, "must be in D, W, M or Y, because it leads to a day", _shown(text))
        if path.endswith(".hold_timeout") and period.count == 0:
            yield Problem(path, "must not be zero, or every hold times out at once", _shown(text))


def _rate(earning: EarningTerms) -> Problems:
    if exact(earning.rate) == 0:
        yield Problem("$.earning.rate", "must be above 0", _shown(earning.rate))


def _base(earning: EarningTerms) -> Problems:
    base, path = earning.base, "$.earning.base"
    yield from _twice(f"{path}.include_categories", base.include_categories)
    yield from _twice(f"{path}.exclude_categories", base.exclude_categories)
    for category in sorted(set(base.include_categories or ()) & set(base.exclude_categories)):
        yield Problem(
            f"{path}.exclude_categories", "must not name a category that include_categories names", _shown(category)
        )


def _multipliers(terms: TermsDocument) -> Problems:
    multipliers, path = terms.earning.multipliers, "$.earning.multipliers"
    seen: set[str] = set()
    for index, multiplier in enumerate(multipliers):
        here = f"{path}[{index}]"
        if multiplier.rule == BASE_RULE:
            yield Problem(
                f"{here}.rule", f"must not be {BASE_RULE}, the name of the rate itself", _shown(multiplier.rule)
            )
        if multiplier.rule in seen:
            yield Problem(f"{here}.rule", "must be the name of one multiplier only", _shown(multiplier.rule))
        seen.add(multiplier.rule)
        if exact(multiplier.multiplier) == 0:
            rule = "must be above 0; to earn nothing on something, use base.exclude_categories"
            yield Problem(f"{here}.multiplier", rule, _shown(multiplier.multiplier))
        yield from _when(f"{here}.when", multiplier.when, terms)
    yield from _overlaps(terms.earning)


def _when(path: str, when: When, terms: TermsDocument) -> Problems:
    if when == When():
        yield Problem(path, "must have a condition: what always applies belongs in the rate", "{}")
    for field in ("categories", "channels", "stores", "weekdays"):
        yield from _twice(f"{path}.{field}", getattr(when, field))
    if when.attributes == {}:
        yield Problem(f"{path}.attributes", "must have at least 1 entry", "{}")
    window = when.local_time
    if window is not None and clock_minute(window.from_) == clock_minute(window.until):
        yield Problem(f"{path}.local_time", "must not end when it begins; leave it out for the whole day", window.until)
    if when.from_ is not None and when.until is not None and when.from_ >= when.until:
        yield Problem(f"{path}.until", "must be after from", when.until.isoformat())
    elif when.until is not None and when.until <= terms.effective_from:
        yield Problem(
            f"{path}.until", "must be after effective_from, or the rule never applies", when.until.isoformat()
        )
    base = terms.earning.base
    included = when.categories if base.include_categories is None else base.include_categories
    if when.categories and not set(when.categories) & set(included or ()) - set(base.exclude_categories):
        yield Problem(f"{path}.categories", "must name a category that earns, see base", _shown(when.categories))


def _overlaps(earning: EarningTerms) -> Problems:
    if earning.stacking is not None:
        return
    conditions = [(rule, condition(rule.when)) for rule in earning.multipliers]
    for (one, when), (other, other_when) in combinations(conditions, 2):
        if not are_disjoint(when, other_when):
            rule = f"is required: the rules {one.rule!r} and {other.rule!r} can apply to the same line"
            yield Problem("$.earning.stacking", rule)


def _caps(earning: EarningTerms) -> Problems:
    caps = earning.caps
    known = [(name, cap) for name in ("purchase", "day", "month") if (cap := getattr(caps, name)) is not None]
    for (name, cap), (longer, longer_cap) in pairwise(known):
        if cap > longer_cap:
            yield Problem(
                f"$.earning.caps.{name}", f"must not be above the cap of the {longer}, {longer_cap}", str(cap)
            )


def _expiry(earning: EarningTerms) -> Problems:
    """Points must become available before they expire, from whatever instant they are earned."""
    expiry = earning.expiry
    if isinstance(expiry, ExpiryOnDate) and not _is_day(expiry.month_day):
        yield Problem("$.earning.expiry.month_day", "must be a day that its month has", _shown(expiry.month_day))
    activation = _period(earning.activation)
    match expiry:
        case ExpiryAfter():
            path, period, or_equal = "$.earning.expiry.period", _period(expiry.period), False
        case ExpiryEndOfMonth() | ExpiryOnDate():
            path, period, or_equal = "$.earning.expiry.after", _period(expiry.after), True
        case _:
            return
    if activation is not None and period is not None and not is_surely_longer(period, activation, or_equal=or_equal):
        rule = f"must {'not be shorter' if or_equal else 'be longer'} than the activation, {activation}, "
        rule += "or points expire before they can be spent"
        yield Problem(path, rule, _shown(str(period)))


def _redemption(redemption: RedemptionTerms) -> Problems:
    minimum, step = redemption.minimum, redemption.step
    if minimum is not None and minimum % step:
        yield Problem("$.redemption.minimum", f"must be a multiple of the step, {step}", str(minimum))


def _twice(path: str, names: list[str] | None) -> Problems:
    for name in sorted({name for name in names or () if (names or []).count(name) > 1}):
        yield Problem(path, "must not name anything twice", _shown(name))


def _is_day(month_day: str) -> bool:
    try:
        date.fromisoformat(f"2024-{month_day}")  # a leap year
    except ValueError:
        return False
    return True


def _period(text: str) -> Period | None:
    """The period, or None where `_periods` has told what is wrong with it."""
    try:
        return parse_period(text)
    except ValueError:
        return None
