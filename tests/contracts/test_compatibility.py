"""Changes of contracts: each kind that breaks somebody is found and said, and those that break nobody pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ledger import upcasters
from service.compatibility import Verdict, compare, differences
from service.contracts import contract_files, read_contracts, write_contracts
from tests.cli.running import Loyalty

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
PURCHASE = "inbound/purchase.v1.json"
ACCRUED = "events/points-accrued.v1.json"
Change = Callable[[Any], object]


@cache
def current() -> dict[str, bytes]:
    return contract_files()


def schema_of(file: str) -> Any:
    return json.loads(current()[file])


def changed(file: str, change: Change) -> dict[str, bytes]:
    """The contracts of today with a change in one of them."""
    schema = schema_of(file)
    change(schema)
    return {**current(), file: json.dumps(schema).encode()}


def verdict_on(file: str, change: Change) -> Verdict:
    """The verdict when the change is made to what is published today."""
    (verdict,) = compare(current(), changed(file, change))
    assert verdict.file == file
    return verdict


# --- one table of changes -----------------------------------------------------------------------------------------


def at(*path: str) -> Callable[[Any], Any]:
    def found(schema: Any) -> Any:
        for step in path:
            schema = schema[step]
        return schema

    return found


STORE = at("properties", "store")
LINES = at("properties", "lines")
LINE = at("$defs", "PurchaseLine")
AMOUNT = at("$defs", "PurchaseLine", "properties", "amount_minor")
COST = at("$defs", "PurchaseLine", "properties", "cost_minor", "anyOf")

CHANGES: dict[str, tuple[Change, tuple[str, str] | None, tuple[str, str] | None]] = {
    # a change of the purchase → rule and path of what is not backward compatible, and of what is not forward
    "nothing but words": (lambda schema: schema.update(description="Other words", title="Purchase"), None, None),
    "a field became required": (
        lambda schema: schema["required"].append("store"),
        ("field became required", "store"),
        None,
    ),
    "a field in a line became required": (
        lambda schema: LINE(schema)["required"].append("category"),
        ("field became required", "lines[].category"),
        None,
    ),
    "a field may be left out": (
        lambda schema: schema["required"].remove("currency"),
        None,
        ("field may be missing", "currency"),
    ),
    "a field was added": (
        lambda schema: schema["properties"].update(till={"type": "string"}),
        None,
        ("field added", "till"),
    ),
    "a field was removed": (lambda schema: schema["properties"].pop("store"), ("field removed", "store"), None),
    "a field was renamed": (
        lambda schema: schema["properties"].update(shop=schema["properties"].pop("store")),
        ("field removed", "store"),
        ("field added", "shop"),
    ),
    "another type": (
        lambda schema: STORE(schema).update(type="integer"),
        ("type narrowed", "store"),
        ("type widened", "store"),
    ),
    "null is refused": (
        lambda schema: COST(schema).pop(),
        ("type narrowed", "lines[].cost_minor"),
        None,
    ),
    "null is taken": (
        lambda schema: schema["properties"].update(store={"anyOf": [STORE(schema), {"type": "null"}], "default": ""}),
        None,
        ("type widened", "store"),
    ),
    "fractions are taken": (
        lambda schema: AMOUNT(schema).update(type="number"),
        None,
        ("type widened", "lines[].amount_minor"),
    ),
    "a maximum lowered": (
        lambda schema: AMOUNT(schema).update(maximum=10),
        ("limit tightened", "lines[].amount_minor"),
        None,
    ),
    "a maximum raised": (
        lambda schema: AMOUNT(schema).update(maximum=10**16),
        None,
        ("limit loosened", "lines[].amount_minor"),
    ),
    "a maximum removed": (
        lambda schema: AMOUNT(schema).pop("maximum"),
        None,
        ("limit loosened", "lines[].amount_minor"),
    ),
    "a minimum raised": (
        lambda schema: AMOUNT(schema).update(minimum=1),
        ("limit tightened", "lines[].amount_minor"),
        None,
    ),
    "a minimum made exclusive": (
        lambda schema: AMOUNT(schema).update(exclusiveMinimum=AMOUNT(schema).pop("minimum")),
        ("limit tightened", "lines[].amount_minor"),
        None,
    ),
    "a text made shorter": (lambda schema: STORE(schema).update(maxLength=10), ("limit tightened", "store"), None),
    "fewer lines": (lambda schema: LINES(schema).update(maxItems=10), ("limit tightened", "lines"), None),
    "no lines allowed": (lambda schema: LINES(schema).pop("minItems"), None, ("limit loosened", "lines")),
    "another pattern": (
        lambda schema: STORE(schema).update(pattern="^S-"),
        ("form changed", "store"),
        ("form changed", "store"),
    ),
    "no pattern": (lambda schema: STORE(schema).pop("pattern"), None, ("form changed", "store")),
    "a format": (lambda schema: STORE(schema).update(format="uri"), ("form changed", "store"), None),
    "another default": (
        lambda schema: STORE(schema).update(default="none"),
        ("default changed", "store"),
        ("default changed", "store"),
    ),
    "false for a default of nothing": (
        lambda schema: LINE(schema)["properties"]["reward"].update(default=0),
        ("default changed", "lines[].reward"),
        ("default changed", "lines[].reward"),
    ),
    "other fields are taken": (
        lambda schema: schema.pop("additionalProperties"),
        None,
        None,  # a sender writes no fields but those of its contract
    ),
    "a keyword that is not judged": (
        lambda schema: LINES(schema).update(uniqueItems=True),
        ("cannot be judged", "lines"),
        ("cannot be judged", "lines"),
    ),
    "a definition under another name": (
        lambda schema: (
            schema["$defs"].update(Line=schema["$defs"].pop("PurchaseLine")),
            LINES(schema)["items"].update({"$ref": "#/$defs/Line"}),
        ),
        None,
        None,
    ),
    "a definition written out": (lambda schema: LINES(schema).update(items=LINE(schema)), None, None),
}


@pytest.mark.parametrize(("change", "backward", "forward"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_judged_in_both_directions(
    change: Change, backward: tuple[str, str] | None, forward: tuple[str, str] | None
) -> None:
    verdict = verdict_on(PURCHASE, change)
    for expected, found in ((backward, verdict.backward), (forward, verdict.forward)):
        assert [(problem.rule, problem.path) for problem in found] == ([expected] if expected else [])


@pytest.mark.parametrize(("change", "backward", "forward"), CHANGES.values(), ids=CHANGES)
def test_the_change_undone_is_judged_the_other_way_round(
    change: Change, backward: tuple[str, str] | None, forward: tuple[str, str] | None
) -> None:
    """What is backward compatible one way is forward compatible the other: the two are one question."""
    (verdict,) = compare(changed(PURCHASE, change), current())
    assert [problem.path for problem in verdict.forward] == ([backward[1]] if backward else [])
    assert [problem.path for problem in verdict.backward] == ([forward[1]] if forward else [])


@pytest.mark.parametrize(
    ("instruments", "backward", "forward"),
    [
        (["NPS"], ["value removed"], []),
        (["NPS", "CSAT", "CES", "ACSI", "SERVQUAL"], [], ["value added"]),
        (["ACSI", "CES", "NPS", "CSAT"], [], []),
    ],
)
def test_values_of_a_choice(instruments: list[str], backward: list[str], forward: list[str]) -> None:
    verdict = verdict_on(
        "inbound/survey.v1.json", lambda schema: schema["properties"]["instrument"].update(enum=instruments)
    )
    assert [problem.rule for problem in verdict.backward] == backward
    assert [problem.rule for problem in verdict.forward] == forward


def test_what_is_found_is_said_in_words() -> None:
    verdict = verdict_on(PURCHASE, lambda schema: AMOUNT(schema).update(maximum=10))
    assert verdict.backward[0].words == "the limit maximum is 10 now, and was 1000000000000000"
    verdict = verdict_on("inbound/survey.v1.json", lambda schema: schema["properties"]["instrument"].update(enum=["X"]))
    assert verdict.backward[0].words == 'took "ACSI", "CES", "CSAT", "NPS", which is refused now; taken: "X"'
    assert verdict.forward[0].words == 'may be "X" now; older readers take only "ACSI", "CES", "CSAT", "NPS"'


SCALE = at("properties", "scale")
ANSWERS = at("properties", "answers")


@pytest.mark.parametrize(
    ("change", "backward"),
    [
        (lambda schema: SCALE(schema)["prefixItems"].__setitem__(1, {"type": "string"}), ["scale[1]"]),
        (lambda schema: SCALE(schema).update(prefixItems=[]), ["scale[0]", "scale[1]"]),
        (lambda schema: SCALE(schema).update(maxItems=1), ["scale"]),
        (lambda schema: ANSWERS(schema)["additionalProperties"]["anyOf"].pop(), ["answers.*"]),
        (lambda schema: ANSWERS(schema)["additionalProperties"]["anyOf"].pop(0), []),  # integers are numbers
        (lambda schema: ANSWERS(schema)["propertyNames"].update(maxLength=4), ["answers(names)"]),
        (lambda schema: ANSWERS(schema).update(additionalProperties=False), ["answers.*"]),
        (lambda schema: ANSWERS(schema).update(properties={"a": {"type": "null"}}), ["answers.a"] * 3),
    ],
)
def test_tuples_and_mappings(change: Change, backward: list[str]) -> None:
    verdict = verdict_on("inbound/survey.v1.json", change)
    assert [problem.path for problem in verdict.backward] == backward


def test_a_schema_that_refers_to_itself_is_compared_to_its_end() -> None:
    def tree(kind: str) -> Any:
        node = {"type": "object", "properties": {"of": {"$ref": "#/$defs/Node"}, "is": {"type": kind}}}
        return {"$ref": "#/$defs/Node", "$defs": {"Node": node}}

    assert differences(writer=tree("string"), reader=tree("string"), direction="backward") == []
    found = differences(writer=tree("string"), reader=tree("null"), direction="backward")
    assert [problem.path for problem in found] == ["is"]


def test_a_schema_that_only_leads_deeper_is_not_followed_for_ever() -> None:
    deep: Any = {"type": "null"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    found = differences(writer=deep, reader=copy.deepcopy(deep), direction="backward")
    assert [problem.rule for problem in found] == ["cannot be judged"]


# --- which direction is needed ------------------------------------------------------------------------------------


def test_what_comes_in_need_not_be_read_by_an_older_ledger() -> None:
    verdict = verdict_on(PURCHASE, lambda schema: schema["properties"].update(till={"type": "string"}))
    assert (verdict.needed, verdict.compatible) == (("backward",), True)
    assert verdict.forward


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        (lambda schema: schema["properties"]["points"].update(type="number"), "forward"),
        (lambda schema: schema["required"].remove("lot"), "forward"),
        (
            lambda schema: schema["properties"].update(till={"type": "string"}) or schema["required"].append("till"),
            "backward",
        ),
        (lambda schema: schema["properties"]["points"].update(minimum=1), "backward"),
    ],
)
def test_what_goes_out_must_be_read_by_older_readers_and_old_records_by_newer(change: Change, direction: str) -> None:
    verdict = verdict_on(ACCRUED, change)
    assert not verdict.compatible
    assert getattr(verdict, direction)


def test_an_event_may_get_a_field_that_may_be_left_out() -> None:
    verdict = verdict_on(ACCRUED, lambda schema: schema["properties"].update(till={"type": "string", "default": ""}))
    assert (verdict.compatible, verdict.backward, verdict.forward) == (True, [], [])


@pytest.mark.parametrize("file", [PURCHASE, ACCRUED, "terms.v1.json", "balance.v1.json", "asyncapi.json"])
def test_a_contract_that_is_gone_is_not_compatible(file: str) -> None:
    (verdict,) = compare(current(), {path: text for path, text in current().items() if path != file})
    assert (verdict.compatible, [problem.rule for problem in verdict.backward]) == (False, ["removed"])


@pytest.mark.parametrize(
    ("registry", "old", "new", "file"),
    [
        ("INBOUND", "purchase.v0", "purchase.v1", "inbound/purchase.v0.json"),
        ("EVENTS", "points-earned.v0", "points-accrued.v1", "events/points-earned.v0.json"),
    ],
)
def test_an_old_version_may_go_where_there_is_an_upcaster(
    monkeypatch: pytest.MonkeyPatch, registry: str, old: str, new: str, file: str
) -> None:
    published = {**current(), file: current()[PURCHASE]}
    assert not compare(published, current())[0].compatible
    monkeypatch.setattr(upcasters, registry, {old: (new, dict)})
    assert compare(published, current())[0].compatible


@pytest.mark.parametrize(("registry", "name"), [("INBOUND", "purchase.v1"), ("EVENTS", "purchase-recorded.v1")])
def test_a_message_of_an_old_version_may_leave_its_topic_where_there_is_an_upcaster(
    monkeypatch: pytest.MonkeyPatch, registry: str, name: str
) -> None:
    channel = "inbound" if registry == "INBOUND" else "events"
    without = changed("asyncapi.json", lambda document: document["channels"][channel]["messages"].pop(name))
    assert not compare(current(), without)[0].compatible
    monkeypatch.setattr(upcasters, registry, {name: ("newer.v2", dict)})
    assert compare(current(), without)[0].compatible


def test_a_new_contract_breaks_nobody() -> None:
    published = {path: text for path, text in current().items() if path not in (PURCHASE, ACCRUED)}
    verdicts = compare(published, current())
    assert [(verdict.file, verdict.compatible) for verdict in verdicts] == [(ACCRUED, True), (PURCHASE, True)]


MESSAGES = at("components", "messages")
TOPIC_CHANGES: dict[str, tuple[Change, str | None]] = {
    "a topic removed": (lambda document: document["channels"].pop("balances"), "topic removed"),
    "a topic renamed": (lambda document: document["channels"]["events"].update(address="other"), "topic renamed"),
    "a message removed": (
        lambda document: document["channels"]["inbound"]["messages"].pop("purchase.v1"),
        "message removed",
    ),
    "a header is left out": (
        lambda document: MESSAGES(document)["deadLetter"]["headers"]["required"].remove("loyalty-error-code"),
        "field may be missing",
    ),
    "a header is asked for": (
        lambda document: MESSAGES(document)["binaryEvent"]["headers"]["required"].append("ce_time"),
        "field became required",
    ),
    "a part of the envelope is asked for": (
        lambda document: MESSAGES(document)["structuredEvent"]["payload"]["required"].append("data"),
        "field became required",
    ),
    "another header value": (
        lambda document: MESSAGES(document)["purchase-recorded.v1"]["headers"]["properties"]["ce_type"].update(
            const="purchase"
        ),
        "value added",
    ),
    "another content type": (
        lambda document: MESSAGES(document)["balance"].update(contentType="x"),
        "content type changed",
    ),
    "another key": (
        lambda document: MESSAGES(document)["balance"]["bindings"]["kafka"].update(key={"type": "string"}),
        "key changed",
    ),
    "another topic": (
        lambda document: document["channels"].update(more={"address": "more", "messages": {}}),
        None,
    ),
    "a header more": (
        lambda document: MESSAGES(document)["balance"]["headers"]["properties"].update(more={"type": "string"}),
        None,
    ),
    "other words": (lambda document: document["info"].update(description="Other words"), None),
}


@pytest.mark.parametrize(("change", "rule"), TOPIC_CHANGES.values(), ids=TOPIC_CHANGES)
def test_a_change_of_the_topics_is_judged(change: Change, rule: str | None) -> None:
    verdict = verdict_on("asyncapi.json", change)
    assert [problem.rule for problem in verdict.backward] == ([rule] if rule else [])
    assert verdict.compatible == (rule is None)


# --- no change ----------------------------------------------------------------------------------------------------


def test_the_current_contracts_fit_those_in_the_repository() -> None:
    """If this fails, a contract changed in a way that breaks senders or readers: it needs a new version."""
    broken = [verdict for verdict in compare(read_contracts(SCHEMAS), current()) if not verdict.compatible]
    assert broken == []


@pytest.mark.parametrize("file", [file for file in contract_files() if file != "asyncapi.json"])
def test_a_contract_is_compatible_with_itself(file: str) -> None:
    schema = schema_of(file)
    assert differences(writer=schema, reader=copy.deepcopy(schema), direction="backward") == []


NONE = object()
EXAMPLES = 300

# --- sound: what is called compatible is compatible -----------------------------------------------------------------


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_what_the_writer_may_write_is_taken_by_a_reader_that_is_called_compatible(data: st.DataObject) -> None:
    """Two schemas that differ a little, and instances of the one: if nothing is found, the other takes them all."""
    writer = data.draw(schemas(2))
    reader = data.draw(neighbours(writer))
    root = {"$defs": {"Leaf": data.draw(schemas(0))}}
    reader_root = {"$defs": {"Leaf": data.draw(st.sampled_from([root["$defs"]["Leaf"], {"type": "null"}]))}}
    writer, reader = {**writer, **root}, {**reader, **reader_root}
    if differences(writer=writer, reader=reader, direction="backward"):
        return
    for _ in range(4):
        instance = data.draw(instances(writer, writer))
        if instance is not NONE and Draft202012Validator(writer).is_valid(instance):
            assert Draft202012Validator(reader).is_valid(instance), (writer, reader, instance)


@settings(max_examples=300)
@given(st.data())
def test_a_message_that_fits_the_published_contract_fits_a_compatible_one(data: st.DataObject) -> None:
    """The same of the contracts themselves, with one keyword changed somewhere."""
    file = data.draw(st.sampled_from([name for name in sorted(current()) if name.startswith(("inbound/", "events/"))]))
    old, new = schema_of(file), schema_of(file)
    place = data.draw(st.sampled_from([place for place in subschemas(new) if isinstance(place, dict)]))
    edit(data, place)
    if differences(writer=old, reader=new, direction="backward"):
        return
    golden = json.loads((Path(__file__).parent / file).read_bytes())
    assert Draft202012Validator(new).is_valid(golden), (file, place)


NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = [None, True, False, 0, 1, 2, 3, 1.5, "", "a", "bb", "ccc"]


def schemas(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    limits = st.integers(0, 3)
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries({}, optional={"type": st.sampled_from(["null", "boolean"])}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["integer", "number"])},
            optional={"minimum": limits, "maximum": limits, "exclusiveMinimum": limits, "exclusiveMaximum": limits},
        ),
        st.fixed_dictionaries(
            {"type": st.just("string")},
            optional={"minLength": limits, "maxLength": limits, "pattern": st.sampled_from(["^a", "b"])},
        ),
        st.fixed_dictionaries(
            {"type": st.lists(st.sampled_from(["null", "string", "integer", "number"]), min_size=1, unique=True)}
        ),
        st.fixed_dictionaries({"enum": st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4, unique_by=repr)}),
        st.fixed_dictionaries({"const": st.sampled_from(SCALARS)}),
    ]
    if depth:
        below = schemas(depth - 1) | st.just({"$ref": "#/$defs/Leaf"})
        kinds += [
            st.fixed_dictionaries(
                {"type": st.just("object")},
                optional={
                    "properties": st.dictionaries(NAMES, below | st.booleans(), max_size=3),
                    "required": st.lists(NAMES, max_size=2, unique=True),
                    "additionalProperties": st.booleans() | below,
                    "propertyNames": schemas(0),
                    "minProperties": limits,
                    "maxProperties": limits,
                },
            ),
            st.fixed_dictionaries(
                {"type": st.just("array")},
                optional={
                    "items": below | st.booleans(),
                    "prefixItems": st.lists(below, min_size=1, max_size=2),
                    "minItems": limits,
                    "maxItems": limits,
                },
            ),
            st.fixed_dictionaries({"anyOf": st.lists(below, min_size=1, max_size=3)}),
            st.builds(lambda one, other: {**one, "anyOf": [other]}, schemas(0), schemas(0)),
            st.just({"$ref": "#/$defs/Leaf"}),
        ]
    return st.one_of(kinds)


@st.composite
def neighbours(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that differs from another a little, or entirely."""
    other = copy.deepcopy(schema)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(subschemas(other))))
        fresh = draw(schemas(1))
        key = draw(st.sampled_from(sorted({*place, *fresh}) or [""]))
        if key in fresh and draw(st.booleans()):
            place[key] = fresh[key]
        elif key in place:
            del place[key]
    return other


def subschemas(schema: Any) -> Iterator[Any]:
    """A schema and all the schemas in it."""
    yield schema
    inner = [schema.get(key) for key in ("items", "additionalProperties", "propertyNames")]
    inner += [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    inner += [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    for each in inner:
        if isinstance(each, dict):
            yield from subschemas(each)


def edit(data: st.DataObject, place: dict[str, Any]) -> None:
    key = data.draw(st.sampled_from(sorted(place) or ["type"]))
    match place.get(key):
        case bool() | None:
            place[key] = {}
        case int() as number:
            place[key] = data.draw(st.sampled_from([0, 1, number - 1, number + 1, number * 10]))
        case list() as entries if entries:
            place[key] = entries[: data.draw(st.integers(0, len(entries)))] or entries
        case dict() as entries if entries:
            place[key] = {name: entries[name] for name in sorted(entries)[: data.draw(st.integers(0, len(entries)))]}
            if key == "$defs":
                place[key] = entries
        case _:
            place.pop(key, None)


@st.composite
def instances(draw: st.DrawFn, schema: Any, root: dict[str, Any]) -> Any:
    """A value that a schema may take, with no fields but those it names; NONE if it takes nothing."""
    if schema is False:
        return NONE
    if schema is True:
        return draw(st.sampled_from(SCALARS))
    if "$ref" in schema:
        schema = {**root["$defs"]["Leaf"], **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema and draw(st.booleans()):
        return draw(instances(draw(st.sampled_from(schema["anyOf"])), root))
    for key in ("const", "enum"):
        if key in schema:
            return schema[key] if key == "const" else draw(st.sampled_from(schema[key]))
    kind = schema.get("type")
    if kind == "object":
        return draw(objects(schema, root))
    if kind == "array":
        first = [draw(instances(each, root)) for each in schema.get("prefixItems", [])]
        rest = [draw(instances(schema.get("items", True), root)) for _ in range(draw(st.integers(0, 2)))]
        return [item for item in [*first, *rest] if item is not NONE][: draw(st.integers(0, 4))]
    return draw(st.sampled_from(SCALARS))


@st.composite
def objects(draw: st.DrawFn, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    named = schema.get("properties", {})
    made = {}
    for name, each in named.items():
        if name in schema.get("required", []) or draw(st.booleans()):
            made[name] = draw(instances(each, root))
    others = schema.get("additionalProperties", not named)
    if others is not False:
        for name in draw(st.lists(NAMES, max_size=2, unique=True)):
            if name not in named:
                made[name] = draw(instances(others, root))
    return {name: value for name, value in made.items() if value is not NONE}


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_says_that_nothing_changed(tmp_path: Path) -> None:
    write_contracts(tmp_path)
    assert (
        Loyalty()("schemas", "check", "--against", str(tmp_path)).stdout
        == f"{len(current())} contracts compared, 0 changed: compatible.\n"
    )
    assert Loyalty().json("schemas", "check", "--against", str(tmp_path)) == {
        "compatible": True,
        "compared": len(current()),
        "changed": [],
    }


def published(directory: Path, file: str, change: Change) -> str:
    write_contracts(directory)
    (directory / file).write_bytes(changed(file, change)[file])
    return str(directory)


def test_the_command_names_file_path_and_rule_of_what_does_not_fit(tmp_path: Path) -> None:
    """Published is what had one more value: what is gone now."""
    against = published(tmp_path, PURCHASE, lambda schema: AMOUNT(schema).update(maximum=10**16))
    said = Loyalty()("schemas", "check", "--against", against, exit_code=3).stdout
    assert said == (
        "inbound/purchase.v1.json: not backward compatible\n"
        "    lines[].amount_minor: the limit maximum is 1000000000000000 now, and was 10000000000000000"
        " [limit tightened]\n"
        f"{len(current())} contracts compared, 1 changed: 1 incompatible.\n"
    )
    found = Loyalty().json("schemas", "check", "--against", against, exit_code=3)
    assert found["compatible"] is False
    assert found["changed"][0]["file"] == PURCHASE
    assert found["changed"][0]["needed"] == ["backward"]
    assert found["changed"][0]["backward"]["problems"][0]["rule"] == "limit tightened"
    assert found["changed"][0]["forward"] == {"compatible": True, "problems": []}


def test_the_command_says_what_need_not_be_and_ends_well(tmp_path: Path) -> None:
    against = published(tmp_path, PURCHASE, lambda schema: schema["properties"].pop("store"))
    said = Loyalty()("schemas", "check", "--against", against).stdout
    assert "not forward compatible, which it need not be\n    store: is new" in said


def test_a_directory_that_holds_no_contracts_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    said = Loyalty()("schemas", "check", "--against", str(tmp_path), exit_code=2)
    assert "has no contracts" in said.stderr


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_published_file_that_is_no_schema_is_wrong_usage(tmp_path: Path, content: str) -> None:
    write_contracts(tmp_path)
    (tmp_path / PURCHASE).write_text(content)
    said = Loyalty()("schemas", "check", "--against", str(tmp_path), exit_code=2)
    assert "purchase.v1.json is no JSON" in said.stderr
