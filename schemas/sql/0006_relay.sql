-- What was published to Kafka: how far each topic has each journal, and where its partitions ended then.

CREATE TABLE relay_checkpoints (                -- every event at or below the position was acknowledged by the broker
    topic      text        NOT NULL COLLATE "C",
    journal    integer     NOT NULL,
    position   bigint      NOT NULL CHECK (position >= 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, journal)
);

CREATE TABLE relay_partitions (                 -- written with them: a relay that starts reads the topic back from here
    topic       text    NOT NULL COLLATE "C",
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON relay_checkpoints, relay_partitions TO loyalty_writer;
GRANT SELECT ON relay_checkpoints, relay_partitions TO loyalty_reader;
