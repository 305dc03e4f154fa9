-- When clinicians have time, and which of these times suit a patient: app.free_slots. Availabilities repeat by the clock on
-- the clinician's wall, so everything here reckons in local time and turns it into a moment last.

CREATE FUNCTION app.knows_zone(zone TEXT) RETURNS BOOLEAN LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Names of places. PostgreSQL would also take an abbreviation, which means several, and UTC+2 for two hours west.
    IF zone ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' OR zone ~* '^(utc|gmt|etc/gmt[-+][0-9]{1,2}|(est5e|cst6c|mst7m|pst8p)dt)$' THEN
        PERFORM timezone(zone, TIMESTAMPTZ '2000-01-01 00:00+00');
        RETURN true;
    END IF;
    RETURN false;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION app.knows_zone(TEXT) IS
    'Whether a time zone is one of the tz database that means one place. False too for NULL, abbreviations and offsets.';

CREATE FUNCTION app.instant(local_time TIMESTAMP, zone TEXT) RETURNS TIMESTAMPTZ LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    -- Of a time that exists twice PostgreSQL takes the second. It is the first, if the offset of a day earlier leads to it.
    SELECT CASE WHEN earlier.shift > INTERVAL '0' AND timezone(zone, later.moment - earlier.shift) = local_time
                THEN later.moment - earlier.shift ELSE later.moment END
    FROM (SELECT timezone(zone, local_time) AS moment) AS later,
         LATERAL (SELECT timezone(zone, later.moment - INTERVAL '24 hours') - (local_time - INTERVAL '24 hours') AS shift) AS earlier;
END;
COMMENT ON FUNCTION app.instant(TIMESTAMP, TEXT) IS
    'The moment of a local time, as calendars have it (RFC 5545): the first of a time that exists twice; one that does not exist is read with the offset before the change, and so is as much later on the clock.';

CREATE FUNCTION app.weekly_times(availability JSONB)
RETURNS TABLE (day_of_week INTEGER, starts TIME, lasts INTERVAL) LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT named.day_of_week, block.starts, block.minutes * INTERVAL '1 minute'
    FROM jsonb_array_elements(CASE jsonb_typeof(availability) WHEN 'array' THEN availability ELSE '[]' END) AS day (entry),
         LATERAL (SELECT array_position(ARRAY['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'],
                                        lower(btrim(day.entry ->> 'day'))) - 1 AS day_of_week) AS named,
         jsonb_array_elements(CASE jsonb_typeof(day.entry -> 'time_blocks') WHEN 'array' THEN day.entry -> 'time_blocks' ELSE '[]' END) AS part (entry),
         LATERAL (SELECT CASE WHEN part.entry ->> 'start' ~ '^([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$'
                              THEN (part.entry ->> 'start')::time END AS starts,
                         CASE WHEN jsonb_typeof(part.entry -> 'duration') = 'number' AND (part.entry ->> 'duration')::numeric BETWEEN 1 AND 1440
                              THEN (part.entry ->> 'duration')::double precision END AS minutes) AS block
    WHERE named.day_of_week IS NOT NULL AND block.starts IS NOT NULL AND block.minutes IS NOT NULL;
END;
COMMENT ON FUNCTION app.weekly_times(JSONB) IS
    'The times of a week in patient_availabilities.availability: day (0 = Sunday), beginning, duration. Without what is no such time.';

CREATE FUNCTION app.patient_times(patient UUID, zone TEXT, first_day DATE, last_day DATE) RETURNS TSTZMULTIRANGE
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(range_agg(tstzrange(begins.moment, begins.moment + week.lasts)), '{}')
    FROM (SELECT a.availability FROM public.patient_availabilities a
          WHERE a.user_id = patient AND a._fivetran_deleted IS NOT TRUE
            AND NOT EXISTS (SELECT FROM public.patients_and_guardians p WHERE p.id = patient AND p._fivetran_deleted)
          ORDER BY a.updated_at DESC, a.id LIMIT 1) AS newest,
         app.weekly_times(newest.availability) AS week,
         generate_series(0, last_day - first_day) AS day (number),
         LATERAL (SELECT app.instant(first_day + day.number + week.starts, zone) AS moment) AS begins
    WHERE date_part('dow', first_day + day.number) = week.day_of_week;
END;
COMMENT ON FUNCTION app.patient_times(UUID, TEXT, DATE, DATE) IS
    'When a patient has time from one day to another, by the newest availability that is not deleted; local times are of this zone.';

CREATE FUNCTION app.clinicians_for(
    organization UUID, insurance UUID DEFAULT NULL, state TEXT DEFAULT NULL, language TEXT DEFAULT NULL, clinicians UUID[] DEFAULT NULL
) RETURNS TABLE (clinician_id UUID, healthie_number INTEGER)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    members UUID[];
BEGIN
    IF organization IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM public.organizations o WHERE o.id = organization AND o._fivetran_deleted IS NOT TRUE) THEN
            RETURN;
        END IF;
        members := ARRAY(
            SELECT c.id
            FROM public.organizations o
            LEFT JOIN public.organizations d ON d.id = o.parent_organization_id AND d._fivetran_deleted IS NOT TRUE
            JOIN public.memberships m ON m.organization_id IN (o.id, d.id) AND m._fivetran_deleted IS NOT TRUE
            JOIN public.clinicians c ON c.id = m.user_id AND c._fivetran_deleted IS NOT TRUE
            WHERE o.id = organization);
    END IF;
    RETURN QUERY
        SELECT c.id,
               -- As text, as everywhere: 007 is not clinician 7.
               CASE WHEN c.healthie_id ~ '^(0|[1-9][0-9]{0,9})$'
                    THEN CASE WHEN c.healthie_id::bigint < 2147483648 THEN c.healthie_id::integer END END
        FROM public.clinicians c
        WHERE c._fivetran_deleted IS NOT TRUE
          AND (clinicians IS NULL OR c.id = ANY (clinicians))
          AND (coalesce(members, '{}') = '{}' OR c.id = ANY (members))
          AND (clinicians_for.state IS NULL OR upper(btrim(clinicians_for.state)) = ANY (c.states_active))
          AND (language IS NULL OR language = ANY (c.care_languages))
          AND (insurance IS NULL OR EXISTS (
              SELECT FROM public.clinician_insurance_affiliations a
              JOIN public.clinician_credentialed_insurances i ON i.id = a.credentialed_insurance_id
              WHERE a.care_provider_profile_id = c.id AND a.credentialed_insurance_id = insurance
                AND a._fivetran_deleted IS NOT TRUE AND i._fivetran_deleted IS NOT TRUE
                AND (clinicians_for.state IS NULL OR i.state IS NULL OR upper(i.state) = upper(btrim(clinicians_for.state)))));
END $$;
COMMENT ON FUNCTION app.clinicians_for(UUID, UUID, TEXT, TEXT, UUID[]) IS
    'Clinicians who may see an organization''s patients (its members or its district''s, or everybody where it has none of its own), take an insurance, are active in a state and speak a language. What is NULL is not asked for.';

CREATE FUNCTION app.free_slots(
    organization UUID, "from" TIMESTAMPTZ, "to" TIMESTAMPTZ, minutes INTEGER DEFAULT NULL, patient UUID DEFAULT NULL,
    insurance UUID DEFAULT NULL, state TEXT DEFAULT NULL, language TEXT DEFAULT NULL, clinicians UUID[] DEFAULT NULL
) RETURNS TABLE (clinician_id UUID, starts_at TIMESTAMPTZ, ends_at TIMESTAMPTZ)
LANGUAGE plpgsql STABLE
-- In UTC a day has 24 hours. What the planner does not know is how many times a range repeats.
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET jit = off SET plan_cache_mode = force_custom_plan
SET work_mem = '32MB' SET enable_mergejoin = off AS $$
DECLARE
    first_day DATE;
    last_day DATE;
    asked TSTZMULTIRANGE := NULL;
    zone TEXT;
    unsettled CONSTANT INTEGER := -1000000;
    longest CONSTANT INTERVAL := '3660 days'; -- of a range that repeats: one of ten thousand years is a mistake, and would take as long
BEGIN
    IF (isfinite("from") AND isfinite("to")) IS NOT TRUE THEN
        RAISE EXCEPTION 'from and to must both be times' USING ERRCODE = 'invalid_parameter_value';
    ELSIF "from" > "to" OR "to" - "from" > INTERVAL '400 days' THEN
        RAISE EXCEPTION 'from must be before to, and at most 400 days before' USING ERRCODE = 'invalid_parameter_value';
    ELSIF minutes NOT BETWEEN 1 AND 1440 THEN
        RAISE EXCEPTION 'minutes is not from 1 to 1440' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    first_day := "from"::date - 2;
    last_day := "to"::date + 2;
    IF patient IS NOT NULL THEN
        SELECT coalesce(CASE WHEN app.knows_zone(o.tzdb) THEN o.tzdb END, CASE WHEN app.knows_zone(d.tzdb) THEN d.tzdb END) INTO zone
        FROM public.organizations o
        LEFT JOIN public.organizations d ON d.id = o.parent_organization_id AND d._fivetran_deleted IS NOT TRUE
        WHERE o.id = organization;
        IF zone IS NULL THEN
            RAISE EXCEPTION 'the organization has no known time zone, and the patient''s times are local times'
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Set organizations.tzdb to a name such as America/New_York.';
        END IF;
        asked := app.patient_times(patient, zone, first_day, last_day);
    END IF;

    RETURN QUERY
    WITH ranges AS MATERIALIZED (
        SELECT c.clinician_id AS clinician, a.range_start, a.timezone AS zone, a.is_repeating, a.end_on::date AS end_on,
               CASE WHEN a.is_repeating THEN least(a.range_end - a.range_start, longest) ELSE a.range_end - a.range_start END AS length
        FROM app.clinicians_for(organization, insurance, free_slots.state, language, clinicians) c
        JOIN public.clinician_availabilities a ON a.user_id = c.healthie_number
        WHERE a.deleted_at IS NULL AND a.range_start < "to"
          AND CASE WHEN isfinite(a.range_start) AND isfinite(a.range_end) AND a.range_start < a.range_end
                   THEN a.range_end > "from"
                        OR a.is_repeating AND (a.end_on IS NULL OR a.end_on > "from"
                                               OR a.end_on + (a.range_end - a.range_start) > "from" - INTERVAL '3 days')
                   ELSE false END
    ), zones AS MATERIALIZED (
        -- For each zone and day the offset in seconds, where it is the same from the day before to two days after. Looking
        -- it up costs a tenth of what PostgreSQL needs to find it.
        SELECT named.zone, o.offsets
        FROM (SELECT DISTINCT r.zone FROM ranges r WHERE r.is_repeating OFFSET 0) named,
             LATERAL (
                 SELECT array_agg(CASE WHEN n.seconds = lag AND n.seconds = lead AND n.seconds = lead_2 THEN n.seconds ELSE unsettled END
                                  ORDER BY n.day) AS offsets
                 FROM (SELECT d.day, d.seconds, lag(d.seconds) OVER by_day, lead(d.seconds) OVER by_day, lead(d.seconds, 2) OVER by_day AS lead_2
                       FROM (SELECT day, extract(epoch FROM timezone(named.zone, (first_day + day)::timestamptz) - (first_day + day)::timestamp)::integer AS seconds
                             FROM generate_series(-8, last_day - first_day + 2) AS day) d
                       WINDOW by_day AS (ORDER BY d.day)) n) o
        WHERE app.knows_zone(named.zone)
    ), weeks AS (
        SELECT r.clinician, r.range_start, r.length, r.zone, r.offsets, r.local, r.day,
               generate_series(greatest(0, (first_day - date_part('day', r.length)::integer - r.day) / 7),
                               CASE WHEN r.until >= r.day THEN (r.until - r.day) / 7 ELSE -1 END) AS week
        FROM (SELECT r.*, r.local::date AS day, least(r.end_on, last_day) AS until
              FROM (SELECT r.clinician, r.range_start, r.length, z.zone, z.offsets, r.end_on, timezone(z.zone, r.range_start) AS local
                    FROM ranges r JOIN zones z ON z.zone = r.zone WHERE r.is_repeating OFFSET 0) r OFFSET 0) r
    ), occurrences AS (
        SELECT w.clinician, w.length,
               CASE WHEN w.week = 0 THEN w.range_start
                    WHEN w.offsets[w.day + 7 * w.week - first_day + 9] > unsettled
                    THEN (w.local + w.week * INTERVAL '7 days'
                          - w.offsets[w.day + 7 * w.week - first_day + 9] * INTERVAL '1 second')::timestamptz
                    ELSE app.instant(w.local + w.week * INTERVAL '7 days', w.zone) END AS moment
        FROM weeks w OFFSET 0
    ), free AS (
        SELECT o.clinician, range_agg(tstzrange(o.moment, o.moment + o.length)) AS times
        FROM (SELECT * FROM occurrences
              UNION ALL
              SELECT r.clinician, r.length, r.range_start FROM ranges r WHERE r.is_repeating IS NOT TRUE) o
        WHERE o.moment < "to" AND o.moment + o.length > "from"
        GROUP BY o.clinician
    ), stretches AS (
        SELECT f.clinician, unnest(CASE WHEN minutes IS NULL THEN f.times * tstzmultirange(tstzrange("from", "to")) ELSE f.times END) AS stretch
        FROM (SELECT g.clinician, CASE WHEN patient IS NULL THEN g.times ELSE g.times * asked END AS times FROM free g OFFSET 0) f
    ), slots AS (
        SELECT s.clinician, lower(s.stretch) AS starts, upper(s.stretch) AS ends FROM stretches s WHERE minutes IS NULL
        UNION ALL
        -- From the beginning of the stretch, and not from that of the question, which may be any minute.
        SELECT c.clinician, c.starts, c.starts + minutes * INTERVAL '1 minute'
        FROM (SELECT s.clinician, generate_series(
                         lower(s.stretch) + minutes * INTERVAL '1 minute' * greatest(0, ceil(
                             extract(epoch FROM "from" - lower(s.stretch))::double precision / (60 * minutes))),
                         least(upper(s.stretch), "to") - minutes * INTERVAL '1 minute', minutes * INTERVAL '1 minute') AS starts
              FROM stretches s WHERE minutes IS NOT NULL) c
    )
    SELECT s.clinician, s.starts, s.ends FROM slots s;
END $$;
COMMENT ON FUNCTION app.free_slots(UUID, TIMESTAMPTZ, TIMESTAMPTZ, INTEGER, UUID, UUID, TEXT, TEXT, UUID[]) IS
    'When clinicians have time between two moments: free stretches, or with minutes, slots of that length. docs/common-queries.md says how availabilities are read.';
