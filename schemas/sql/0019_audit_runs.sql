-- What auditors had checked or computed by the server, because it takes long: by whom, when, and what came of it.
-- A process works at each; its server tells here how far it is, so that every server can show it.

CREATE TABLE audit_runs (
    run         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme   text        NOT NULL COLLATE "C" REFERENCES programmes (programme),
    key         text        NOT NULL COLLATE "C" REFERENCES api_keys (key),
    asked_by    text        NOT NULL,           -- the name of the key
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    job         text        NOT NULL,           -- what was asked for, as JSON
    done        bigint      NOT NULL DEFAULT 0, -- events of total; 0 of 0 where that cannot be told
    total       bigint      NOT NULL DEFAULT 0,
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when its server last told
    finished_at timestamptz,
    failure     text        NOT NULL DEFAULT '',-- why there is no result, in words
    result      text                            -- as JSON
);

CREATE INDEX audit_runs_of_programme ON audit_runs (programme, run);

GRANT SELECT, INSERT, UPDATE (done, total, seen_at, finished_at, failure, result), DELETE ON audit_runs TO loyalty_writer;
GRANT SELECT ON audit_runs TO loyalty_reader;
