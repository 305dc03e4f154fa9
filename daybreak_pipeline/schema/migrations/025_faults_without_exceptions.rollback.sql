-- Takes back 025_faults_without_exceptions.

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
