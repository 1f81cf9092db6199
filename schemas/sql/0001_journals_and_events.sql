-- The log: journals (units of order) and their events. Nothing in events is ever changed or removed.

CREATE TABLE journals (
    journal      integer     NOT NULL PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('programme', 'application')),
    name         text        NOT NULL COLLATE "C",  -- the programme, or the application of the eventsourcing library
    ordinal      integer     NOT NULL CHECK (ordinal >= 0),
    position     bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),  -- of the newest event; 0: none yet
    root         bytea       NOT NULL,          -- RFC 9162 root hash over the leaf hashes of 1..position
    frontier     bytea       NOT NULL,          -- the right edge of that tree: roots of its perfect subtrees, widest first
    recorded_at  timestamptz NOT NULL,          -- of the newest event; never goes backwards
    UNIQUE (kind, name, ordinal)
) WITH (fillfactor = 50);                       -- room to update the head in place

-- No foreign key to journals: it would cost a check a row, and a row is only ever written under the lock of its head.
CREATE TABLE events (
    journal            integer     NOT NULL,
    position           bigint      NOT NULL CHECK (position > 0),
    originator_id      text        NOT NULL COLLATE "C",  -- the stream
    originator_version bigint      NOT NULL,    -- the position in the stream
    topic              text        NOT NULL COLLATE "C",  -- stable type name with a version, such as points-accrued.v1
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

-- The triggers hold for everybody, the owner and superusers included, and in replication mode (ENABLE ALWAYS).

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% refuses %: what is recorded is never changed or removed', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'LY001', HINT = 'Record a correcting event instead.';
END
$$;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_never_changed;

CREATE TRIGGER journals_are_never_removed BEFORE DELETE OR TRUNCATE ON journals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE journals ENABLE ALWAYS TRIGGER journals_are_never_removed;

CREATE FUNCTION refuse_head_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'journal % refuses to change what it is or to go back from position % to %',
        OLD.journal, OLD.position, NEW.position
        USING ERRCODE = 'LY002', HINT = 'The head only moves on; neither position nor recorded_at may fall.';
END
$$;

CREATE TRIGGER journal_heads_only_move_on BEFORE UPDATE ON journals
    FOR EACH ROW WHEN (
        NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at OR NEW.journal <> OLD.journal
        OR NEW.kind <> OLD.kind OR NEW.name <> OLD.name OR NEW.ordinal <> OLD.ordinal
    )
    EXECUTE FUNCTION refuse_head_change();
ALTER TABLE journals ENABLE ALWAYS TRIGGER journal_heads_only_move_on;
