-- The log: journals (units of order) and their events. Nothing in events is ever changed or removed.

CREATE TABLE journals (
    journal      integer     NOT NULL PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('programme', 'application')),
    name         text        NOT NULL,          -- the programme, or the application of the eventsourcing library
    ordinal      integer     NOT NULL CHECK (ordinal >= 0),
    position     bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),  -- of the newest event; 0: none yet
    root         bytea       NOT NULL,          -- RFC 9162 root hash over the leaf hashes of 1..position
    frontier     bytea       NOT NULL,          -- the right edge of that tree: roots of its perfect subtrees, widest first
    recorded_at  timestamptz NOT NULL,          -- of the newest event; never goes backwards
    UNIQUE (kind, name, ordinal)
);

CREATE TABLE events (
    journal            integer     NOT NULL REFERENCES journals (journal),
    position           bigint      NOT NULL CHECK (position > 0),
    originator_id      text        NOT NULL,    -- the stream
    originator_version bigint      NOT NULL,    -- the position in the stream
    topic              text        NOT NULL,    -- stable type name with a version, such as points-accrued.v1
    state              bytea       NOT NULL,    -- the event, encoded
    recorded_at        timestamptz NOT NULL,
    leaf_hash          bytea       NOT NULL,    -- RFC 9162 leaf hash over the canonical bytes of the columns above and below
    command_key        uuid,                    -- idempotency key: on the first event of a command
    command_hash       uuid,                    -- hash of the command's input: on the first event of a command
    command_events     smallint,                -- how many events the command recorded here: on its first event
    PRIMARY KEY (journal, position),
    CONSTRAINT events_stream_version UNIQUE (journal, originator_id, originator_version),
    CHECK ((command_key IS NULL) = (command_hash IS NULL) AND (command_key IS NULL) = (command_events IS NULL))
);

CREATE UNIQUE INDEX events_command_key ON events (journal, command_key) WHERE command_key IS NOT NULL;
