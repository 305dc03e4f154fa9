-- Takes back 012_audit_trail. The trail is gone with it.

DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN
        SELECT t.tgname AS name, t.tgrelid::regclass AS target FROM pg_trigger t
        WHERE t.tgfoid = 'audit.record_change()'::regprocedure ORDER BY 2, 1
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', found.name, found.target);
    END LOOP;
END $$;

DROP FUNCTION audit.watch(REGCLASS);
DROP FUNCTION audit.record_change();
DROP FUNCTION audit.differences(JSONB, JSONB, BYTEA);
DROP FUNCTION audit.stands_aside();
DROP FUNCTION audit.retain(INTEGER);
DROP FUNCTION audit.ensure_partitions(INTEGER);
DROP FUNCTION audit.add_partition(TEXT, TEXT);
DROP VIEW audit.partitions;
DROP TABLE audit.changes;
DROP FUNCTION audit.refuse_change();
DROP FUNCTION audit.acting_role();
DROP SCHEMA audit;
