-- Takes back protect.

DO $$
DECLARE
    others TEXT := (SELECT string_agg(table_name, ', ' ORDER BY table_name) FROM privacy.protected_tables WHERE NOT is_imported);
BEGIN
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'these tables of an application are protected, and would not be any longer: %. Release them first (privacy.release)', others;
    END IF;
END $$;

DROP FUNCTION privacy.release(REGCLASS, TEXT[]);
DROP FUNCTION privacy.protect(REGCLASS, TEXT[], TEXT[]);
DROP FUNCTION privacy.take_away(REGCLASS, privacy.protected_tables);
DROP FUNCTION privacy.open_columns(REGCLASS, TEXT[]);
DROP FUNCTION privacy.refuse_to_lose(REGCLASS, TEXT);
DROP FUNCTION privacy.index_rows(REGCLASS);
DROP FUNCTION privacy.seal_columns(REGCLASS, TEXT[]);
DROP FUNCTION privacy.seal_strays(REGCLASS);
DROP FUNCTION privacy.column_type(REGCLASS, TEXT);
DROP FUNCTION privacy.add_what_tables_have(REGCLASS);
DROP FUNCTION privacy.drop_guards(TEXT);
DROP FUNCTION privacy.refuse_column(REGCLASS, TEXT, BOOLEAN);
DROP FUNCTION privacy.refuse_table(REGCLASS);
