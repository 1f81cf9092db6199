"""The fields of a type in words, for the reference: what they hold, whether they must be there, what they mean."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from ledger import terms_document, values
from service.field_meanings import OF_ANY_TYPE

SCALARS: Final = {
    "identifier": (values.Identifier, values.CheckedIdentifier),
    "member": (values.MemberId,),
    "programme": (values.ProgrammeId,),
    "label": (values.Label, values.CheckedLabel),
    "reason": (values.Reason,),
    "text": (values.Text, str),
    "currency": (values.Currency, values.CurrencyCode),
    "instant": (values.Instant, terms_document.Instant, datetime),
    "day": (date,),
    "money": (values.Amount,),
    "quantity": (values.Quantity,),
    "points": (values.Points,),
    "signed points": (values.SignedPoints,),
    "decimal": (values.DecimalText,),
    "period": (terms_document.PeriodText,),
    "exact decimal": (terms_document.DecimalText,),
    "whole number": (int,),
    "number": (float,),
    "yes or no": (bool,),
    "base64": (bytes,),
    "JSON object": (Raw, dict[str, object]),
}
"""What fields hold, by name, and the types that it stands for."""


_POINTS: Final = {
    "points",
    "repaid",
    "arrears",
    "arrears_written_off",
    "waived",
    "due",
    "before_cap",
    "earned",
    "clawed_back",
    "points_due",
    "unmatched_points_due",
}


class Field(Struct, frozen=True, kw_only=True):
    """A field in words; `needs` is "required" or what it is when left out."""

    name: str
    holds: str
    needs: str
    meaning: str


def fields_of(kind: type[Struct]) -> list[Field]:
    """The fields of a type, inherited ones first. Raises LookupError where one is not explained."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        Field(
            name=field.encode_name,
            holds=_with_unit(field.name, words_of(hints[field.name])),
            needs="required" if field.required else _default(field.default, field.default_factory),
            meaning=_meaning(kind, field.name, hints[field.name]),
        )
        for field in msgspec.structs.fields(kind)
    ]


def structs_in(kind: type[Struct]) -> list[type[Struct]]:
    """The types that its fields are made of, each once, in the order in which they come."""
    found: dict[type[Struct], None] = {}
    for hint in get_type_hints(kind, include_extras=True).values():
        for part in _parts(hint):
            if isinstance(part, type) and issubclass(part, Struct) and part not in found:
                found |= {part: None} | dict.fromkeys(structs_in(part))
    return list(found)


def described(kind: type[Struct]) -> str:
    """The docstring of a type, in one paragraph a paragraph."""
    return inspect.cleandoc(kind.__doc__ or "").replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")


def words_of(hint: Any) -> str:
    """A type in words. Raises LookupError for one that has none."""
    if (name := _scalar(hint)) is not None:
        return name
    if get_origin(hint) is Annotated:
        return _constrained(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        words = [words_of(each) for each in arguments if each is not NoneType]
        return " or ".join(dict.fromkeys(words)) + (" or null" if NoneType in arguments else "")
    if origin is Literal:
        return ", ".join(f"`{each}`" if each else "empty" for each in arguments)
    if origin is list:
        return f"list of {words_of(arguments[0])}{'s' if _scalar(arguments[0]) else ''}"
    if origin is tuple:
        return f"[{', '.join(map(words_of, arguments))}]"
    if origin is dict:
        return f"{words_of(arguments[0])} → {words_of(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    raise LookupError(f"{hint} has no words")


def _with_unit(name: str, holds: str) -> str:
    """Events have plain integers: their names say what they count."""
    if name.endswith("_minor"):
        return holds.replace("whole number", "money")
    return holds.replace("whole number", "points") if name in _POINTS else holds


def _scalar(hint: Any) -> str | None:
    return next((name for name, kinds in SCALARS.items() if any(hint == kind for kind in kinds)), None)


def _constrained(hint: Any) -> str:
    """A type with limits of its own. A list or text says how many, a number its range."""
    inner, metas = hint.__origin__, hint.__metadata__
    if (name := _scalar(Annotated[inner, metas[0]])) is not None:  # a scalar, and a description of this use of it
        return name
    words = words_of(inner)
    for meta in metas:
        if meta.ge is not None or meta.le is not None:
            words += f", {_number(meta.ge)} to {_number(meta.le)}"
        if meta.max_length is not None and inner is str:
            words += f", {meta.min_length or 0} to {meta.max_length} characters"
        elif meta.max_length is not None:
            words += f", {meta.min_length or 0} to {meta.max_length:,} of them"
    return words


def _number(value: float | None) -> str:
    if value is None:
        return "…"
    exponent = re.fullmatch(r"(-?)1(0{6,})", str(value))
    return f"{exponent[1]}10^{len(exponent[2])}" if exponent else f"{value:,}"


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    if get_origin(hint) is Annotated:
        yield from _parts(hint.__origin__)
    elif get_origin(hint) is not Literal:
        for argument in get_args(hint):
            yield from _parts(argument)


def _default(value: Any, factory: Any) -> str:
    if value is msgspec.NODEFAULT:
        value = factory()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Struct):
        said = msgspec.json.encode(value).decode()
        return "all defaults" if said == "{}" else f"`{said}`"
    return f"`{value}`" if value or value == 0 else "empty"


def _meaning(kind: type[Struct], name: str, hint: Any) -> str:
    """The field's own docstring, else what its type says of this field, else what it means everywhere."""
    if (said := _field_docstrings(kind).get(name)) is not None:
        return said.rstrip(".")
    metas = getattr(hint, "__metadata__", ())
    if metas and metas[-1].description and (len(metas) > 1 or _scalar(hint) is None):
        return metas[-1].description.rstrip(".")
    if isinstance(hint, type) and issubclass(hint, Struct):
        return described(hint).partition(".")[0]
    if name.rstrip("_") in OF_ANY_TYPE:
        return OF_ANY_TYPE[name.rstrip("_")]
    if f"`{name}`" in (kind.__doc__ or ""):
        return "see above"
    inner = [part for part in _parts(hint) if isinstance(part, type) and issubclass(part, Struct)]
    if inner:
        return described(inner[0]).partition(".")[0]
    raise LookupError(f"{kind.__name__}.{name} is explained nowhere")


@cache
def _field_docstrings(kind: type[Struct]) -> dict[str, str]:
    """Field → the docstring right after it, of a type and of those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base in (object, Struct) or not issubclass(base, Struct) or base.__module__ == "msgspec":
            continue
        [tree] = ast.parse(inspect.getsource(base)).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, after in pairwise(body):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    found[name] = inspect.cleandoc(said).replace("\n", " ")
    return found
