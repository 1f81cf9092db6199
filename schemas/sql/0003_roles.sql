-- Who may do what. Whoever runs the migrations owns the tables; processes act as one of two roles that cannot log in.
-- Roles belong to the whole cluster, and several of its databases may be migrated at once: hence the retries.

DO $$
DECLARE
    role_name text;
    may_act_as text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['loyalty_writer', 'loyalty_reader'] LOOP
        FOR attempt IN 1..10 LOOP
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
                END IF;
                IF NOT pg_has_role(current_user, role_name, may_act_as) THEN
                    EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
                END IF;
                EXIT;
            EXCEPTION WHEN duplicate_object OR unique_violation OR internal_error THEN
                IF attempt = 10 THEN
                    RAISE;
                END IF;
                PERFORM pg_sleep(0.05 * attempt);
            END;
        END LOOP;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA loyalty TO loyalty_writer, loyalty_reader;

GRANT SELECT, INSERT ON events, terms, programmes, aggregate_records TO loyalty_writer;
GRANT SELECT, INSERT, UPDATE (position, root, frontier, recorded_at) ON journals TO loyalty_writer;
GRANT UPDATE (terms_versions) ON programmes TO loyalty_writer;
GRANT SELECT, INSERT, DELETE ON member_keys TO loyalty_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON member_snapshots, projections, tracking, rejected TO loyalty_writer;
GRANT SELECT ON schema_migrations TO loyalty_writer;

GRANT SELECT ON events, journals, terms, programmes, aggregate_records, member_snapshots, projections, tracking,
    schema_migrations TO loyalty_reader;
GRANT SELECT (rejected_id, programme, digest, code, field, reason, value, type, source, message_id, member, origin,
    status, attempts, first_seen, last_seen, resolved_at) ON rejected TO loyalty_reader;
