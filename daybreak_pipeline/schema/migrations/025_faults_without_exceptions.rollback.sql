-- Takes back 025_faults_without_exceptions, which changed something from PostgreSQL 16 on.

DO $version$
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION ingest.cast_fault(value TEXT, kind ANYELEMENT) RETURNS TEXT
        LANGUAGE plpgsql STABLE PARALLEL UNSAFE AS $$
    BEGIN
        PERFORM ingest.strict_cast(value, kind);
        RETURN NULL;
    EXCEPTION
        WHEN SQLSTATE '22D01' THEN
            RETURN sqlerrm;
        WHEN numeric_value_out_of_range OR datetime_field_overflow THEN
            RETURN 'out of range for ' || pg_typeof(kind);
        WHEN data_exception THEN
            RETURN 'not a valid ' || pg_typeof(kind);
        WHEN program_limit_exceeded THEN
            RETURN 'too deep or too large for ' || pg_typeof(kind);
    END $$;
END $version$;
