"""Signed notes, keys, checkpoints and cosignatures against vectors of Go's sumdb/note, of C2SP, and of a real log."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.notes import SigningKey, read_key, write_key
from audit.verify_proof import (
    COSIGNATURE_V1,
    Refused,
    VerifierKey,
    open_checkpoint,
    parse_checkpoint,
    parse_key,
    parse_note,
    signers,
)

# golang.org/x/mod/sumdb/note
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"

# https://c2sp.org/signed-note
EXAMPLE = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo"
    " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

# A checkpoint of a public Certificate Transparency log, cosigned by public witnesses.
LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
PUBLIC_CHECKPOINT = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""  # noqa: E501

# The example of https://c2sp.org/tlog-checkpoint and tlog-cosignature: its keys are not published.
EXAMPLE_CHECKPOINT = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501


def test_go_signs_the_same_bytes() -> None:
    key = SigningKey.parse(PETER_PRIVATE)
    assert str(key.verifier_key) == PETER
    assert key.secret_text() == PETER_PRIVATE
    assert key.sign(TEXT) == f"{TEXT}\n{BY_PETER}"


def test_signatures_of_known_keys_are_checked_and_others_ignored() -> None:
    note = parse_note(f"{TEXT}\n{BY_PETER}{BY_ENOCH}")
    assert note.text == TEXT
    assert "".join(map(str, note.signatures)) == BY_PETER + BY_ENOCH
    peter, enoch = parse_key(PETER), parse_key(ENOCH)
    assert [one.key for one in signers(note, [peter, enoch])] == [peter, enoch]
    assert [one.key for one in signers(note, [enoch])] == [enoch]
    assert signers(note, []) == []
    for known in ([peter], [enoch, peter]):
        with pytest.raises(Refused, match=r"PeterNeumann\+c74f20a3 is not of this text"):
            signers(parse_note(f"{TEXT}more\n\n{BY_PETER}"), known)


def test_the_example_of_the_specification_verifies() -> None:
    key = parse_key(EXAMPLE)
    assert (key.name, key.key_id.hex(), str(key)) == ("example.com/foo", "530d903a", EXAMPLE)
    assert [one.key for one in signers(parse_note(EXAMPLE_NOTE), [key])] == [key]


def test_a_public_checkpoint_and_its_cosignature_verify() -> None:
    log, witness = parse_key(LOG), parse_key(WITNESS)
    checkpoint, found = open_checkpoint(PUBLIC_CHECKPOINT, [log, witness])
    assert (checkpoint.origin, checkpoint.size) == ("arche2025h1.staging.ct.transparency.dev", 1432088532)
    assert [(one.key, one.timestamp) for one in found] == [(log, None), (witness, 1779573024)]
    with pytest.raises(Refused, match="arche2025h1"):
        open_checkpoint(PUBLIC_CHECKPOINT.replace("1432088532", "1432088533"), [log])
    with pytest.raises(Refused, match="remora"):
        open_checkpoint(PUBLIC_CHECKPOINT.replace("AAABqEiEgPlfF", "AAABqEiEhPlfF"), [log, witness])
    with pytest.raises(Refused, match="no key that you trust"):
        open_checkpoint(PUBLIC_CHECKPOINT, [witness])


def test_the_example_checkpoint_is_read() -> None:
    note = parse_note(EXAMPLE_CHECKPOINT)
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert int.from_bytes(note.signatures[1].content[:8]) == 1679315147


@pytest.mark.parametrize(("text", "parse"), [(PETER, parse_key), (PETER_PRIVATE, SigningKey.parse)])
def test_no_part_of_a_key_and_no_other_character_is_a_key(text: str, parse: type) -> None:
    parse(text)
    parts = [text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    changed = [text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :] for at in range(len(text))]
    for other in [*(part for part in parts if part != text), *changed]:
        with pytest.raises(Refused):
            parse(other)


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "",
        "++",
        "a b+00000000+AQ==",
    ],
)
def test_keys_of_another_length_or_kind_are_refused(vkey: str) -> None:
    with pytest.raises(Refused):
        parse_key(vkey)


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        TEXT + "\n",
        f"{TEXT}\n{BY_PETER[:-1]}",
        f"\x01{TEXT}\n{BY_PETER}",
        f"{TEXT}\n" + BY_PETER.replace("— PeterNeumann", "— Bad Name"),
        f"{TEXT}\n" + BY_PETER.replace("— ", "- "),
        f"{TEXT}\n" + BY_PETER.replace("nAM=", "nAM"),
        f"{TEXT}\n" + BY_PETER.replace("nAM=", "nAN="),
        f"{TEXT}\n{BY_PETER}Unexpected line.\n",
        f"{TEXT}\n" + BY_PETER * 101,
        f"{TEXT}\n— PeterNeumann x08gow==\n",
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(Refused):
        parse_note(note)


@pytest.mark.parametrize(
    "lines",
    [
        ["o", "7"],
        ["", "7", "R"],
        ["o", "07", "R"],
        ["o", "-7", "R"],
        ["o", "７", "R"],
        ["o", "", "R"],
        ["o", "7", "AAAA"],
        ["o", "7", "R "],
        ["o", "7", "R", ""],
    ],
)
def test_malformed_checkpoints_are_refused(lines: list[str]) -> None:
    root = base64.b64encode(bytes(32)).decode()
    parse_checkpoint(f"o\n7\n{root}\nextension\n")
    with pytest.raises(Refused):
        parse_checkpoint("".join(line.replace("R", root) + "\n" for line in lines))


def test_a_key_signs_only_for_origins_that_begin_with_its_name() -> None:
    key = SigningKey.generate("loyalty.example")
    body = f"7\n{base64.b64encode(bytes(32)).decode()}\n"
    for origin in ("loyalty.example", "loyalty.example/coffee/1"):
        assert open_checkpoint(key.sign(f"{origin}\n{body}"), [key.verifier_key])[0].origin == origin
    for origin in ("other.example/coffee/1", "loyalty.example.org/coffee/1"):
        with pytest.raises(Refused, match="does not sign for"):
            open_checkpoint(key.sign(f"{origin}\n{body}"), [key.verifier_key])


def test_a_cosignature_covers_its_time_and_is_told_from_a_signature() -> None:
    """The same private key and name have another key id for cosignatures; a checkpoint needs a signature besides."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    log, witness = VerifierKey("w", 1, public), VerifierKey("w", COSIGNATURE_V1, public)
    assert log.key_id != witness.key_id
    text = f"w/1\n7\n{base64.b64encode(bytes(32)).decode()}\n"
    message = b"cosignature/v1\ntime 1679315147\n" + text.encode()
    line = base64.b64encode(witness.key_id + (1679315147).to_bytes(8) + private.sign(message)).decode()
    note = f"{text}\n— w {line}\n"
    assert [one.timestamp for one in signers(parse_note(note), [log, witness])] == [1679315147]
    with pytest.raises(Refused, match="no key that you trust"):
        open_checkpoint(note, [witness])


def test_a_private_key_is_in_a_file_of_its_owner_and_in_no_message(tmp_path: Path) -> None:
    key, path = SigningKey.generate("loyalty.example"), tmp_path / "key"
    write_key(path, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path).verifier_key == key.verifier_key
    secret = key.secret_text().split("+", 4)[4]
    assert secret not in repr(key)
    with pytest.raises(FileExistsError):
        write_key(path, key)
    for spoilt in (key.secret_text()[:-2], "x" + key.secret_text(), key.secret_text().replace("loyalty", "royalty")):
        path.write_text(spoilt)
        with pytest.raises(Refused) as caught:
            read_key(path)
        assert secret[:-2] not in str(caught.value)
    path.write_bytes(b"\xff")
    with pytest.raises(Refused):
        read_key(path)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b"])
def test_names_that_a_line_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="not the name of a key"):
        SigningKey.generate(name)
