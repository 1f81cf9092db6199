"""Sealing: personal data encrypted with a key of the member's own (AES-256-GCM).

What is recorded is the ciphertext, so that hashes cover it for ever; destroying the key erases what it says. The input
hash of a message with personal data is keyed with the same key: without it, a guess at the data cannot be checked.
"""

from __future__ import annotations

import os
from hashlib import blake2b

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class Unsealable(Exception):
    """The data was not sealed with this key for this member, or was changed since."""


def new_key() -> bytes:
    """A key for one member."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, programme: str, member: str, personal: dict[str, str | None]) -> bytes:
    """Encrypt personal data for a member: a fresh nonce, then the ciphertext."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, msgspec.json.encode(personal), _bound_to(programme, member))


def unseal(key: bytes, programme: str, member: str, sealed: bytes) -> dict[str, str | None]:
    """What was sealed. Raises Unsealable."""
    nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        plain = AESGCM(key).decrypt(nonce, ciphertext, _bound_to(programme, member))
    except InvalidTag:
        raise Unsealable(f"the personal data of {member} cannot be read with this key") from None
    return msgspec.json.decode(plain, type=dict[str, str | None])


def keyed_hash(key: bytes, data: bytes) -> bytes:
    """A hash of 16 bytes that cannot be computed without the key."""
    return blake2b(data, digest_size=16, key=key).digest()


def _bound_to(programme: str, member: str) -> bytes:
    return f"{len(programme)}:{programme}{member}".encode()
