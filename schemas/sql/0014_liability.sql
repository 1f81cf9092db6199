-- The liability: points that members can still spend, by the month in which they were earned; filled from the log alone.
-- Months are those of the programme's time zone, as their first days. See docs/liability.md.

CREATE TABLE liability_lots (                   -- the month in which each lot was opened; it stays with the lot's name
    journal integer NOT NULL,
    lot     text    NOT NULL COLLATE "C",
    vintage date    NOT NULL,
    PRIMARY KEY (journal, lot)
);

CREATE TABLE liability_cells (                  -- what happened to the points of a vintage; each with the events behind it
    journal        integer NOT NULL,
    vintage        date    NOT NULL,            -- -infinity: of a lot opened in another journal, which knows its month
    lot            text    NOT NULL COLLATE "C",            -- that lot; otherwise ''
    occurred_in    date    NOT NULL,
    recorded_in    date    NOT NULL,
    flow           text    NOT NULL COLLATE "C" CHECK (flow IN (
        'earned', 'repaid', 'adjusted_up', 'transferred_in', 'merged_in', 'redeemed', 'reversed', 'expired',
        'clawed_back', 'adjusted_down', 'transferred_out', 'merged_out', 'forfeited')),
    points         bigint  NOT NULL,            -- added to what is open and held; negative: taken
    first_position bigint  NOT NULL,
    last_position  bigint  NOT NULL CHECK (last_position >= first_position),
    PRIMARY KEY (journal, vintage, lot, occurred_in, recorded_in, flow),
    CHECK ((lot = '') = (vintage > '-infinity'))
);

CREATE TABLE liability_layers (                 -- changes of what is open, by when it becomes available and expires
    journal      integer NOT NULL,
    vintage      date    NOT NULL,              -- with the lot, as in liability_cells
    lot          text    NOT NULL COLLATE "C",
    occurred_in  date    NOT NULL,
    available_in date    NOT NULL,
    expires_in   date    NOT NULL,              -- infinity: never
    points       bigint  NOT NULL,
    PRIMARY KEY (journal, vintage, lot, occurred_in, available_in, expires_in)
);

CREATE TABLE liability_activity (               -- events that moved points, each counted once, by topic and months
    journal        integer NOT NULL,
    occurred_in    date    NOT NULL,
    recorded_in    date    NOT NULL,
    topic          text    NOT NULL COLLATE "C",
    points         bigint  NOT NULL,            -- added to what is open and held
    owed           bigint  NOT NULL,            -- added to arrears by a clawback
    repaid         bigint  NOT NULL,            -- of arrears
    merged         bigint  NOT NULL,            -- arrears that came (positive) or went by a merge
    written_off    bigint  NOT NULL,            -- arrears, at a closure or erasure
    events         bigint  NOT NULL CHECK (events > 0),
    first_position bigint  NOT NULL,
    last_position  bigint  NOT NULL CHECK (last_position >= first_position),
    PRIMARY KEY (journal, occurred_in, recorded_in, topic)
);

CREATE TABLE liability_adjustments (            -- manual adjustments, by who approved them and why
    journal        integer NOT NULL,
    occurred_in    date    NOT NULL,
    approver       text    NOT NULL COLLATE "C",
    reason         text    NOT NULL COLLATE "C",
    points_up      bigint  NOT NULL,            -- what repaid arrears included
    points_down    bigint  NOT NULL,            -- positive
    events         bigint  NOT NULL CHECK (events > 0),
    first_position bigint  NOT NULL,
    last_position  bigint  NOT NULL CHECK (last_position >= first_position),
    PRIMARY KEY (journal, occurred_in, approver, reason)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON liability_lots, liability_cells, liability_layers, liability_activity,
    liability_adjustments TO loyalty_writer;
GRANT SELECT ON liability_lots, liability_cells, liability_layers, liability_activity, liability_adjustments
    TO loyalty_reader;

-- --- what was taken of sources --------------------------------------------------------------------------------------

CREATE TABLE source_files (                     -- one row a file and a run of `loyalty ingest`; it follows each commit
    run        uuid        NOT NULL,
    ordinal    integer     NOT NULL CHECK (ordinal > 0),    -- of the file in the run
    file       text        NOT NULL,            -- its name; -: standard input
    lines      bigint      NOT NULL CHECK (lines >= 0),     -- known to be taken, from the first on
    blank      bigint      NOT NULL,
    posted     bigint      NOT NULL,
    duplicate  bigint      NOT NULL,
    rejected   bigint      NOT NULL,
    codes      jsonb       NOT NULL DEFAULT '{}',           -- of the rejected: how many with each code
    amounts    jsonb       NOT NULL DEFAULT '{}',           -- by currency: what messages posted, duplicate, rejected name
    sha256     bytea,                           -- of the whole file; null: it was not taken to its end
    began_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, ordinal),
    CHECK (lines = blank + posted + duplicate + rejected)
);

CREATE TABLE source_amounts (                   -- what messages of a partition name, as they count in source_ranges
    topic           text    NOT NULL COLLATE "C",
    partition       integer NOT NULL,
    epoch           bigint  NOT NULL,
    journal         integer NOT NULL,
    currency        text    NOT NULL COLLATE "C",
    posted_minor    numeric NOT NULL,           -- purchases less returns
    duplicate_minor numeric NOT NULL,
    rejected_minor  numeric NOT NULL,
    PRIMARY KEY (topic, partition, epoch, journal, currency)
);

GRANT SELECT, INSERT, UPDATE ON source_files, source_amounts TO loyalty_writer;
GRANT SELECT ON source_files, source_amounts TO loyalty_reader;

-- --- views -----------------------------------------------------------------------------------------------------------

CREATE SCHEMA IF NOT EXISTS loyalty_read;
GRANT USAGE ON SCHEMA loyalty_read TO loyalty_reader;

CREATE VIEW loyalty_read.liability_rollforward AS
WITH resolved AS (
    SELECT journals.name AS programme, currency, occurred_in, flow, points,
        CASE WHEN cells.lot = '' THEN cells.vintage ELSE origin.vintage END AS vintage
    FROM liability_cells cells
    JOIN journals ON journals.journal = cells.journal AND journals.kind = 'programme'
    LEFT JOIN programmes ON programmes.programme = journals.name
    LEFT JOIN LATERAL (
        SELECT lots.vintage FROM journals others JOIN liability_lots lots ON lots.journal = others.journal
        WHERE others.kind = 'programme' AND others.name = journals.name AND lots.lot = cells.lot AND cells.lot <> ''
    ) origin ON true
), months AS (
    SELECT programme, currency, vintage, occurred_in AS month,
        sum(points) FILTER (WHERE flow = 'earned') AS earned,
        sum(points) FILTER (WHERE flow IN ('transferred_in', 'merged_in')) AS came_in,
        sum(-points) FILTER (WHERE flow = 'redeemed') AS redeemed,
        sum(-points) FILTER (WHERE flow = 'expired') AS expired,
        sum(-points) FILTER (WHERE flow = 'clawed_back') AS clawed_back,
        sum(points) FILTER (WHERE flow = 'adjusted_up') AS adjusted_up,
        sum(-points) FILTER (WHERE flow = 'adjusted_down') AS adjusted_down,
        sum(-points) FILTER (WHERE flow IN ('transferred_out', 'merged_out')) AS went_out,
        sum(points) FILTER (WHERE flow = 'reversed') AS reversed,
        sum(-points) FILTER (WHERE flow = 'repaid') AS repaid,
        sum(-points) FILTER (WHERE flow = 'forfeited') AS forfeited,
        sum(points) AS change
    FROM resolved GROUP BY programme, currency, vintage, occurred_in
)
SELECT programme, currency, vintage, month,
    (sum(change) OVER vintages - change)::bigint AS opening,
    coalesce(earned, 0)::bigint AS earned, coalesce(came_in, 0)::bigint AS came_in,
    coalesce(redeemed, 0)::bigint AS redeemed, coalesce(expired, 0)::bigint AS expired,
    coalesce(clawed_back, 0)::bigint AS clawed_back, coalesce(adjusted_up, 0)::bigint AS adjusted_up,
    coalesce(adjusted_down, 0)::bigint AS adjusted_down, coalesce(went_out, 0)::bigint AS went_out,
    coalesce(reversed, 0)::bigint AS reversed, coalesce(repaid, 0)::bigint AS repaid,
    coalesce(forfeited, 0)::bigint AS forfeited,
    (sum(change) OVER vintages)::bigint AS closing
FROM months WINDOW vintages AS (PARTITION BY programme, vintage ORDER BY month);

COMMENT ON VIEW loyalty_read.liability_rollforward IS
    'Points open and held, by the month they were earned and the month things happened; months without any are left out.'
    ' closing = opening + earned + came_in - redeemed - expired - clawed_back + adjusted_up - adjusted_down - went_out'
    ' + reversed - repaid - forfeited.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.currency IS 'Of the programme, ISO 4217.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.vintage IS
    'The month in which the lot was opened, whoever has it now; null: its journal is not folded in yet.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.month IS 'Of what happened (business time).';
COMMENT ON COLUMN loyalty_read.liability_rollforward.opening IS 'Open and held before the month.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.earned IS 'Everything earned, also what repaid arrears at once.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.came_in IS 'By transfers and merges.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.redeemed IS 'And captured from holds; reversals are not taken off.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.expired IS 'Recognised, and forfeited by reversals of expired lots.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.clawed_back IS 'From lots; what became arrears is not in it.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.adjusted_up IS 'By hand, also what repaid arrears at once.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.adjusted_down IS 'By hand.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.went_out IS 'By transfers and merges.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.reversed IS 'Redemptions reversed, also what was forfeited then.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.repaid IS 'Of what came in, used up by arrears.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.forfeited IS 'At closures and erasures.';
COMMENT ON COLUMN loyalty_read.liability_rollforward.closing IS 'Open and held after the month.';

CREATE VIEW loyalty_read.liability_cells AS
SELECT journals.name AS programme, cells.journal,
    CASE WHEN cells.lot = '' THEN cells.vintage ELSE origin.vintage END AS vintage, occurred_in AS month, flow,
    sum(points)::bigint AS points, min(first_position) AS first_position, max(last_position) AS last_position
FROM liability_cells cells
JOIN journals ON journals.journal = cells.journal AND journals.kind = 'programme'
LEFT JOIN LATERAL (
    SELECT lots.vintage FROM journals others JOIN liability_lots lots ON lots.journal = others.journal
    WHERE others.kind = 'programme' AND others.name = journals.name AND lots.lot = cells.lot AND cells.lot <> ''
) origin ON true
GROUP BY 1, 2, 3, 4, 5;

COMMENT ON VIEW loyalty_read.liability_cells IS
    'The cells of the roll-forward by journal and flow, with the positions between which the events behind them are.';
COMMENT ON COLUMN loyalty_read.liability_cells.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_cells.journal IS 'Journal, in which positions count.';
COMMENT ON COLUMN loyalty_read.liability_cells.vintage IS 'The month in which the lot was opened; null: its journal is not folded in yet.';
COMMENT ON COLUMN loyalty_read.liability_cells.month IS 'Of what happened (business time).';
COMMENT ON COLUMN loyalty_read.liability_cells.flow IS 'What happened; docs/liability.md has the list.';
COMMENT ON COLUMN loyalty_read.liability_cells.points IS 'Added to what is open and held; negative: taken.';
COMMENT ON COLUMN loyalty_read.liability_cells.first_position IS 'Of the first event behind it.';
COMMENT ON COLUMN loyalty_read.liability_cells.last_position IS 'Of the last event behind it; events of other cells lie between.';

CREATE VIEW loyalty_read.liability_open_points AS
SELECT journals.name AS programme, CASE WHEN layers.lot = '' THEN layers.vintage ELSE origin.vintage END AS vintage,
    occurred_in AS month, available_in, expires_in, sum(points)::bigint AS points
FROM liability_layers layers
JOIN journals ON journals.journal = layers.journal AND journals.kind = 'programme'
LEFT JOIN LATERAL (
    SELECT lots.vintage FROM journals others JOIN liability_lots lots ON lots.journal = others.journal
    WHERE others.kind = 'programme' AND others.name = journals.name AND lots.lot = layers.lot AND layers.lot <> ''
) origin ON true
GROUP BY 1, 2, 3, 4, 5;

COMMENT ON VIEW loyalty_read.liability_open_points IS
    'Changes of points that are open (not held), by the months from which and to which they can be spent. At the end of a'
    ' month M, of the rows with month <= M: pending is the sum where available_in > M, available where available_in <= M <'
    ' expires_in, overdue where expires_in <= M (expired, and no expiry recorded yet).';
COMMENT ON COLUMN loyalty_read.liability_open_points.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_open_points.vintage IS 'The month in which the lot was opened; null: its journal is not folded in yet.';
COMMENT ON COLUMN loyalty_read.liability_open_points.month IS 'Of what happened (business time).';
COMMENT ON COLUMN loyalty_read.liability_open_points.available_in IS 'The month in which the points become available.';
COMMENT ON COLUMN loyalty_read.liability_open_points.expires_in IS 'The month in which they expire; infinity: never.';
COMMENT ON COLUMN loyalty_read.liability_open_points.points IS 'Points added; negative: taken.';

CREATE VIEW loyalty_read.liability_arrears AS
SELECT programme, month, (sum(owed - repaid + merged - written_off) OVER months - owed + repaid - merged + written_off)::bigint
    AS opening, owed, repaid, merged, written_off,
    (sum(owed - repaid + merged - written_off) OVER months)::bigint AS closing
FROM (
    SELECT journals.name AS programme, occurred_in AS month, sum(owed)::bigint AS owed, sum(repaid)::bigint AS repaid,
        sum(merged)::bigint AS merged, sum(written_off)::bigint AS written_off
    FROM liability_activity activity
    JOIN journals ON journals.journal = activity.journal AND journals.kind = 'programme' GROUP BY 1, 2
) summed WINDOW months AS (PARTITION BY programme ORDER BY month);

COMMENT ON VIEW loyalty_read.liability_arrears IS
    'Points that members owe, by month: closing = opening + owed - repaid + merged - written_off.';
COMMENT ON COLUMN loyalty_read.liability_arrears.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_arrears.month IS 'Of what happened (business time).';
COMMENT ON COLUMN loyalty_read.liability_arrears.opening IS 'Owed before the month.';
COMMENT ON COLUMN loyalty_read.liability_arrears.owed IS 'By clawbacks of points that were spent already.';
COMMENT ON COLUMN loyalty_read.liability_arrears.repaid IS 'By points that came in.';
COMMENT ON COLUMN loyalty_read.liability_arrears.merged IS 'Came and went by merges; 0 unless one of two halves is not folded in yet.';
COMMENT ON COLUMN loyalty_read.liability_arrears.written_off IS 'At closures and erasures.';
COMMENT ON COLUMN loyalty_read.liability_arrears.closing IS 'Owed after the month.';

CREATE VIEW loyalty_read.liability_cut_off AS
SELECT journals.name AS programme, activity.journal, occurred_in, recorded_in, topic, events, points,
    owed - repaid + merged - written_off AS owed, first_position, last_position
FROM liability_activity activity JOIN journals ON journals.journal = activity.journal AND journals.kind = 'programme'
WHERE occurred_in <> recorded_in;

COMMENT ON VIEW loyalty_read.liability_cut_off IS 'Events that moved points in one month and were recorded in another.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.journal IS 'Journal, in which positions count.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.occurred_in IS 'Month of business time.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.recorded_in IS 'Month of system time.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.topic IS 'Type of the events.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.events IS 'How many.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.points IS 'Added to what is open and held; negative: taken.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.owed IS 'Added to arrears; negative: taken.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.first_position IS 'Of the first of them.';
COMMENT ON COLUMN loyalty_read.liability_cut_off.last_position IS 'Of the last of them; others lie between.';

CREATE VIEW loyalty_read.liability_adjustments AS
SELECT journals.name AS programme, occurred_in AS month, approver, reason, sum(events)::bigint AS events,
    sum(points_up)::bigint AS points_up, sum(points_down)::bigint AS points_down
FROM liability_adjustments adjustments
JOIN journals ON journals.journal = adjustments.journal AND journals.kind = 'programme' GROUP BY 1, 2, 3, 4;

COMMENT ON VIEW loyalty_read.liability_adjustments IS 'Manual adjustments by who approved them and why.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.month IS 'Of the adjustment (business time).';
COMMENT ON COLUMN loyalty_read.liability_adjustments.approver IS 'Who approved it, as the message said.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.reason IS 'Why, as the message said.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.events IS 'How many.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.points_up IS 'Points given.';
COMMENT ON COLUMN loyalty_read.liability_adjustments.points_down IS 'Points taken, as a positive number.';

GRANT SELECT ON loyalty_read.liability_rollforward, loyalty_read.liability_cells, loyalty_read.liability_open_points,
    loyalty_read.liability_arrears, loyalty_read.liability_cut_off, loyalty_read.liability_adjustments TO loyalty_reader;

CREATE VIEW loyalty_read.source_files AS
SELECT run, ordinal, file, lines, blank, posted, duplicate, rejected, codes, amounts, encode(sha256, 'hex') AS sha256,
    began_at, updated_at
FROM source_files;

COMMENT ON VIEW loyalty_read.source_files IS
    'What was taken of files, one row a file and a run: lines = blank + posted + duplicate + rejected.';
COMMENT ON COLUMN loyalty_read.source_files.run IS 'The run of loyalty ingest.';
COMMENT ON COLUMN loyalty_read.source_files.ordinal IS 'Of the file in the run, from 1.';
COMMENT ON COLUMN loyalty_read.source_files.file IS 'Name of the file; -: standard input.';
COMMENT ON COLUMN loyalty_read.source_files.lines IS 'Lines known to be taken, from the first on.';
COMMENT ON COLUMN loyalty_read.source_files.blank IS 'Lines without a message.';
COMMENT ON COLUMN loyalty_read.source_files.posted IS 'Messages that were recorded then.';
COMMENT ON COLUMN loyalty_read.source_files.duplicate IS 'Messages that had been recorded before.';
COMMENT ON COLUMN loyalty_read.source_files.rejected IS 'Messages that were refused.';
COMMENT ON COLUMN loyalty_read.source_files.codes IS 'How many of the rejected with each code.';
COMMENT ON COLUMN loyalty_read.source_files.amounts IS
    'By currency: the amounts that messages posted, duplicate and rejected name, purchases less returns, in minor units.';
COMMENT ON COLUMN loyalty_read.source_files.sha256 IS 'Of the bytes of the file, in hexadecimal; null: not taken to its end.';
COMMENT ON COLUMN loyalty_read.source_files.began_at IS 'When its first line was read.';
COMMENT ON COLUMN loyalty_read.source_files.updated_at IS 'When it was last known what became of lines.';

GRANT SELECT ON loyalty_read.source_files TO loyalty_reader;
