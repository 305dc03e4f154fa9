-- From PostgreSQL 16 on the server tells why a text does not fit a type without raising an error, which costs a
-- subtransaction for each value. Types that are cast by their own input function are asked so; the strict readings of
-- times and numbers (020) and JSONB, whose depth is an error all the same, are tried as before.
DO $version$
BEGIN
    IF current_setting('server_version_num')::integer < 160000 THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION ingest.cast_fault(value TEXT, kind ANYELEMENT) RETURNS TEXT
        LANGUAGE plpgsql STABLE PARALLEL UNSAFE AS $$
    DECLARE
        code TEXT;
    BEGIN
        IF pg_typeof(kind) IN ('uuid'::regtype, 'boolean'::regtype) THEN
            SELECT e.sql_error_code INTO code FROM pg_input_error_info(value, pg_typeof(kind)::text) e;
            RETURN CASE WHEN code IS NOT NULL THEN 'not a valid ' || pg_typeof(kind) END;
        END IF;
        BEGIN -- a block of its own: only entering it costs a subtransaction
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
        END;
    END $$;
END $version$;
