-- Takes back 020_values.

ALTER TABLE ingest.imports DROP COLUMN placeholder_values;

CREATE OR REPLACE FUNCTION ingest.strict_time(value TEXT) RETURNS TIMESTAMPTZ LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value ~* '^\s*(now|today|tomorrow|yesterday|epoch|allballs)' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_datetime_format';
    END IF;
    RETURN value::timestamptz;
END $$;
COMMENT ON FUNCTION ingest.strict_time(TEXT) IS
    'A time as PostgreSQL reads it, but for the words that it takes for the time of the import.';

CREATE OR REPLACE FUNCTION ingest.strict_date(value TEXT) RETURNS DATE LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    moment TIMESTAMPTZ := ingest.strict_time(value);
BEGIN
    IF isfinite(moment) AND moment <> date_trunc('day', moment) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_datetime_format'; -- the cast would drop the time of day
    END IF;
    RETURN moment::date;
END $$;
COMMENT ON FUNCTION ingest.strict_date(TEXT) IS 'A date; a text that holds a time of day as well is none.';

CREATE OR REPLACE FUNCTION ingest.strict_cast(value TEXT, kind ANYELEMENT) RETURNS ANYELEMENT
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    result kind%TYPE;
BEGIN
    IF pg_typeof(kind) = 'timestamptz'::regtype THEN
        result := ingest.strict_time(value);
    ELSIF pg_typeof(kind) = 'date'::regtype THEN
        result := ingest.strict_date(value);
    ELSIF pg_typeof(kind) = 'text[]'::regtype THEN
        result := ingest.text_array(value);
    ELSE
        result := value;
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION ingest.strict_cast(TEXT, ANYELEMENT) IS
    'The value as the type of the second argument: PostgreSQL''s own cast where that keeps the value as it is.';

CREATE OR REPLACE FUNCTION ingest.cast_fault(value TEXT, kind ANYELEMENT) RETURNS TEXT
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    PERFORM ingest.strict_cast(value, kind);
    RETURN NULL;
EXCEPTION
    WHEN numeric_value_out_of_range OR datetime_field_overflow THEN
        RETURN 'out of range for ' || pg_typeof(kind);
    WHEN data_exception THEN
        RETURN 'not a valid ' || pg_typeof(kind);
    WHEN program_limit_exceeded THEN
        RETURN 'too deep or too large for ' || pg_typeof(kind);
END $$;
COMMENT ON FUNCTION ingest.cast_fault(TEXT, ANYELEMENT) IS
    'Why a value does not fit a type, in words that do not repeat it; NULL where it does.';

ALTER FUNCTION ingest.cast_fault(TEXT, ANYELEMENT) PARALLEL UNSAFE;

DROP FUNCTION ingest.is_placeholder(TEXT);
DROP FUNCTION ingest.read_time(TEXT);
DROP FUNCTION ingest.zone(TEXT);
DROP FUNCTION ingest.read_day(TEXT);
DROP FUNCTION ingest.whole_number(TEXT);
DROP FUNCTION ingest.trimmed(TEXT);
DROP FUNCTION ingest.refuse(TEXT);
