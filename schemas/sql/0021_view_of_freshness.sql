-- How fresh the read models are, for readers: of each journal of a programme and each read model that was ever folded.

CREATE VIEW loyalty_read.freshness AS
SELECT name AS programme, journal, read_model, coalesce(folded.position, 0) AS position_folded,
    journals.position AS position_recorded, journals.position - coalesce(folded.position, 0) AS behind, folded.updated_at
FROM journals
CROSS JOIN (SELECT DISTINCT projection AS read_model FROM projections) AS read_models
CROSS JOIN LATERAL (
    SELECT max(projections.position) AS position, max(projections.updated_at) AS updated_at
    FROM projections WHERE projection = read_model AND projections.journal = journals.journal
) AS folded
WHERE kind = 'programme';

COMMENT ON VIEW loyalty_read.freshness IS
    'How far each read model is in each journal of a programme. A read model that was never folded anywhere is not in it.';
COMMENT ON COLUMN loyalty_read.freshness.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.freshness.journal IS 'The journal: a member is in one of those of its programme.';
COMMENT ON COLUMN loyalty_read.freshness.read_model IS
    'The read model: balances, statement, lifetime, satisfaction, member_data, steering or liability.';
COMMENT ON COLUMN loyalty_read.freshness.position_folded IS 'Up to which position of the journal it has folded in; 0: nothing.';
COMMENT ON COLUMN loyalty_read.freshness.position_recorded IS 'The position of the newest event of the journal; 0: none.';
COMMENT ON COLUMN loyalty_read.freshness.behind IS 'So many events of the journal it has not folded in.';
COMMENT ON COLUMN loyalty_read.freshness.updated_at IS
    'When it last moved on in the journal, which may be long ago where nothing is recorded; null: it has not begun.';

GRANT SELECT ON loyalty_read.freshness TO loyalty_reader;
