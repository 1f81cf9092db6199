-- Signed checkpoints of journals, their witnesses, and the inner nodes of the trees, from which proofs are taken.
-- Written by the command that signs, beside the log: writers of events neither know nor wait for them.

CREATE TABLE merkle_nodes (                     -- a cache of hashes: each follows from leaf hashes, and is checked when used
    journal integer  NOT NULL,
    level   smallint NOT NULL CHECK (level BETWEEN 10 AND 62),  -- the perfect subtree over 2^level leaves …
    number  bigint   NOT NULL CHECK (number >= 0),              -- … from position number * 2^level + 1 on
    hash    bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (journal, level, number)
);

CREATE TABLE checkpoints (
    checkpoint bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal    integer     NOT NULL,
    size       bigint      NOT NULL CHECK (size > 0),  -- events 1 … size are committed to
    root       bytea       NOT NULL,            -- of the tree over them
    note       text        NOT NULL,            -- C2SP tlog-checkpoint as a signed note
    signed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX checkpoints_size ON checkpoints (journal, size, checkpoint);

CREATE TABLE cosignatures (                     -- of witnesses: C2SP tlog-cosignature
    checkpoint  bigint NOT NULL REFERENCES checkpoints (checkpoint),
    name        text   NOT NULL COLLATE "C",    -- of the witness's key
    key_id      bytea  NOT NULL CHECK (octet_length(key_id) = 4),
    cosigned_at bigint NOT NULL,                -- as the witness says: seconds since 1970-01-01T00:00:00Z
    line        text   NOT NULL,                -- of the note, with its newline
    PRIMARY KEY (checkpoint, name, key_id, cosigned_at)
);

CREATE TRIGGER merkle_nodes_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON merkle_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE merkle_nodes ENABLE ALWAYS TRIGGER merkle_nodes_are_never_changed;

CREATE TRIGGER checkpoints_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_are_never_changed;

CREATE TRIGGER cosignatures_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON cosignatures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE cosignatures ENABLE ALWAYS TRIGGER cosignatures_are_never_changed;

GRANT SELECT, INSERT ON merkle_nodes, checkpoints, cosignatures TO loyalty_writer;
GRANT SELECT ON merkle_nodes, checkpoints, cosignatures TO loyalty_reader;
