"""Checking certificates: signatures, events and hashes, against this ledger or one imported from an export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from audit.certificates import (
    ENGINE,
    FORMAT,
    Certificate,
    CertificateRefused,
    CertifiedJournal,
    CertifiedProjection,
    Progress,
    Recomputation,
    Recomputing,
    canonical,
    check_root,
    found_wrong,
    read_journals,
    read_time_zone,
    rebuilt_digests,
    result_sha256,
    sizes_of,
)
from audit.verify_proof import Refused, VerifierKey, open_checkpoint, parse_note, signers
from projections.protocol import Projection
from projections.rebuilt import TableDigest, session


class CertificateCheck(Struct, frozen=True, kw_only=True):
    """What a check found: nothing, or what is wrong, a sentence each. `behind` are read models of this ledger that
    could not be compared with it, which is no fault of the certificate. `is_recomputed`: its recomputation was
    repeated.
    """

    certificate: Certificate
    signed_by: list[str]
    problems: list[str]
    behind: list[str]
    is_recomputed: bool


def read_certificate(text: str, keys: Sequence[VerifierKey]) -> tuple[Certificate, list[str]]:
    """The certificate in a file and by whom it was signed, as far as the keys tell. Raises CertificateRefused."""
    try:
        document = json.loads(text, object_pairs_hook=_without_repetition)
    except ValueError as error:
        raise CertificateRefused(f"this is not JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() != {"certificate", "signature"}:
        raise CertificateRefused("this is not a certificate: JSON with certificate and signature, and nothing else")
    said, signature = document["certificate"], document["signature"]
    try:
        found = signers(parse_note(f"{canonical(said)}\n\n{signature}"), keys)
    except Refused as error:
        raise CertificateRefused(str(error)) from error
    if not found:
        raise CertificateRefused(f"it is signed by none of the keys that you trust, but by {_who(signature)}")
    try:
        certificate = msgspec.convert(said, Certificate)
    except msgspec.ValidationError as error:
        raise CertificateRefused(f"what is signed is not a certificate: {error}") from error
    if certificate.format != FORMAT:
        raise CertificateRefused(f"its format is {certificate.format!r}, this program reads {FORMAT!r}")
    for journal in certificate.journals:
        _check_note(certificate, journal, keys)
    return certificate, [one.key.name for one in found]


def _without_repetition(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _who(signature: str) -> str:
    return ", ".join(f"{one.name}+{one.key_id.hex()}" for one in parse_note(f"x\n\n{signature}").signatures)


def _check_note(certificate: Certificate, journal: CertifiedJournal, keys: Sequence[VerifierKey]) -> None:
    if journal.checkpoint is None:
        return
    try:
        said, _ = open_checkpoint(journal.checkpoint, keys)
    except Refused as error:
        raise CertificateRefused(f"the checkpoint of journal {journal.journal}: {error}") from error
    if (said.size, said.root.hex()) != (journal.size, journal.root):
        raise CertificateRefused(f"the checkpoint of journal {journal.journal} is not of the size and root beside it")


def check_certificate(
    dsn: str,
    text: str,
    keys: Sequence[VerifierKey],
    projections: Sequence[Projection],
    *,
    recomputing: Recomputing | None = None,
    threads: int = 2,
    on_progress: Progress = lambda done, total: None,
) -> CertificateCheck:
    """Check a certificate against this ledger, which may be one imported from an export: its signature and those of its
    checkpoints, the events up to them, and every hash, which is computed again. The recomputation that it holds is
    repeated by `recomputing`, unless that is None.

    Raises what `recomputing` does; CertificateRefused where it is none, or not signed by a key that is trusted; errors
    of eventsourcing.persistence when the database fails.
    """
    certificate, signed_by = read_certificate(text, keys)
    problems, behind = _ledger_problems(dsn, certificate), list[str]()
    known = {projection.name: projection for projection in projections}
    wanted = []
    for certified in certificate.projections:
        projection = known.get(certified.name)
        if projection is None or projection.version != certified.version:
            here = "does not have it" if projection is None else f"has version {projection.version}"
            problems.append(f"the projection {certified.name} is of version {certified.version}, this program {here}")
        else:
            wanted.append(projection)
    held = certificate.recomputation
    if held.result is None or problems:
        recomputing = None
    elif recomputing is not None:
        judged_at = datetime.fromisoformat(held.result["judged_at"])
        recomputing.prepare(certificate.programme, sizes_of(certificate.journals), judged_at)
    if not problems:
        digests, live = rebuilt_digests(dsn, certificate.journals, wanted, threads, recomputing, on_progress)
        for certified in certificate.projections:
            problems += _digest_problems(certified, digests[certified.name])
        problems += [words for one in live for words in one.differences]
        behind = [words for one in live for words in one.behind]
    problems += _recomputation_problems(held, recomputing)
    return CertificateCheck(
        certificate=certificate,
        signed_by=signed_by,
        problems=problems,
        behind=behind,
        is_recomputed=recomputing is not None,
    )


def _recomputation_problems(held: Recomputation, recomputing: Recomputing | None) -> list[str]:
    """What the recomputation that a certificate holds had found, and whether it is the same here."""
    if held.result is None:
        return []
    problems = [f"the recomputation that it holds {words}" for words in found_wrong(held.result)]
    if result_sha256(held.result) != held.sha256:
        problems.append("the hash of the recomputation that it holds is not that of its result")
    if recomputing is not None:
        here = recomputing.result()
        if result_sha256(here) != held.sha256:
            others = ", ".join(name for name in here if name not in ENGINE and here[name] != held.result.get(name))
            problems.append(f"the recomputation that it holds is not what comes out here: {others or 'what it names'}")
    return problems


def _ledger_problems(dsn: str, certificate: Certificate) -> list[str]:
    """What differs between the certificate and the events of this ledger."""
    with session(dsn) as cur:
        try:
            read_time_zone(cur, certificate.programme)
            there = read_journals(cur, certificate.programme)
            here = [(journal.journal, journal.ordinal) for journal in certificate.journals]
            if [row[:2] for row in there] != here:
                raise CertificateRefused(f"the journals of {certificate.programme!r} are others in this ledger")
            for journal in certificate.journals:
                if journal.size:
                    check_root(cur, journal.journal, journal.size, bytes.fromhex(journal.root))
        except CertificateRefused as error:
            return [str(error)]
    return []


def _digest_problems(certified: CertifiedProjection, here: dict[str, dict[str, TableDigest]]) -> list[str]:
    if sha256(canonical(certified.journals).encode()).hexdigest() != certified.sha256:
        return [f"the hash of the projection {certified.name} is not that of its tables"]
    problems = []
    for journal, tables in here.items():
        for table, digest in tables.items():
            said = certified.journals.get(journal, {}).get(table)
            if said != digest:
                given = "nothing" if said is None else f"{said.rows} rows, {said.sha256}"
                problems.append(
                    f"{table} of the projection {certified.name}, journal {journal}: the log gives {digest.rows} rows,"
                    f" {digest.sha256}; certified is {given}"
                )
    return problems
