-- What ANALYZE samples stays in the server's statistics after the rows are gone: none is taken of what can be erased.
-- To set the type drops what was taken before.

ALTER TABLE member_keys
    ALTER COLUMN key TYPE bytea,
    ALTER COLUMN key SET STATISTICS 0;

ALTER TABLE rejected
    ALTER COLUMN body TYPE bytea,
    ALTER COLUMN body SET STATISTICS 0,
    ALTER COLUMN key TYPE bytea,
    ALTER COLUMN key SET STATISTICS 0,
    ALTER COLUMN headers TYPE bytea,
    ALTER COLUMN headers SET STATISTICS 0,
    ALTER COLUMN value TYPE text,
    ALTER COLUMN value SET STATISTICS 0,
    ALTER COLUMN field TYPE text,
    ALTER COLUMN field SET STATISTICS 0,
    ALTER COLUMN reason TYPE text,
    ALTER COLUMN reason SET STATISTICS 0;
