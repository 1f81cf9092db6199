-- What the ledger keeps beside the log: keys of personal data, snapshots, programmes and terms, refused input,
-- checkpoints, and what applications of the eventsourcing library keep. Everything of a member has its journal.

CREATE TABLE member_keys (                      -- deleting a row erases the personal data sealed with its key
    journal    integer     NOT NULL,
    member     text        NOT NULL COLLATE "C",
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (journal, member)
);

CREATE TABLE member_snapshots (                 -- a cache: it can be rebuilt from events at any time
    journal            integer NOT NULL,
    originator_id      text    NOT NULL COLLATE "C",
    originator_version bigint  NOT NULL,
    layout             integer NOT NULL,        -- of the state; a snapshot of another layout is ignored
    state              bytea   NOT NULL,
    PRIMARY KEY (journal, originator_id)
);

CREATE TABLE programmes (
    programme      text        NOT NULL COLLATE "C" PRIMARY KEY,
    name           text        NOT NULL,
    currency       text        NOT NULL,        -- ISO 4217
    time_zone      text        NOT NULL,        -- IANA name
    journals       integer     NOT NULL CHECK (journals > 0),
    terms_versions integer     NOT NULL DEFAULT 0 CHECK (terms_versions >= 0),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE terms (
    programme      text        NOT NULL COLLATE "C" REFERENCES programmes (programme),
    version        integer     NOT NULL CHECK (version > 0),
    effective_from timestamptz NOT NULL,
    document       bytea       NOT NULL,
    published_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (programme, version)
);

CREATE TABLE rejected (                         -- refused input, kept where it can be seen and replayed
    rejected_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme   text        NOT NULL DEFAULT '' COLLATE "C",  -- '': could not be told
    digest      uuid        NOT NULL,           -- of the body and where it came from: a redelivery counts as an attempt
    code        text        NOT NULL,
    field       text,
    reason      text        NOT NULL,
    value       text,
    type        text,
    source      text,
    message_id  text,
    member      text,
    origin      text,
    body        bytea,
    status      text        NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'resolved')),
    attempts    integer     NOT NULL DEFAULT 1 CHECK (attempts > 0),
    first_seen  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    UNIQUE (programme, digest)
);

CREATE INDEX rejected_open ON rejected (programme, rejected_id) WHERE status = 'open';

CREATE TABLE projections (                      -- checkpoints: the last position a projection has folded in
    projection text        NOT NULL COLLATE "C",
    version    integer     NOT NULL,
    journal    integer     NOT NULL,
    position   bigint      NOT NULL CHECK (position >= 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, version, journal)
);

CREATE TABLE tracking (                         -- the same, of the eventsourcing library's projections: one row, moving on
    recorder         text   NOT NULL COLLATE "C",
    application_name text   NOT NULL COLLATE "C",
    notification_id  bigint NOT NULL,
    PRIMARY KEY (recorder, application_name)
);

CREATE TABLE aggregate_records (                -- of the library's aggregate recorders, such as its snapshots
    journal            integer NOT NULL,
    purpose            text    NOT NULL COLLATE "C",
    originator_id      text    NOT NULL COLLATE "C",
    originator_version bigint  NOT NULL,
    topic              text    NOT NULL,
    state              bytea   NOT NULL,
    PRIMARY KEY (journal, purpose, originator_id, originator_version)
);
