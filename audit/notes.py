"""Signing notes: a private key of Ed25519 under a name, as a text that fits on one line of a file.

The formats are those of Go's sumdb/note: `PRIVATE+KEY+name+key id+key` and the verifier key `name+key id+key`. Notes
are read, and their signatures checked, by `audit.verify_proof`.

Source: https://c2sp.org/signed-note; https://pkg.go.dev/golang.org/x/mod/sumdb/note.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.verify_proof import ED25519, Refused, Signature, VerifierKey, check_name, decoded

PRIVATE_KEY_START = "PRIVATE+KEY+"
PRIVATE_KEY_BYTES = 32


class SigningKey:
    """A private key and the name it signs under. Nothing of the private key is in its `repr`.

    Raises Refused when the name cannot be that of a key.
    """

    __slots__ = ("_private_key", "verifier_key")

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        check_name(name)
        self._private_key = private_key
        self.verifier_key = VerifierKey(name, ED25519, private_key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """A new key."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """The key in a text that `secret_text` gave. Raises Refused, with nothing of the text in the message."""
        _, _, rest = text.partition(PRIVATE_KEY_START)
        parts = rest.split("+", 2)
        if not text.startswith(PRIVATE_KEY_START) or len(parts) != 3:
            raise Refused("this is not a private key: PRIVATE+KEY+name+key id+key")
        name, key_id, encoded = parts
        material = decoded(encoded, "private key")
        if len(material) != 1 + PRIVATE_KEY_BYTES or material[0] != ED25519:
            raise Refused("this is not a private key of Ed25519")
        key = cls(name, Ed25519PrivateKey.from_private_bytes(material[1:]))
        if key_id != key.verifier_key.key_id.hex():
            raise Refused("the key id of the private key is another: its name or the key was changed")
        return key

    def secret_text(self) -> str:
        """The private key as a text, without a newline at its end."""
        key = self.verifier_key
        material = base64.b64encode(bytes([ED25519]) + self._private_key.private_bytes_raw()).decode()
        return f"{PRIVATE_KEY_START}{key.name}+{key.key_id.hex()}+{material}"

    def __repr__(self) -> str:
        return f"<SigningKey {self.verifier_key}>"

    def sign(self, text: str) -> str:
        """The note of a text, which must end with a newline: with it, a blank line and the signature."""
        if not text.endswith("\n"):
            raise ValueError("the text of a note ends with a newline")
        key = self.verifier_key
        return f"{text}\n{Signature(key.name, key.key_id, self._private_key.sign(text.encode()))}"


def write_key(path: Path, key: SigningKey) -> None:
    """Write a private key to a new file that only its owner may read. Raises FileExistsError and other OSErrors."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key.secret_text() + "\n")


def read_key(path: Path) -> SigningKey:
    """The private key in a file. Raises Refused and OSError."""
    try:
        return SigningKey.parse(path.read_text("utf-8").strip())
    except UnicodeDecodeError:
        raise Refused("this is not a private key: it is no text") from None
