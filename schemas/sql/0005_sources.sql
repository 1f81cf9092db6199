-- Where messages came from, in partitions of numbered messages (Kafka topics): who takes them, how far they are taken,
-- and what became of them.

CREATE TABLE source_partitions (                -- one row a partition: who may take from it, and how far it is taken
    topic       text        NOT NULL COLLATE "C",
    partition   integer     NOT NULL CHECK (partition >= 0),
    topic_id    uuid,                           -- another one means that the topic was deleted and made again
    epoch       bigint      NOT NULL CHECK (epoch > 0),  -- the fence: raised by whoever takes the partition over
    owner       text        NOT NULL,
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),  -- below it everything is taken, in every journal
    stopped     text,                           -- why nothing is taken until an operator accepts a gap; null: it goes on
    lost_from   bigint,                         -- of a gap that waits to be accepted: the offsets that are gone …
    lost_to     bigint,                         -- … up to before this one, where it would go on
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition)
);

CREATE TABLE source_offsets (                   -- how far each journal has taken a partition; it moves with the events
    journal     integer     NOT NULL,           -- 0: messages that are no command, or of no programme
    topic       text        NOT NULL COLLATE "C",
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    offsets     bigint[]    NOT NULL DEFAULT '{}',  -- of journal 0: which ones, from the partition's next_offset on
    PRIMARY KEY (topic, partition, journal)
);

CREATE TABLE source_ranges (                    -- what a journal took of a partition under one epoch, and what became of it
    topic        text        NOT NULL COLLATE "C",
    partition    integer     NOT NULL,
    epoch        bigint      NOT NULL,
    journal      integer     NOT NULL,
    first_offset bigint      NOT NULL,
    last_offset  bigint      NOT NULL CHECK (last_offset >= first_offset),
    transactions integer     NOT NULL DEFAULT 1,
    posted       bigint      NOT NULL,
    duplicate    bigint      NOT NULL,
    rejected     bigint      NOT NULL,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, epoch, journal)
);

-- Offsets of a read that are no message are control records, aborted, or compacted away. Reads that do not meet are a gap.
CREATE TABLE source_reads (                     -- what was read of a partition under one epoch, all of it taken
    topic        text        NOT NULL COLLATE "C",
    partition    integer     NOT NULL,
    epoch        bigint      NOT NULL,
    first_offset bigint      NOT NULL,
    next_offset  bigint      NOT NULL CHECK (next_offset > first_offset),
    messages     bigint      NOT NULL CHECK (messages BETWEEN 0 AND next_offset - first_offset),
    batches      integer     NOT NULL DEFAULT 1,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, epoch)
);

CREATE TABLE source_gaps (                      -- offsets that an operator gave up
    topic        text        NOT NULL COLLATE "C",
    partition    integer     NOT NULL,
    epoch        bigint      NOT NULL,          -- under which it went on
    first_offset bigint      NOT NULL,
    next_offset  bigint      NOT NULL,          -- where it went on; below first_offset where the topic was made again
    reason       text        NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, epoch)
);

ALTER TABLE rejected                            -- what came by Kafka is kept whole, to be published as dead letters
    ADD COLUMN topic        text COLLATE "C",
    ADD COLUMN partition    integer,
    ADD COLUMN "offset"     bigint,
    ADD COLUMN timestamp_ms bigint,             -- as the message has it: -1 for none, and any other number is possible
    ADD COLUMN key          bytea,
    ADD COLUMN headers      bytea,              -- msgpack: [[name, value or nil], …]; null with a topic: erased with the member
    ADD COLUMN relayed_at   timestamptz;        -- when it was published as a dead letter

CREATE INDEX rejected_to_relay ON rejected (rejected_id) WHERE topic IS NOT NULL AND relayed_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON source_partitions, source_ranges, source_reads TO loyalty_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON source_offsets TO loyalty_writer;
GRANT SELECT, INSERT ON source_gaps TO loyalty_writer;
GRANT SELECT ON source_partitions, source_offsets, source_ranges, source_reads, source_gaps TO loyalty_reader;
GRANT SELECT (topic, partition, "offset", timestamp_ms, relayed_at) ON rejected TO loyalty_reader;
