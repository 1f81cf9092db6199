"""Recorded events as CloudEvents 1.0 in the binary binding of Kafka, and what a topic already holds of them.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import quote

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.partitioner import murmur2
from msgspec import Struct

from consumers.publisher import BATCH_BYTES_MAX
from consumers.record_batches import RecordBatch, field, header, varint
from consumers.repeats import event_of
from ledger.codec import MEMBER_STREAM, PROGRAMME_STREAM
from ledger.store.database import PgCursor

STREAMS_KEPT_MAX: Final = 100_000
POLL_MS: Final = 500
POLL_RECORDS_MAX: Final = 5_000
READ_BACK_SECONDS_MAX: Final = 120.0
_HEADERS: Final = 7  # of a programme's event; a member's has its subject too

END: Final = -1
"""An offset to read back from: the end of a partition, so nothing."""

Row = tuple[int, str, str, str, str]
"""position, originator_id, topic, state (JSON text), recorded_at (text, UTC)."""
Held = dict[int, dict[int, int]]
"""partition → journal → the last position that the partition was given."""


class ReadBackFailed(RuntimeError):
    """A topic is not as it was left: what was published last cannot be read back."""


class _Occurred(Struct):
    occurred_at: str


_occurred = msgspec.json.Decoder(_Occurred)


def event_source(programme: str) -> str:
    """`ce_source` of a programme's events: a URI reference."""
    return f"/loyalty/programmes/{quote(programme, safe='')}"


def read_events(cur: PgCursor, journal: int, *, after: int, limit: int, bytes_max: int) -> list[Row]:
    """The next events of a journal in order, at most `limit`, and none that begins after so many bytes of states.

    States come as text, which is the cheapest to fetch.
    """
    cur.execute(
        "SELECT position, originator_id, topic, convert_from(state, 'UTF8'), recorded_at::text FROM ("
        " SELECT *, sum(octet_length(state)) OVER (ORDER BY position) - octet_length(state) AS bytes_before FROM events"
        " WHERE journal = %s AND position > %s AND position <= %s"
        ") stretch WHERE bytes_before < %s ORDER BY position",
        (journal, after, after + limit, bytes_max),
    )
    rows = cast("list[Row]", cur.fetchall())
    if rows and rows[-1][0] != after + len(rows):
        raise ReadBackFailed(f"journal {journal}: events between {after} and {rows[-1][0]} are missing")
    return rows


class EventLayout:
    """Lays events out for the partitions of a topic; keeps what repeats, such as the headers of a member."""

    def __init__(self, topic: str, partitions: int) -> None:
        self.topic = topic
        self.partitions = partitions
        self._streams: dict[str, tuple[int, bytes, bytes]] = {}
        self._types: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def lay_out(
        self, events: Mapping[int, tuple[str, Sequence[Row]]], held: Held
    ) -> dict[TopicPartition, list[RecordBatch]]:
        """Batches for each partition of events by journal (with its programme's name), without what is held already."""
        now_ms = int(time.time() * 1000)
        laid_out: dict[int, list[RecordBatch]] = defaultdict(lambda: [RecordBatch(now_ms)])
        for journal, (programme, rows) in events.items():
            self._add_journal(laid_out, journal, programme, rows, held)
        return {TopicPartition(self.topic, partition): batches for partition, batches in laid_out.items()}

    def _add_journal(
        self, laid_out: dict[int, list[RecordBatch]], journal: int, programme: str, rows: Sequence[Row], held: Held
    ) -> None:
        streams, occurred_at = self._streams, _occurred.decode
        reached = {partition: journals.get(journal, 0) for partition, journals in held.items()}
        id_name, time_name, recorded_name = field(b"ce_id"), field(b"ce_time"), field(b"ce_recordedtime")
        known_text = known_topic = recorded = types_plain = types_subject = b""
        id_start = b"%d:" % journal
        for position, stream, topic, state, recorded_text in rows:
            known = streams.get(stream)
            partition, key, subject = known if known is not None else self._stream(programme, stream)
            if position <= reached.get(partition, 0):
                continue
            if topic != known_topic:
                known_topic = topic
                types_plain, types_subject = self._type(programme, topic)
            if recorded_text != known_text:
                known_text = recorded_text
                recorded = recorded_name + field(_instant(recorded_text))
            value, id = state.encode(), id_start + b"%d" % position
            occurred = occurred_at(state).occurred_at.encode()
            said = b"".join((
                key, varint(len(value)), value, types_subject if subject else types_plain, id_name, varint(len(id)), id,
                time_name, varint(len(occurred)), occurred, recorded, subject,
            ))  # fmt: skip
            batches = laid_out[partition]
            if batches[-1].size_bytes + len(said) > BATCH_BYTES_MAX and batches[-1].count:
                batches.append(RecordBatch(batches[-1].timestamp_ms))
            batches[-1].add(said)

    def _stream(self, programme: str, stream: str) -> tuple[int, bytes, bytes]:
        """Partition, key and subject header of a stream; one that is no member's has the programme for a key, and no
        subject.
        """
        of_member = stream.startswith(MEMBER_STREAM)
        if not of_member:  # programmes have streams of one name
            stream = PROGRAMME_STREAM + programme
            if stream in self._streams:
                return self._streams[stream]
        if len(self._streams) >= STREAMS_KEPT_MAX:
            self._streams.clear()
        key = (stream.removeprefix(MEMBER_STREAM) if of_member else programme).encode()
        found = (
            partition_of(key, self.partitions),
            field(key),
            header("ce_subject", key) if of_member else b"",
        )
        self._streams[stream] = found
        return found

    def _type(self, programme: str, topic: str) -> tuple[bytes, bytes]:
        """The headers that all events of a type in a programme share, with how many headers there are before them."""
        found = self._types.get((programme, topic))
        if found is None:
            if len(self._types) >= STREAMS_KEPT_MAX:
                self._types.clear()
            shared = b"".join([
                header("ce_specversion", b"1.0"),
                header("ce_type", topic.encode()),
                header("ce_source", event_source(programme).encode()),
                header("content-type", b"application/json"),
            ])  # fmt: skip
            found = self._types[programme, topic] = (varint(_HEADERS) + shared, varint(_HEADERS + 1) + shared)
        return found


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key as Kafka's own producers choose it: murmur2."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def _instant(text: str) -> bytes:
    """RFC 3339 of a time as PostgreSQL writes it in UTC."""
    return text.replace(" ", "T", 1).removesuffix("+00").encode() + b"Z"


# --- what a topic holds -------------------------------------------------------------------------------------------


def read_back(
    bootstrap: str, topic: str, left_at: Mapping[int, int], *, may_be_shorter: bool = False
) -> tuple[Held, dict[int, int]]:
    """What each partition was given from an offset on, and where it ends.

    Raises ReadBackFailed where a partition ends before the offset, unless it `may_be_shorter`: what was acknowledged is
    gone.
    """
    held: Held = {}
    if not left_at:
        return held, {}
    consumer = _consumer(bootstrap)
    try:
        partitions = {TopicPartition(topic, number): offset for number, offset in left_at.items()}
        beginnings, ends = consumer.beginning_offsets(list(partitions)), consumer.end_offsets(list(partitions))
        for partition, offset in partitions.items():
            if offset == END:
                partitions[partition] = ends[partition]
            elif ends[partition] < offset and not may_be_shorter:
                raise ReadBackFailed(
                    f"topic {topic!r}, partition {partition.partition} ends at offset {ends[partition]}, but offsets"
                    f" up to {offset} were acknowledged: the topic was made anew or lost records. Say from where to"
                    " publish again, with --from JOURNAL:POSITION (1 for everything) for each journal"
                )
        starts = {partition: max(offset, beginnings[partition]) for partition, offset in partitions.items()}
        unread = {partition: offset for partition, offset in starts.items() if offset < ends[partition]}
        if unread:
            _read(consumer, unread, ends, held)
        return held, {partition.partition: ends[partition] for partition in partitions}
    finally:
        consumer.close()


def _read(
    consumer: KafkaConsumer, unread: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], held: Held
) -> None:
    consumer.assign(list(unread))
    for partition, offset in unread.items():
        consumer.seek(partition, offset)
    deadline = time.monotonic() + READ_BACK_SECONDS_MAX
    while any(consumer.position(partition) < ends[partition] for partition in unread):
        if time.monotonic() >= deadline:
            raise ReadBackFailed(f"reading back what was published took longer than {READ_BACK_SECONDS_MAX:g} s")
        for partition, records in consumer.poll(POLL_MS).items():
            journals = held.setdefault(partition.partition, {})
            for record in records:
                event = event_of(record.headers)
                if event is not None:
                    journals[event[0]] = event[1]  # the last, not the highest: a replay begins lower again


def _consumer(bootstrap: str) -> KafkaConsumer:
    return KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        metrics_enabled=False,
        max_poll_records=POLL_RECORDS_MAX,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        reconnect_backoff_max_ms=1_000,
    )
