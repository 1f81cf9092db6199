-- Read models of points, filled by projections from the log alone; they can be dropped and rebuilt at any time.
-- Constraints and indexes keep their default names: a rebuild makes new tables LIKE these and swaps them in.

CREATE TABLE balances (                         -- one row a member; what is open is spread over its rows in lots
    journal     integer NOT NULL,
    member      text    NOT NULL COLLATE "C",
    status      text    NOT NULL CHECK (status IN ('unknown', 'open', 'closed', 'erased', 'merged')),
    version     bigint  NOT NULL,               -- of the member's stream
    position    bigint  NOT NULL,               -- of the member's newest event in the journal
    open        bigint  NOT NULL CHECK (open >= 0),     -- the sum of its lots, expired but not yet recognised included
    held        bigint  NOT NULL CHECK (held >= 0),
    arrears     bigint  NOT NULL CHECK (arrears >= 0),
    earned      bigint  NOT NULL,
    spent       bigint  NOT NULL,               -- redeemed and captured, less reversed
    expired     bigint  NOT NULL,               -- recognised
    forfeited   bigint  NOT NULL,               -- at a closure or erasure
    clawed_back bigint  NOT NULL,
    adjusted    bigint  NOT NULL,               -- net, up positive
    transferred bigint  NOT NULL,               -- net, in positive
    merged      bigint  NOT NULL,               -- net, in positive; less the arrears that came with it
    written_off bigint  NOT NULL,               -- arrears, at a closure or erasure
    PRIMARY KEY (journal, member),
    CONSTRAINT balances_postings_sum_to_zero CHECK (
        open + held - arrears
        = earned - spent - expired - forfeited - clawed_back + adjusted + transferred + merged + written_off
    )
);

CREATE TABLE lots (                             -- open layers; a spent one leaves
    journal      integer     NOT NULL,
    member       text        NOT NULL COLLATE "C",
    lot          text        NOT NULL COLLATE "C",
    available_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,          -- infinity: never
    opened_at    timestamptz NOT NULL,
    points       bigint      NOT NULL CHECK (points > 0),
    PRIMARY KEY (journal, member, lot, available_at, expires_at)
);

CREATE TABLE statement (                        -- one row for each event that moved points
    journal     integer     NOT NULL,
    member      text        NOT NULL COLLATE "C",
    position    bigint      NOT NULL,
    version     bigint      NOT NULL,           -- of the member's stream
    topic       text        NOT NULL COLLATE "C",
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    points      bigint      NOT NULL,           -- change of the balance: open and held together
    held        bigint      NOT NULL,           -- change of what is held
    owed        bigint      NOT NULL,           -- change of the arrears
    balance     bigint      NOT NULL CHECK (balance >= 0),  -- after the event
    arrears     bigint      NOT NULL CHECK (arrears >= 0),  -- after the event
    terms       integer,
    reference   text,                           -- purchase, redemption, hold or other member: the topic tells which
    reason      text        NOT NULL,
    source      text        NOT NULL,
    id          text        NOT NULL,
    lots        json        NOT NULL,           -- the layers that gave or got the points, as the event names them
    parts       json,                           -- of an accrual: rules, base, rate and multiplier
    PRIMARY KEY (journal, member, position)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON balances, lots, statement TO loyalty_writer;
GRANT SELECT ON balances, lots, statement TO loyalty_reader;
