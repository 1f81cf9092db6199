-- Who is signed in to the web console. Of what the browser holds there is only a hash here.

CREATE TABLE console_sessions (
    token_sha256 bytea       NOT NULL PRIMARY KEY CHECK (octet_length(token_sha256) = 32),
    key          text        NOT NULL COLLATE "C" REFERENCES api_keys (key),
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at      timestamptz NOT NULL DEFAULT clock_timestamp()  -- to about a minute
);

GRANT SELECT, INSERT, UPDATE (seen_at), DELETE ON console_sessions TO loyalty_writer;
