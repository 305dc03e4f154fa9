-- Takes back 011_reporting_and_row_security, and the policies that roles.sql made.

DROP TABLE privacy.roles_applied;

SELECT reporting.clear();
DROP FUNCTION reporting.clear();
DROP FUNCTION reporting.refresh();
DROP FUNCTION reporting.live_rows(REGCLASS);
DROP FUNCTION reporting.columns();
DROP SCHEMA reporting;

DO $$
DECLARE
    policy RECORD;
    target REGCLASS;
BEGIN
    FOR policy IN
        SELECT p.polname, p.polrelid::regclass AS target
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE c.relnamespace = 'public'::regnamespace AND p.polname IN ('all_rows', 'hide_soft_deleted')
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', policy.polname, policy.target);
    END LOOP;
    FOR target IN
        SELECT a.attrelid::regclass
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = '_source_hash' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', target);
    END LOOP;
END $$;
