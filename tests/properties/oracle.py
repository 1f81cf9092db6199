"""A slow, obvious model of docs/rules.md: plain dicts, lists and fractions, and no code of the ledger.

It reads commands only by their type's name and their fields, keeps members of its own, and says for each command the
code of its refusal or how the members stand after it. It was written from the page, apart from the core.

A terms description is a dict:

    effective_from                from when it is in force
    rate                          Fraction: points for one minor unit
    multipliers                   category -> Fraction; where none is named it is 1
    tax, discounts, rewards       exclude | include, after | before, exclude | include: what of a line earns
    rounding                      floor_per_purchase | floor_per_line | half_up_per_purchase
    cap                           most points a purchase, or None
    activation                    timedelta from T to `available_at`
    expiry                        timedelta from T to `expires_at`, or None for never
    return_window, reversal_window, late_grace, hold_timeout        timedeltas
    policy                        only_pending | within_balance | arrears
    unmatched                     refuse | base_rate
    extend                        timedelta, or None where a layer that expired meanwhile is forfeited
    minimum, step                 of a redemption
"""

from __future__ import annotations

import copy
import re
from datetime import datetime
from fractions import Fraction
from math import floor, lcm
from typing import Any

# Written out here, apart from ledger.rejections: of several rules that are broken the first of these is named.
PRECEDENCE = [
    "TERMS_MISSING",
    "MEMBER_UNKNOWN",
    "MEMBER_ALREADY_ENROLLED",
    "MEMBER_MERGED",
    "MEMBER_CLOSED",
    "MEMBER_ERASED",
    "MEMBER_NOT_MERGED",
    "SAME_MEMBER",
    "OPEN_HOLDS",
    "OCCURRED_BEFORE_LATEST",
    "CURRENCY_MISMATCH",
    "PURCHASE_REQUIRED",
    "NOTHING_TO_RETURN",
    "PURCHASE_NOT_FOUND",
    "PURCHASE_AMBIGUOUS",
    "RETURN_BEFORE_PURCHASE",
    "RETURN_WINDOW_PASSED",
    "RETURN_EXCEEDS_PURCHASE",
    "RETURN_UNMATCHED",
    "POINTS_BELOW_MINIMUM",
    "POINTS_NOT_A_STEP",
    "POINTS_ZERO",
    "INSUFFICIENT_POINTS",
    "REDEMPTION_NOT_FOUND",
    "REDEMPTION_AMBIGUOUS",
    "REVERSAL_BEFORE_REDEMPTION",
    "REVERSAL_WINDOW_PASSED",
    "REVERSAL_EXCEEDS_REDEMPTION",
    "HOLD_NOT_FOUND",
    "HOLD_AMBIGUOUS",
    "OCCURRED_BEFORE_HOLD",
    "HOLD_TIMED_OUT",
    "CAPTURE_EXCEEDS_HOLD",
    "NOTHING_TO_EXPIRE",
    "NOTHING_TO_CHANGE",
]


class Refused(Exception):
    """Carries a refusal out of a verb; what the verb did until then is thrown away."""


def refuse_if(**broken: bool) -> None:
    """Refuse with the first code, in order of precedence, of those that are true."""
    codes = [code for code in PRECEDENCE if broken.get(code)]
    assert set(broken) <= set(PRECEDENCE)
    if codes:
        raise Refused(codes[0])


class Oracle:
    """Several members of one programme. All instants come with the commands."""

    def __init__(self, currency: str, terms: list[dict[str, Any]]) -> None:
        self.currency = currency
        self.terms = terms
        self.members: dict[str, dict[str, Any]] = {}

    def handle(self, command: Any) -> str | None:
        """Take a command: the code of its refusal, or None where it was done."""
        before = copy.deepcopy(self.members)
        try:
            verb = re.sub("(?<!^)(?=[A-Z])", "_", type(command).__name__).lower()
            getattr(self, verb)(command, self.member(command.member), command.occurred_at)
        except Refused as refused:
            self.members = before
            return str(refused)
        return None

    def member(self, name: str) -> dict[str, Any]:
        if name not in self.members:
            self.members[name] = {
                "name": name,
                "status": "unknown",
                "attributes": {},
                "newest": None,
                "lots": 0,
                "layers": [],
                "holds": [],
                "redemptions": [],
                "purchases": [],
                "arrears": 0,
                "arrears_since": None,
                "into": None,
                "came": {},
                "spent": 0,
                "expired": 0,
            }
        return self.members[name]

    def terms_at(self, at: datetime) -> dict[str, Any]:
        in_force = [terms for terms in self.terms if terms["effective_from"] <= at]
        refuse_if(TERMS_MISSING=not in_force)
        return max(in_force, key=lambda terms: terms["effective_from"])

    # --- what is compared ------------------------------------------------------------------------------------------

    def figures(self, name: str, at: datetime) -> dict[str, Any]:
        """The figures of a member at an instant."""
        m = self.member(name)
        living = [layer for layer in m["layers"] if not is_expired(layer, at)]
        pending = total(layer for layer in living if is_pending(layer, at))
        held = total(part for hold in m["holds"] for part in hold["left"])
        ends = sorted({layer["expires_at"] for layer in living if layer["expires_at"] is not None})
        return {
            "active": total(living) - pending,
            "pending": pending,
            "held": held,
            "balance": total(living) + held,
            "spent": m["spent"],
            "expired": m["expired"] + total(layer for layer in m["layers"] if is_expired(layer, at)),
            "arrears": m["arrears"],
            "next_expiry_at": ends[0] if ends else None,
            "next_expiry_points": total(layer for layer in living if ends and layer["expires_at"] == ends[0]),
        }

    def layers(self, name: str) -> list[tuple[Any, ...]]:
        """The open layers of a member in spending order."""
        return [
            (layer["lot"], layer["points"], layer["opened_at"], layer["available_at"], layer["expires_at"])
            for layer in in_spending_order(self.member(name)["layers"])
        ]

    # --- membership ------------------------------------------------------------------------------------------------

    def need_open(self, *members: dict[str, Any]) -> None:
        for m in members:
            refuse_if(
                MEMBER_UNKNOWN=m["status"] == "unknown",
                MEMBER_MERGED=m["status"] == "merged",
                MEMBER_CLOSED=m["status"] == "closed",
                MEMBER_ERASED=m["status"] == "erased",
            )

    def enrol_member(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        refuse_if(
            MEMBER_ALREADY_ENROLLED=m["status"] == "open",
            MEMBER_MERGED=m["status"] == "merged",
            MEMBER_CLOSED=m["status"] == "closed",
            MEMBER_ERASED=m["status"] == "erased",
        )
        m["status"] = "open"
        m["attributes"] = dict(command.attributes)
        done(m, at)

    def change_profile(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        self.need_open(m)
        refuse_if(NOTHING_TO_CHANGE=not command.attributes and not command.personal)
        m["attributes"] = {
            name: value for name, value in {**m["attributes"], **command.attributes}.items() if value is not None
        }
        done(m, at)

    def close_member(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        self.need_open(m)
        self.end(m, at, "closed")

    def erase_member(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        if m["status"] not in ("closed", "merged"):
            self.need_open(m)
        self.end(m, at, "erased")

    def end(self, m: dict[str, Any], at: datetime, status: str) -> None:
        refuse_if(OPEN_HOLDS=bool(m["holds"]), OCCURRED_BEFORE_LATEST=m["newest"] is not None and at < m["newest"])
        m["status"] = status
        m["attributes"] = {}
        m["layers"], m["purchases"], m["redemptions"] = [], [], []
        m["arrears"], m["arrears_since"] = 0, None
        done(m, at)

    def merge_members(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        into = self.member(command.into)
        self.need_open(m, into)
        refuse_if(
            SAME_MEMBER=m is into,
            OPEN_HOLDS=bool(m["holds"]),
            OCCURRED_BEFORE_LATEST=at < m["newest"] or at < into["newest"],
        )
        came: dict[str, Any] = {"layers": [], "arrears": m["arrears"]}
        for layer in m["layers"]:
            moved = {**layer, "opened_at": max(layer["opened_at"], at), "available_at": max(layer["available_at"], at)}
            put(came["layers"], dict(moved))
            put(into["layers"], moved)
        owe(into, m["arrears"], at)
        came["purchases"] = [key(purchase) for purchase in m["purchases"]]
        came["redemptions"] = [key(redemption) for redemption in m["redemptions"]]
        into["purchases"] += m["purchases"]
        into["redemptions"] += m["redemptions"]
        into["came"][m["name"]] = came
        m["layers"], m["purchases"], m["redemptions"] = [], [], []
        m["arrears"], m["arrears_since"] = 0, None
        m["status"], m["into"] = "merged", into["name"]
        done(m, at)
        done(into, at)

    def undo_merge(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        refuse_if(MEMBER_UNKNOWN=m["status"] == "unknown", MEMBER_NOT_MERGED=m["status"] != "merged")
        into = self.member(m["into"])
        self.need_open(into)
        refuse_if(
            OPEN_HOLDS=bool(into["holds"]),
            OCCURRED_BEFORE_LATEST=at < m["newest"] or at < into["newest"],
        )
        came = into["came"].pop(m["name"])
        for layer in came["layers"]:
            for there in into["layers"]:
                if same_layer(layer, there):
                    points = min(layer["points"], there["points"])
                    there["points"] -= points
                    back = {**layer, "points": points, "opened_at": at, "available_at": max(layer["available_at"], at)}
                    put(m["layers"], back)
        sweep(into)
        arrears = min(came["arrears"], into["arrears"])
        repay(into, arrears)
        owe(m, arrears, at)
        m["purchases"] = [purchase for purchase in into["purchases"] if key(purchase) in came["purchases"]]
        m["redemptions"] = [redemption for redemption in into["redemptions"] if key(redemption) in came["redemptions"]]
        into["purchases"] = [purchase for purchase in into["purchases"] if purchase not in m["purchases"]]
        into["redemptions"] = [redemption for redemption in into["redemptions"] if redemption not in m["redemptions"]]
        m["status"], m["into"] = "open", None
        done(m, at)
        done(into, at)

    # --- trade -----------------------------------------------------------------------------------------------------

    def record_purchase(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        refuse_if(CURRENCY_MISMATCH=command.currency != self.currency)
        points, weights = earned(terms, command.lines)
        m["purchases"].append(
            {
                "source": command.source,
                "id": command.id,
                "at": at,
                "until": at + terms["return_window"],
                "keep": at + terms["return_window"] + terms["late_grace"],
                "lines": [(line.sku, line.quantity, line.amount_minor) for line in command.lines],
                "back": [[0, 0] for _ in command.lines],
                "pieces": [pieces(line.cost_minor, line.quantity) for line in command.lines],
                "costed": [0 for _ in command.lines],
                "weights": weights,
                "earned": points,
                "due": 0,
                "lot": self.open_lot(m, points, at, at + terms["activation"], terms) if points else None,
            }
        )
        done(m, at)

    def open_lot(self, m: dict[str, Any], points: int, at: datetime, available: datetime, terms: dict[str, Any]) -> str:
        m["lots"] += 1
        lot = f"{m['name']}.{m['lots']:06d}"
        repaid = repayable(m, points, at)
        repay(m, repaid)
        expires = None if terms["expiry"] is None else at + terms["expiry"]
        give(m, lot, points - repaid, at, available, expires)
        return lot

    def record_return(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        refuse_if(CURRENCY_MISMATCH=command.currency != self.currency)
        refuse_if(
            PURCHASE_REQUIRED=command.purchase is None and command.lines is None,
            NOTHING_TO_RETURN=command.amount_minor == 0
            or any(line.quantity == 0 and line.amount_minor == 0 for line in command.lines or ()),
        )
        if command.purchase is not None:
            touched, unmatched = self.return_of_purchase(command, m, at), 0
        else:
            touched, unmatched = self.return_of_anything(command, m, at, terms)
        self.costs = {key(purchase): cost_of_what_came(purchase) for purchase in touched}
        # What is due is settled for every purchase before the first point is taken.
        dues = [(purchase["lot"], newly_due(purchase)) for purchase in touched]
        for lot, due in dues:
            self.claw_back(m, at, due, terms["policy"], lot)
        self.claw_back(m, at, unmatched, terms["policy"], None)
        done(m, at)

    def return_of_purchase(self, command: Any, m: dict[str, Any], at: datetime) -> list[dict[str, Any]]:
        purchase = find(m["purchases"], command.purchase, command.purchase_source, command.source, "PURCHASE")
        refuse_if(RETURN_BEFORE_PURCHASE=at < purchase["at"], RETURN_WINDOW_PASSED=at > purchase["until"])
        left = [(q - back[0], a - back[1]) for (_, q, a), back in zip(purchase["lines"], purchase["back"], strict=True)]
        if command.lines is not None:
            for line in command.lines:
                quantity, amount = take_line(purchase, line.sku, line.quantity, line.amount_minor)
                refuse_if(RETURN_EXCEEDS_PURCHASE=quantity > 0 or amount > 0)
        elif command.amount_minor is not None:
            whole = sum(a for _, a in left)
            refuse_if(RETURN_EXCEEDS_PURCHASE=command.amount_minor > whole)
            so_far = given = 0
            for (_, amount), back in zip(left, purchase["back"], strict=True):
                so_far += amount
                upto = floor(Fraction(command.amount_minor * so_far, whole)) if whole else 0
                back[1] += upto - given
                given = upto
        else:
            refuse_if(RETURN_EXCEEDS_PURCHASE=all(pair == (0, 0) for pair in left))
            purchase["back"] = [[q, a] for _, q, a in purchase["lines"]]
        return [purchase]

    def return_of_anything(
        self, command: Any, m: dict[str, Any], at: datetime, terms: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], int]:
        numbered = [(p["at"], number, p) for number, p in enumerate(m["purchases"]) if p["at"] <= at <= p["until"]]
        newest_first = [p for _, _, p in sorted(numbered, key=lambda entry: entry[:2], reverse=True)]
        touched: list[dict[str, Any]] = []
        over_quantity = over_amount = 0
        for line in command.lines:
            quantity, amount = line.quantity, line.amount_minor
            for purchase in newest_first:
                wanted = quantity, amount
                quantity, amount = take_line(purchase, line.sku, quantity, amount)
                if (quantity, amount) != wanted and purchase not in touched:
                    touched.append(purchase)
            over_quantity, over_amount = over_quantity + quantity, over_amount + amount
        unmatched = over_quantity > 0 or over_amount > 0
        refuse_if(RETURN_UNMATCHED=unmatched and terms["unmatched"] == "refuse")
        return touched, floor(over_amount * terms["rate"])

    def claw_back(self, m: dict[str, Any], at: datetime, due: int, policy: str, own: str | None) -> None:
        there = [layer for layer in m["layers"] if layer["opened_at"] <= at and not is_expired(layer, at)]
        mine = in_spending_order(layer for layer in there if own is not None and layer["lot"] == own)
        pending = in_spending_order(layer for layer in there if is_pending(layer, at))
        if policy == "only_pending":
            turn = [layer for layer in pending if own is None or layer["lot"] == own]
        else:
            turn = mine + in_spending_order(layer for layer in there if not is_pending(layer, at)) + pending
        taken = total(take(m, turn, due))
        if policy == "arrears":
            owe(m, due - taken, at)

    # --- points ----------------------------------------------------------------------------------------------------

    def accrue_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        self.open_lot(m, command.points, at, at + terms["activation"], terms)
        done(m, at)

    def redeem_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        refuse_if(
            POINTS_BELOW_MINIMUM=command.points < terms["minimum"],
            POINTS_NOT_A_STEP=command.points % terms["step"] != 0,
        )
        taken = self.take_available(m, command.points, at)
        self.redeemed(m, command, at, terms, taken)
        done(m, at)

    def take_available(self, m: dict[str, Any], points: int, at: datetime) -> list[dict[str, Any]]:
        self.release_timed_out(m, at)
        available = [layer for layer in m["layers"] if not is_pending(layer, at) and not is_expired(layer, at)]
        refuse_if(INSUFFICIENT_POINTS=total(available) < points)
        return take(m, in_spending_order(available), points)

    def release_timed_out(self, m: dict[str, Any], at: datetime) -> bool:
        late = [hold for hold in m["holds"] if hold["times_out_at"] <= at]
        for hold in late:
            self.release(m, hold, at)
        return bool(late)

    def release(self, m: dict[str, Any], hold: dict[str, Any], at: datetime) -> None:
        m["holds"].remove(hold)
        for part in hold["left"]:
            give(m, part["lot"], part["points"], at, max(part["available_at"], at), part["expires_at"])

    def redeemed(
        self, m: dict[str, Any], command: Any, at: datetime, terms: dict[str, Any], parts: list[dict[str, Any]]
    ) -> None:
        m["spent"] += total(parts)
        m["redemptions"].append(
            {
                "source": command.source,
                "id": command.id,
                "at": at,
                "until": at + terms["reversal_window"],
                "keep": at + terms["reversal_window"] + terms["late_grace"],
                "left": parts,
            }
        )

    def reverse_redemption(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        redemption = find(m["redemptions"], command.redemption, command.redemption_source, command.source, "REDEMPTION")
        left = total(redemption["left"])
        points = left if command.points is None else command.points
        refuse_if(
            REVERSAL_WINDOW_PASSED=at > redemption["until"],
            REVERSAL_BEFORE_REDEMPTION=at < redemption["at"],
            REVERSAL_EXCEEDS_REDEMPTION=points > left or points == 0,
        )
        back, redemption["left"] = split(redemption["left"], points)
        m["spent"] -= points
        for part in back:
            available = max(part["available_at"], at)
            if not is_expired(part, at):
                give(m, part["lot"], part["points"], at, available, part["expires_at"])
            elif terms["extend"] is not None:
                give(m, part["lot"], part["points"], at, available, at + terms["extend"])
            else:
                m["expired"] += part["points"]
        done(m, at)

    def hold_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        taken = self.take_available(m, command.points, at)
        m["holds"].append(
            {
                "source": command.source,
                "id": command.id,
                "at": at,
                "times_out_at": at + terms["hold_timeout"],
                "left": taken,
            }
        )
        done(m, at)

    def capture_hold(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        hold = find(m["holds"], command.hold, command.hold_source, command.source, "HOLD")
        left = total(hold["left"])
        points = left if command.points is None else command.points
        refuse_if(
            HOLD_TIMED_OUT=at >= hold["times_out_at"],
            OCCURRED_BEFORE_HOLD=at < hold["at"],
            CAPTURE_EXCEEDS_HOLD=points > left,
        )
        captured, hold["left"] = split(hold["left"], points)
        self.redeemed(m, command, at, terms, captured)
        if not hold["left"] or command.release_rest:
            self.release(m, hold, at)
        done(m, at)

    def release_hold(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        self.need_open(m)
        hold = find(m["holds"], command.hold, command.hold_source, command.source, "HOLD")
        refuse_if(OCCURRED_BEFORE_HOLD=at < hold["at"])
        self.release(m, hold, at)
        done(m, at)

    def expire_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        self.need_open(m)
        released = self.release_timed_out(m, at)
        over = [layer for layer in m["layers"] if is_expired(layer, at) and layer["opened_at"] <= at]
        refuse_if(NOTHING_TO_EXPIRE=not released and not over)
        m["expired"] += total(take(m, over, total(over)))
        done(m, at)

    def claw_back_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        self.claw_back(m, at, command.points, terms["policy"], None)
        done(m, at)

    def adjust_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        terms = self.terms_at(at)
        self.need_open(m)
        refuse_if(POINTS_ZERO=command.points == 0)
        if command.points > 0:
            self.open_lot(m, command.points, at, at, terms)
        else:
            self.take_available(m, -command.points, at)
        done(m, at)

    def transfer_points(self, command: Any, m: dict[str, Any], at: datetime) -> None:
        to = self.member(command.to)
        self.need_open(m, to)
        refuse_if(SAME_MEMBER=m is to)
        sent = self.take_available(m, command.points, at)
        repaid = repayable(to, command.points, at)
        repay(to, repaid)
        for part in split(sent, repaid)[1]:
            give(to, part["lot"], part["points"], at, at, part["expires_at"])
        done(m, at)
        done(to, at)


# --- layers -------------------------------------------------------------------------------------------------------


def is_pending(layer: dict[str, Any], at: datetime) -> bool:
    return at < layer["available_at"]


def is_expired(layer: dict[str, Any], at: datetime) -> bool:
    # A layer may come to lie available after it expired (given back late); nobody can spend it, so it is expired.
    return layer["expires_at"] is not None and layer["expires_at"] <= at


def total(parts: Any) -> int:
    return sum(part["points"] for part in parts)


def in_spending_order(layers: Any) -> list[dict[str, Any]]:
    """Soonest expiry first (never is last), then earliest available, then lot name."""
    return sorted(
        layers,
        key=lambda layer: (
            layer["expires_at"] is None,
            layer["expires_at"] or layer["available_at"],
            layer["available_at"],
            layer["lot"],
        ),
    )


def same_layer(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("lot", "available_at", "expires_at"))


def put(layers: list[dict[str, Any]], layer: dict[str, Any]) -> None:
    """Add a layer to others; it becomes one with its like, opened when the later of the two was."""
    for there in layers:
        if same_layer(there, layer):
            there["points"] += layer["points"]
            there["opened_at"] = max(there["opened_at"], layer["opened_at"])
            return
    if layer["points"]:
        layers.append(layer)


def give(
    m: dict[str, Any], lot: str, points: int, opened: datetime, available: datetime, expires: datetime | None
) -> None:
    if points == 0:
        return
    layer = {"lot": lot, "points": points, "opened_at": opened, "available_at": available, "expires_at": expires}
    put(m["layers"], layer)


def take(m: dict[str, Any], turn: list[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    """Take up to `points` from layers of the member in the given turn; what was taken from each."""
    taken = []
    for layer in turn:
        part = min(points, layer["points"])
        if part:
            layer["points"] -= part
            points -= part
            taken.append({**layer, "points": part})
    sweep(m)
    return taken


def sweep(m: dict[str, Any]) -> None:
    m["layers"] = [layer for layer in m["layers"] if layer["points"]]


def split(parts: list[dict[str, Any]], points: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first `points` of the parts, and the rest."""
    first, rest = [], []
    for part in parts:
        now = min(points, part["points"])
        points -= now
        if now:
            first.append({**part, "points": now})
        if part["points"] - now:
            rest.append({**part, "points": part["points"] - now})
    return first, rest


# --- arrears ------------------------------------------------------------------------------------------------------


def owe(m: dict[str, Any], points: int, at: datetime) -> None:
    if points:
        m["arrears"] += points
        m["arrears_since"] = at if m["arrears_since"] is None else max(at, m["arrears_since"])


def repayable(m: dict[str, Any], points: int, at: datetime) -> int:
    return min(points, m["arrears"]) if m["arrears"] and at >= m["arrears_since"] else 0


def repay(m: dict[str, Any], points: int) -> None:
    m["arrears"] -= points
    if m["arrears"] == 0:
        m["arrears_since"] = None


# --- purchases, redemptions, holds --------------------------------------------------------------------------------


def key(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["source"], entry["id"]


def find(
    entries: list[dict[str, Any]], wanted: str, named_source: str | None, own_source: str, what: str
) -> dict[str, Any]:
    """The entry of that id: of the source that was named, else of the command's own, else the only one."""
    named = [entry for entry in entries if entry["id"] == wanted and named_source in (None, entry["source"])]
    own = [entry for entry in named if entry["source"] == own_source]
    refuse_if(**{f"{what}_NOT_FOUND": not named})
    if named_source is None and own:
        return own[0]
    refuse_if(**{f"{what}_AMBIGUOUS": len(named) > 1})
    return named[0]


def take_line(purchase: dict[str, Any], sku: str, quantity: int, amount: int) -> tuple[int, int]:
    """Return a line to a purchase as far as it goes; the quantity and amount for which there was no room."""
    for (its_sku, its_quantity, its_amount), back in zip(purchase["lines"], purchase["back"], strict=True):
        if its_sku == sku:
            taken = min(its_quantity - back[0], quantity), min(its_amount - back[1], amount)
            back[0] += taken[0]
            back[1] += taken[1]
            quantity -= taken[0]
            amount -= taken[1]
    return quantity, amount


def pieces(cost: int | None, quantity: int) -> list[int | None]:
    """What each piece of a line had cost, in minor units that add up to the line's cost; None where it is not known."""
    if cost is None:
        return [None] * quantity
    upto = [floor(Fraction(cost * number, quantity)) for number in range(quantity + 1)] if quantity else [0]
    return [upto[number] - upto[number - 1] for number in range(1, quantity + 1)]


def cost_of_what_came(purchase: dict[str, Any]) -> int | None:
    """What the pieces that newly came back had cost; None where one of them has no known cost. Remembers them."""
    came: list[int | None] = []
    for number, (costs, back) in enumerate(zip(purchase["pieces"], purchase["back"], strict=True)):
        came += costs[purchase["costed"][number] : back[0]]
        purchase["costed"][number] = back[0]
    return None if None in came else sum(cost for cost in came if cost is not None)


def newly_due(purchase: dict[str, Any]) -> int:
    """Points due for what came back of a purchase, less those that were due before. Remembers what is due now."""
    returned = 0
    for (_, quantity, amount), back, weight in zip(
        purchase["lines"], purchase["back"], purchase["weights"], strict=True
    ):
        if amount == 0:
            returned += weight if back[0] == quantity else 0
        else:
            returned += floor(Fraction(weight * back[1], amount))
    whole = sum(purchase["weights"])
    due = floor(Fraction(purchase["earned"] * returned, whole)) if whole else 0
    now = due - purchase["due"]
    purchase["due"] = due
    return now


def done(m: dict[str, Any], at: datetime) -> None:
    """The stream has an event dated `at`: forget what no message can be about any more, from the oldest recorded on."""
    m["newest"] = at if m["newest"] is None else max(at, m["newest"])
    for entries in (m["purchases"], m["redemptions"]):
        while entries and entries[0]["keep"] < m["newest"]:
            del entries[0]


# --- earning ------------------------------------------------------------------------------------------------------


def earned(terms: dict[str, Any], lines: Any) -> tuple[int, list[int]]:
    """Points of a purchase, and the weight of each line over the least common denominator of the rates."""
    bases = [earning_base(terms, line) for line in lines]
    rates = [terms["rate"] * terms["multipliers"].get(line.category, 1) for line in lines]
    scale = lcm(*(rate.denominator for rate, base in zip(rates, bases, strict=True) if base > 0))
    weights = [int(rate * base * scale) for rate, base in zip(rates, bases, strict=True)]
    if terms["rounding"] == "floor_per_line":
        weights, scale = [weight // scale for weight in weights], 1
    whole = Fraction(sum(weights), scale)
    points = floor(whole + Fraction(1, 2)) if terms["rounding"] == "half_up_per_purchase" else floor(whole)
    return points if terms["cap"] is None else min(points, terms["cap"]), weights


def earning_base(terms: dict[str, Any], line: Any) -> int:
    """What of a line earns: what was paid, with or without its tax, discount and rewards."""
    if line.reward and terms["rewards"] == "exclude":
        return 0
    base = line.amount_minor
    if terms["tax"] == "exclude":
        base -= line.tax_minor
    if terms["discounts"] == "before":
        base += line.discount_minor
    return max(base, 0)
