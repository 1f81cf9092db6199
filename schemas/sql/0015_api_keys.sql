-- Keys of the HTTP API. Of a key's secret there is only a hash here: it is shown once, when the key is made.

CREATE TABLE api_keys (
    key           text        NOT NULL COLLATE "C" PRIMARY KEY,   -- the public part, by which it is found
    programme     text        COLLATE "C" REFERENCES programmes (programme),  -- null: every programme
    role          text        NOT NULL CHECK (role IN ('upstream', 'reader', 'operator', 'auditor', 'admin')),
    name          text        NOT NULL,         -- whose it is, in words
    source        text        NOT NULL,         -- the source of every command that comes by it
    secret_sha256 bytea       NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at    timestamptz,
    last_used_at  timestamptz                   -- to about half a minute
);

GRANT SELECT, INSERT, UPDATE (revoked_at, last_used_at) ON api_keys TO loyalty_writer;
