"""Check a proof of the loyalty ledger on any machine, without the ledger: Python 3.9 and the package `cryptography`.

    python verify_proof.py FILE --key VKEY [--key VKEY …]

FILE is what `loyalty audit proof` wrote. VKEY is a verifier key that you trust: of the ledger's operator, who signs
checkpoints, and of witnesses, who cosign them. It must have come to you by another way than the file. What is checked
of an event: its bytes, their hash, the path from there to the root of the journal's tree, the checkpoint of that root,
its signature. Of two checkpoints: that the later tree begins with the whole earlier one.

Exit codes: 0 proven, 1 not proven, 2 wrong usage or no such file.

Sources: RFC 9162, sections 2.1.1, 2.1.3.2 and 2.1.4.2; https://c2sp.org/signed-note, tlog-checkpoint and
tlog-cosignature (Ed25519). This file imports nothing of the ledger, so that it can be read and used by itself.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
import struct
import sys
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Sequence  # noqa: UP035

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EVENT_PROOF = "loyalty-ledger/event-proof/v1"
CONSISTENCY_PROOF = "loyalty-ledger/consistency-proof/v1"

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
ALGORITHMS = {ED25519: "Ed25519 signature", COSIGNATURE_V1: "Ed25519 cosignature"}
KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32
SIGNATURES_MAX = 100
SIGNATURE_START = "\u2014 "
HASH_BYTES = 32
TIMESTAMP_BYTES = 8
INTEGERS = {"journal": 32, "position": 64, "originator_version": 64, "command_events": 16}
"""The whole numbers of an event and their width in bits."""
TEXTS = ("originator_id", "topic")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017


class Refused(Exception):
    """What was given proves nothing. The message says why."""


# --- Merkle trees: RFC 9162, section 2.1 ----------------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return sha256(b"\x01" + left + right).digest()


def root_of_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` entries in which `leaf` is the entry `index`, from 0, and `path` leads up from it.

    Raises Refused when the path is too short or too long for such a tree.
    """
    if not 0 <= index < size:
        raise Refused(f"position {index + 1} is not in a tree of {size} entries")
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Refused("the inclusion path has more hashes than the tree has levels")
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise Refused("the inclusion path ends below the root")
    return root


def check_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    """Raise Refused unless `path` proves that the tree of `second` entries begins with all of that of `first`."""
    if not 0 < first <= second:
        raise Refused(f"a tree of {second} entries cannot continue one of {first}")
    if first == second:
        if path:
            raise Refused("the consistency path has hashes, where two trees of one size need none")
        if first_root != second_root:
            raise Refused(f"two trees of {first} entries have different roots")
        return
    if not path:
        raise Refused("the consistency path is empty")
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    earlier = later = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise Refused("the consistency path has more hashes than the tree has levels")
        if at & 1 or at == last:
            earlier, later = node_hash(sibling, earlier), node_hash(sibling, later)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            later = node_hash(later, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise Refused("the consistency path ends below the root")
    if earlier != first_root:
        raise Refused(f"the consistency path does not lead to the root of the {first} entries")
    if later != second_root:
        raise Refused(f"the consistency path does not lead to the root of the {second} entries")


# --- signed notes and checkpoints: C2SP -----------------------------------------------------------------------------


class VerifierKey(NamedTuple):
    """A public key under a name, for one kind of signature: ED25519 or COSIGNATURE_V1."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of the SHA-256 of name, newline, algorithm and public key."""
        material = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return sha256(material).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """As a verifier key (vkey), one line: name, key id and key."""
        material = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


class Signature(NamedTuple):
    """One signature line of a note."""

    name: str
    key_id: bytes
    content: bytes

    def __str__(self) -> str:
        """The line, with its newline."""
        return f"{SIGNATURE_START}{self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


class Note(NamedTuple):
    """A text, its last newline included, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]


class Signed(NamedTuple):
    """Who signed a note, and when, in seconds since 1970, where the signature says so."""

    key: VerifierKey
    signature: Signature
    timestamp: int | None


class Checkpoint(NamedTuple):
    """What a log's operator signs: the root of the tree of its first `size` entries."""

    origin: str
    size: int
    root: bytes


def parse_key(vkey: str) -> VerifierKey:
    """The key in a vkey. Raises Refused."""
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise Refused(f"{vkey!r} is not a verifier key: name+key id+key")
    name, key_id, encoded = parts
    check_name(name)
    material = decoded(encoded, "verifier key")
    if len(material) != 1 + PUBLIC_KEY_BYTES or material[0] not in ALGORITHMS:
        raise Refused(f"the verifier key of {name} is of no known kind: {', '.join(ALGORITHMS.values())}")
    key = VerifierKey(name, material[0], material[1:])
    if key_id != key.key_id.hex():
        raise Refused(f"the verifier key of {name} has the key id {key.key_id.hex()}, not {key_id}")
    return key


def check_name(name: str) -> None:
    """Raise Refused unless this can be the name of a key: without spaces, plus signs and control characters."""
    if not name or "+" in name or any(sign.isspace() or sign < " " for sign in name):
        raise Refused(f"{name!r} is not the name of a key: no space, plus sign or control character may be in it")


def parse_note(note: str) -> Note:
    """The parts of a signed note. Raises Refused."""
    if any(sign < " " and sign != "\n" for sign in note):
        raise Refused("the note has a control character")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Refused("the note is not a text, a blank line and lines of signatures")
    found = lines[:-1].split("\n")
    if len(found) > SIGNATURES_MAX:
        raise Refused(f"the note has {len(found)} signatures, more than {SIGNATURES_MAX}")
    return Note(text + "\n", tuple(_signature(line) for line in found))


def _signature(line: str) -> Signature:
    name, space, encoded = line[len(SIGNATURE_START) :].partition(" ")
    if not line.startswith(SIGNATURE_START) or not space:
        raise Refused(f"{line!r} is not a line of a signature")
    check_name(name)
    content = decoded(encoded, f"signature of {name}")
    if len(content) <= KEY_ID_BYTES:
        raise Refused(f"the signature of {name} is too short")
    return Signature(name, content[:KEY_ID_BYTES], content[KEY_ID_BYTES:])


def decoded(encoded: str, what: str) -> bytes:
    """The bytes in standard base64, which must be as it would be written. Raises Refused."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content or base64.b64encode(content).decode() != encoded:
        raise Refused(f"the {what} is not base64")
    return content


def signers(note: Note, keys: Sequence[VerifierKey]) -> list[Signed]:
    """Which of the keys signed a note; signatures of other keys are ignored.

    Raises Refused when one of these keys is named, but did not sign this text.
    """
    return [
        Signed(key, signature, _timestamp(note.text, signature, key))
        for signature in note.signatures
        for key in keys
        if (signature.name, signature.key_id) == (key.name, key.key_id)
    ]


def _timestamp(text: str, signature: Signature, key: VerifierKey) -> int | None:
    """When a signature was made, as far as it says so. Raises Refused when it does not verify."""
    message, content, timestamp = text.encode(), signature.content, None
    if key.algorithm == COSIGNATURE_V1:
        timestamp = int.from_bytes(content[:TIMESTAMP_BYTES], "big")
        content = content[TIMESTAMP_BYTES:]
        message = b"cosignature/v1\ntime %d\n" % timestamp + message
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(content, message)
    except (InvalidSignature, ValueError):
        raise Refused(
            f"the signature of {key.name}+{key.key_id.hex()} is not of this text: it is forged, or the text was changed"
        ) from None
    if timestamp is not None and timestamp >= 1 << 63:
        raise Refused(f"the cosignature of {key.name} has a time that is none")
    return timestamp


def parse_checkpoint(text: str) -> Checkpoint:
    """What the text of a checkpoint says. Raises Refused."""
    origin, size, root, *extension = [*text.split("\n")[:-1], "", "", ""]
    if not origin or not re.fullmatch(r"0|[1-9][0-9]{0,18}", size, re.ASCII) or "" in extension[:-3]:
        raise Refused("the note is not a checkpoint: origin, size, root, and nothing empty after them")
    return Checkpoint(origin, int(size), hash_of(decoded(root, "root of the checkpoint"), "root of the checkpoint"))


def open_checkpoint(note: str, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, list[Signed]]:
    """A checkpoint, and who signed it: at least one key for signatures, whose name the origin begins with.

    Raises Refused.
    """
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    found = signers(parsed, keys)
    logs = [one.key for one in found if one.key.algorithm == ED25519]
    if not logs:
        names = ", ".join(f"{one.name}+{one.key_id.hex()}" for one in parsed.signatures)
        raise Refused(f"no key that you trust signed the checkpoint of {checkpoint.size} entries; it names {names}")
    if not any(checkpoint.origin == key.name or checkpoint.origin.startswith(key.name + "/") for key in logs):
        raise Refused(f"the checkpoint is of {checkpoint.origin!r}, which {logs[0].name} does not sign for")
    return checkpoint, found


# --- proofs ---------------------------------------------------------------------------------------------------------


def check_proof(document: dict[str, Any], keys: Sequence[VerifierKey]) -> list[str]:
    """Sentences that say what a proof proves. Raises Refused when it proves nothing."""
    kind = document.get("format")
    if kind == EVENT_PROOF:
        return _check_event_proof(document, keys)
    if kind == CONSISTENCY_PROOF:
        return _check_consistency_proof(document, keys)
    raise Refused(f"the format is {kind!r}; this program knows {EVENT_PROOF!r} and {CONSISTENCY_PROOF!r}")


def _check_event_proof(document: dict[str, Any], keys: Sequence[VerifierKey]) -> list[str]:
    check_fields(document, {"format", "event", "leaf_hash", "inclusion_path", "checkpoint"}, "the proof")
    event = field(document, "event", dict)
    leaf = leaf_hash(canonical_bytes(event))
    if leaf != hash_of(field(document, "leaf_hash", str), "leaf_hash"):
        raise Refused("the leaf_hash is not that of the event: the one or the other was changed")
    checkpoint, found = open_checkpoint(field(document, "checkpoint", str), keys)
    if checkpoint.origin.rpartition("/")[2] != str(event["journal"]):
        raise Refused(f"the event is of journal {event['journal']}, the checkpoint of {checkpoint.origin!r}")
    path = hashes(document, "inclusion_path")
    if root_of_inclusion(event["position"] - 1, checkpoint.size, leaf, path) != checkpoint.root:
        raise Refused("the inclusion path does not lead from the event to the root that was signed")
    return [
        f"The event {event['topic']} at position {event['position']}, version {event['originator_version']} of the"
        f" stream {event['originator_id']}, recorded at {event['recorded_at']},",
        f"is one of the {checkpoint.size} entries of {checkpoint.origin}.",
        *said(found),
    ]


def _check_consistency_proof(document: dict[str, Any], keys: Sequence[VerifierKey]) -> list[str]:
    check_fields(document, {"format", "first", "second", "consistency_path"}, "the proof")
    first, first_found = open_checkpoint(field(document, "first", str), keys)
    second, second_found = open_checkpoint(field(document, "second", str), keys)
    if first.origin != second.origin:
        raise Refused(f"the checkpoints are of two logs: {first.origin!r} and {second.origin!r}")
    check_consistency(first.size, second.size, first.root, second.root, hashes(document, "consistency_path"))
    return [
        f"The {second.size} entries of {second.origin} begin with the {first.size} of the earlier checkpoint:"
        " nothing that it committed to was changed, removed or moved.",
        *said(first_found),
        *said(second_found),
    ]


def said(found: Sequence[Signed]) -> list[str]:
    """Who signed, a sentence each."""
    return [
        f"Signed by {one.key.name}."
        if one.timestamp is None
        else f"Cosigned by {one.key.name}, who saw it as the newest at {one.timestamp} s after 1970-01-01T00:00:00Z."
        for one in found
    ]


def canonical_bytes(event: dict[str, Any]) -> bytes:
    """The bytes of an event that are hashed: the format number 1, then ten fields, each its length and its content.

    Lengths are big-endian int32, -1 for an absent field; integers are big-endian two's complement. Raises Refused when
    the event is not laid out as one.
    """
    named = {*INTEGERS, *TEXTS, "recorded_at", "command_key", "command_hash"}
    state_name = "state_base64" if "state_base64" in event else "state"
    check_fields(event, {*named, state_name}, "the event")
    integers = {name: integer(event, name, bits) for name, bits in INTEGERS.items()}
    state = field(event, state_name, str)
    parts: list[bytes | None] = [
        integers["journal"],
        struct.pack(">q", microseconds(field(event, "recorded_at", str))),
        integers["position"],
        integers["originator_version"],
        *(field(event, name, str).encode() for name in TEXTS),
        *(key_or_none(event, name) for name in ("command_key", "command_hash")),
        integers["command_events"],
        state.encode() if state_name == "state" else decoded(state, "state"),
    ]
    if len({part is None for part in parts[-4:-1]}) > 1 or None in (*parts[:-4], parts[-1]):
        raise Refused("the event lacks a value: only command_key, command_hash and command_events are null, together")
    return b"\x01" + b"".join(
        struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part for part in parts
    )


def integer(event: dict[str, Any], name: str, bits: int) -> bytes | None:
    """A whole number of the event in its width; None for null."""
    value = event[name]
    if value is None:
        return None
    if type(value) is not int or not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Refused(f"{name} must be a whole number of {bits} bits")
    return value.to_bytes(bits // 8, "big", signed=True)


def key_or_none(event: dict[str, Any], name: str) -> bytes | None:
    """A key or hash of 16 bytes in hexadecimal; None for null."""
    value = event[name]
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise Refused(f"{name} must be 32 hexadecimal digits")
    return bytes.fromhex(value)


def microseconds(text: str) -> int:
    """Microseconds since 1970 of a time in UTC, such as 2026-01-05T04:00:00.000000Z. Raises Refused."""
    pattern = "%Y-%m-%dT%H:%M:%S.%fZ"
    try:
        time = datetime.strptime(text, pattern).replace(tzinfo=timezone.utc)  # noqa: UP017
    except ValueError:
        time = None
    if time is None or time.isoformat(timespec="microseconds").replace("+00:00", "Z") != text:
        raise Refused(f"recorded_at must be a time such as 2026-01-05T04:00:00.000000Z, not {text!r}")
    return (time - EPOCH) // timedelta(microseconds=1)


# --- the file -------------------------------------------------------------------------------------------------------


def parse_document(data: bytes) -> dict[str, Any]:
    """The JSON object of a proof file, without names given twice. Raises Refused."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
        json.dumps(document, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Refused(f"the file is not JSON in UTF-8: {error}") from None
    if not isinstance(document, dict):
        raise Refused("the file is not a JSON object")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def check_fields(found: dict[str, Any], expected: set[str], what: str) -> None:
    """Raise Refused unless exactly these fields are there."""
    if missing := sorted(expected - found.keys()):
        raise Refused(f"{what} has no {missing[0]}")
    if unknown := sorted(found.keys() - expected):
        raise Refused(f"{what} has {unknown[0]!r}, which is not part of one")


def field(found: dict[str, Any], name: str, kind: type) -> Any:
    """The value of a field. Raises Refused when it is of another kind."""
    value = found[name]
    if not isinstance(value, kind):
        raise Refused(f"{name} must be {'an object' if kind is dict else 'a list' if kind is list else 'a text'}")
    return value


def hashes(document: dict[str, Any], name: str) -> list[bytes]:
    """A list of hashes in hexadecimal. Raises Refused."""
    return [hash_of(value, f"hash {number} of {name}") for number, value in enumerate(field(document, name, list), 1)]


def hash_of(value: Any, what: str) -> bytes:
    """A hash, given as bytes or in hexadecimal. Raises Refused when it is not of 32 bytes."""
    if isinstance(value, str) and re.fullmatch("[0-9a-f]*", value) and len(value) == 2 * HASH_BYTES:
        return bytes.fromhex(value)
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise Refused(f"the {what} must be 32 bytes, in a proof as 64 hexadecimal digits")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the file that the command line names, and say what came of it; the exit code."""
    parser = argparse.ArgumentParser(description="Check a proof of the loyalty ledger offline.")
    parser.add_argument("file", type=Path, metavar="FILE", help="what `loyalty audit proof` wrote")
    parser.add_argument(
        "--key", action="append", required=True, metavar="VKEY", help="a verifier key that you trust; may be repeated"
    )
    given = parser.parse_args(arguments)
    try:
        keys = [parse_key(vkey) for vkey in given.key]
        data = given.file.read_bytes()
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{given.file}: {error.strerror}\n")
        return 2
    try:
        sentences = check_proof(parse_document(data), keys)
    except Refused as error:
        sys.stdout.write(f"NOT PROVEN: {error}.\n")
        return 1
    sys.stdout.write("PROVEN.\n" + "".join(f"{sentence}\n" for sentence in sentences))
    return 0


if __name__ == "__main__":
    sys.exit(main())
