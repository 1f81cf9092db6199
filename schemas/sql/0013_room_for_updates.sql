-- Rows that change with most batches get room on their page: an update then stays there and touches no index.
-- Pages that are full already get it as they are rewritten, at the latest by a rebuild.

ALTER TABLE balances SET (fillfactor = 70);
ALTER TABLE lifetime SET (fillfactor = 70);
ALTER TABLE satisfaction_members SET (fillfactor = 70);
ALTER TABLE satisfaction_days SET (fillfactor = 70);
ALTER TABLE service_days SET (fillfactor = 70);
ALTER TABLE latest_answers SET (fillfactor = 70);
