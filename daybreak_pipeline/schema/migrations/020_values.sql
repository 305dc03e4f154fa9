-- What a text may look like to be a number, a date or a time: one reading or none. PostgreSQL's own casts take a day for
-- a month where DateStyle says so, an unknown zone for one of several, and words for the time of the import.
-- A refusal has SQLSTATE 22D01; its message says why, and never repeats the value.

CREATE FUNCTION ingest.refuse(reason TEXT) RETURNS void LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '22D01', MESSAGE = reason;
END $$;
COMMENT ON FUNCTION ingest.refuse(TEXT) IS 'Refuses a value for a reason that does not repeat it.';

CREATE FUNCTION ingest.trimmed(value TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT btrim(value, E' \t\r\n\v\f\u00a0\u2007\u202f\u3000\ufeff')
$$;
COMMENT ON FUNCTION ingest.trimmed(TEXT) IS 'The text without the white space around it, no-break spaces included.';

CREATE FUNCTION ingest.whole_number(value TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    written TEXT[] := regexp_match(ingest.trimmed(value), '^([-+]?[0-9]+)(\.0+)?$');
BEGIN
    IF written IS NULL THEN
        PERFORM ingest.refuse('not a whole number');
    END IF;
    RETURN written[1];
END $$;
COMMENT ON FUNCTION ingest.whole_number(TEXT) IS
    'The digits of a whole number, which may be written with a sign, white space around it and a fraction of zero.';

CREATE FUNCTION ingest.read_day(value TEXT) RETURNS DATE LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    months CONSTANT TEXT[] := '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}';
    name CONSTANT TEXT :=
        '(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|'
        'nov(?:ember)?|dec(?:ember)?)\.?';
    written TEXT := lower(ingest.trimmed(value));
    parts TEXT[];
BEGIN
    written := regexp_replace(written, '^(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+', '');
    -- The year first: no order of day and month but one is in use.
    parts := coalesce(regexp_match(written, '^([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})$'),
                      regexp_match(written, '^([0-9]{4})()([0-9]{2})([0-9]{2})$'));
    IF parts IS NOT NULL THEN
        RETURN make_date(parts[1]::int, parts[3]::int, parts[4]::int);
    END IF;
    -- ISO 8601 has days of a year and of a week, too.
    parts := regexp_match(written, '^([0-9]{4})-([0-9]{3})$');
    IF parts IS NOT NULL THEN
        IF parts[2]::int NOT BETWEEN 1 AND make_date(parts[1]::int, 12, 31) - make_date(parts[1]::int, 1, 1) + 1 THEN
            PERFORM ingest.refuse('not a valid date');
        END IF;
        RETURN make_date(parts[1]::int, 1, 1) + parts[2]::int - 1;
    END IF;
    parts := regexp_match(written, '^([0-9]{4})-?w(0[1-9]|[1-4][0-9]|5[0-3])-?([1-7])$');
    IF parts IS NOT NULL THEN
        IF to_char(make_date(parts[1]::int, 1, 4) + 7 * (parts[2]::int - 1), 'IYYY')::int <> parts[1]::int THEN
            PERFORM ingest.refuse('not a valid date');
        END IF;
        RETURN date_trunc('week', make_date(parts[1]::int, 1, 4)::timestamp)::date + 7 * (parts[2]::int - 1) + parts[3]::int - 1;
    END IF;
    -- A month's name.
    parts := regexp_match(written, '^' || name || '[-\s]+([0-9]{1,2})(?:st|nd|rd|th)?(?:,\s*|[-\s]+)([0-9]{4})$');
    IF parts IS NOT NULL THEN
        RETURN make_date(parts[3]::int, array_position(months, left(parts[1], 3)), parts[2]::int);
    END IF;
    parts := regexp_match(written, '^([0-9]{1,2})(?:st|nd|rd|th)?[-\s]+' || name || ',?[-\s]+([0-9]{4})$');
    IF parts IS NOT NULL THEN
        RETURN make_date(parts[3]::int, array_position(months, left(parts[2], 3)), parts[1]::int);
    END IF;
    parts := regexp_match(written, '^([0-9]{4})[-\s]+' || name || '[-\s]+([0-9]{1,2})$');
    IF parts IS NOT NULL THEN
        RETURN make_date(parts[1]::int, array_position(months, left(parts[2], 3)), parts[3]::int);
    END IF;
    -- Numbers alone: the day must be above 12, or the same as the month.
    parts := regexp_match(written, '^([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})$');
    IF parts IS NOT NULL THEN
        IF parts[1]::int > 12 OR parts[1]::int = parts[3]::int THEN
            RETURN make_date(parts[4]::int, parts[3]::int, parts[1]::int);
        ELSIF parts[3]::int > 12 THEN
            RETURN make_date(parts[4]::int, parts[1]::int, parts[3]::int);
        END IF;
        PERFORM ingest.refuse('day or month first?');
    ELSIF written ~ '^[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2}$'
        OR written ~ ('^[0-9]{1,2}[-\s]+' || name || '[-\s]+[0-9]{2}$')
        OR written ~ ('^' || name || '[-\s]+[0-9]{1,2}(,\s*|[-\s]+)[0-9]{2}$') THEN
        PERFORM ingest.refuse('day or month first? the year has two digits');
    ELSIF written ~ '^[-+]?[0-9]{5,6}-[0-9]{2}-[0-9]{2}$' OR written ~ '(infinity|\sbc)$' THEN
        PERFORM ingest.refuse('the year is outside 0001 to 9999');
    END IF;
    PERFORM ingest.refuse('not a valid date');
END $$;
COMMENT ON FUNCTION ingest.read_day(TEXT) IS
    'The day that a text means, if it can mean only one: ISO 8601, a month''s name, or a day above 12.';

CREATE FUNCTION ingest.zone(value TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value = '' OR upper(value) IN ('Z', 'UTC', 'GMT') THEN
        RETURN '+00';
    ELSIF value ~ '^[-+][0-9]{1,2}(:?[0-9]{2}(:?[0-9]{2})?)?$' THEN
        RETURN value;
    ELSIF lower(value) IN ('japan', 'cuba', 'egypt', 'eire', 'greenwich', 'hongkong', 'iceland', 'iran', 'israel', 'jamaica',
                           'kwajalein', 'libya', 'navajo', 'poland', 'portugal', 'singapore', 'turkey', 'universal', 'zulu') THEN
        RETURN value; -- the names of one word that are those of one place, and no abbreviations
    -- Anything else with a digit PostgreSQL would take for a rule of daylight saving time.
    ELSIF value ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' OR value ~* '^etc/gmt[-+][0-9]{1,2}$' THEN
        RETURN value;
    ELSIF value ~* '^(utc|gmt)\s*[-+]' THEN
        PERFORM ingest.refuse('its time zone can be read in two ways: write an offset such as +02:00');
    END IF;
    PERFORM ingest.refuse('its time zone means several places or none: write an offset such as +02:00, or a name such as America/New_York');
END $$;
COMMENT ON FUNCTION ingest.zone(TEXT) IS 'A time zone as PostgreSQL reads it, if it means one place: an offset, UTC, or an IANA name that is no abbreviation.';

CREATE FUNCTION ingest.read_time(value TEXT, OUT day DATE, OUT clock TEXT, OUT zone TEXT)
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    written TEXT := ingest.trimmed(value);
    parts TEXT[];
    hour INTEGER;
BEGIN
    clock := '00:00';
    zone := '+00';
    -- 20250102T152338Z
    parts := regexp_match(written, '^([0-9]{8})[Tt]([0-9]{2})([0-9]{2})([0-9]{2})?([.,][0-9]+)?\s*(.*)$');
    IF parts IS NOT NULL THEN
        written := format('%sT%s:%s:%s%s %s', parts[1], parts[2], parts[3], coalesce(parts[4], '00'), parts[5], parts[6]);
    END IF;
    -- Wed Jun 25 15:23:38 UTC 2025, as operating systems write it
    written := regexp_replace(
        written, '^(?:[A-Za-z]{3,9},? +)?([A-Za-z]{3,9}) +([0-9]{1,2}) +([0-9]{1,2}:[0-9:.]+)((?: [A-Za-z]+)?) ([0-9]{4})$',
        '\1 \2 \5 \3\4');
    parts := regexp_match(written, '^([^:]*[0-9A-Za-z])(?:[Tt]|,?\s+)([0-9]{1,2}:.*)$');
    IF parts IS NULL THEN
        day := ingest.read_day(written);
        RETURN;
    END IF;
    day := ingest.read_day(parts[1]);
    parts := regexp_match(
        parts[2],
        '^([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})([.,][0-9]+)?)?(?:\s*([AaPp])\.?[Mm]\.?(?![A-Za-z_/]))?\s*(.*)$');
    IF parts IS NULL THEN
        PERFORM ingest.refuse('not a valid time of day');
    END IF;
    hour := parts[1]::int;
    -- As PostgreSQL: 24:00 is the next day's midnight, and a leap second the next minute's beginning.
    IF parts[2]::int > 59 OR parts[3]::int > 60 OR hour > 24 OR hour = 24 AND parts[2:4]::text ~ '[1-9]'
        OR parts[5] IS NOT NULL AND hour NOT BETWEEN 1 AND 12 THEN
        PERFORM ingest.refuse('not a valid time of day');
    ELSIF parts[5] IS NOT NULL THEN
        hour := hour % 12 + CASE WHEN upper(parts[5]) = 'P' THEN 12 ELSE 0 END;
    END IF;
    clock := format('%s:%s:%s%s', hour, parts[2], coalesce(parts[3], '00'), replace(coalesce(parts[4], ''), ',', '.'));
    zone := ingest.zone(parts[6]);
END $$;
COMMENT ON FUNCTION ingest.read_time(TEXT) IS
    'Day, time of day and zone that a text means, if it can mean only one. Without a zone it is UTC.';

CREATE OR REPLACE FUNCTION ingest.strict_time(value TEXT) RETURNS TIMESTAMPTZ
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    written RECORD := ingest.read_time(value);
    moment TIMESTAMPTZ := (to_char(written.day, 'YYYY-MM-DD ') || written.clock || ' ' || written.zone)::timestamptz;
BEGIN
    IF moment < '0001-01-01 00:00:00+00' OR moment >= '10000-01-01 00:00:00+00' THEN
        PERFORM ingest.refuse('the year is outside 0001 to 9999');
    END IF;
    RETURN moment;
END $$;
COMMENT ON FUNCTION ingest.strict_time(TEXT) IS
    'The time that a text means, if it can mean only one, whatever DateStyle and TimeZone are.';

CREATE OR REPLACE FUNCTION ingest.strict_date(value TEXT) RETURNS DATE
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
    written RECORD := ingest.read_time(value);
BEGIN
    IF written.clock !~ '^0+:0+(:0+(\.0+)?)?$' THEN
        PERFORM ingest.refuse('has a time of day');
    END IF;
    -- The day as it is written: a midnight with an offset is no other day. That the zone exists is looked at all the same.
    PERFORM (to_char(written.day, 'YYYY-MM-DD ') || written.clock || ' ' || written.zone)::timestamptz;
    RETURN written.day;
END $$;
COMMENT ON FUNCTION ingest.strict_date(TEXT) IS
    'The day that a text means, if it can mean only one; a text with a time of day other than midnight is none.';

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
    ELSIF pg_typeof(kind) IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN
        result := ingest.whole_number(value);
    ELSE
        result := value;
    END IF;
    RETURN result;
END $$;

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

CREATE FUNCTION ingest.is_placeholder(value TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT value IN ('\N', 'NULL', 'null', '(null)', 'None', 'NaN', 'nan', 'N/A', 'n/a', '#N/A', '#REF!', '#VALUE!', '#NAME?',
                     '#DIV/0!', '#NUM!', '#NULL!')
        OR value LIKE '##%' AND value ~ '^#+$'
        OR octet_length(value) < 16 AND value LIKE '%E+%' AND value ~ '^[0-9]([.,][0-9]+)?E[+][0-9]{1,3}$'
$$;
COMMENT ON FUNCTION ingest.is_placeholder(TEXT) IS
    'Whether a text is a word for nothing, or what a spreadsheet leaves of a value: an error, a column too narrow, a number rounded.';

ALTER TABLE ingest.imports ADD COLUMN placeholder_values JSONB;
COMMENT ON COLUMN ingest.imports.placeholder_values IS
    'How many values of each sealed column of the file were what a spreadsheet leaves of a value: JSON object {column: number}.';
