-- Numbers for analysts by week and district, without small groups: funnel and time to care, coverage, capacity. They are
-- materialized views, and what they hold may be passed on. docs/numbers-for-analysts.md defines each number, and
-- explains why no small group can be reckoned from them.
--
-- Small groups are left out in one place, reporting.publishable. Every referral, patient and clinician that is counted is in
-- exactly one cell (week, group, class), and all that is published are sums of cells, chosen so that whatever can be
-- had by adding and subtracting them is a group of enough people, or an empty one.

-- Compiling these queries takes longer than running them on empty tables; maintenance/summaries.py does without, too.
SET LOCAL jit = off;

CREATE FUNCTION reporting.may_be_shown(members NUMERIC, people NUMERIC) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN members = 0 OR people >= 11;
COMMENT ON FUNCTION reporting.may_be_shown(NUMERIC, NUMERIC) IS
    'Whether a group may be shown: it is of 11 people or more, or empty. The one place that says how small is too small.';

CREATE TYPE reporting.cell AS (week DATE, grp TEXT, class INTEGER, members BIGINT, people BIGINT);
COMMENT ON TYPE reporting.cell IS
    'How many there are of a week, a group (such as a district; NULL is none) and a class, and of how many people at least. Nobody is in two cells.';

CREATE FUNCTION reporting.shown_classes(members BIGINT[], people BIGINT[]) RETURNS BOOLEAN[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    classes CONSTANT INTEGER := cardinality(members);
    best INTEGER := 0;
    best_number INTEGER := 0;
    number INTEGER;
    piece_members BIGINT;
    piece_people BIGINT;
    fits BOOLEAN;
BEGIN
    -- Each set of classes that a piece begins with, as bits; of as many pieces the later classes are worth more.
    FOR begins IN 0 .. (1 << (classes - 1)) - 1 LOOP
        fits := true;
        number := 0;
        piece_members := members[1];
        piece_people := people[1];
        FOR class IN 2 .. classes LOOP
            IF begins & (1 << (class - 2)) > 0 THEN
                fits := fits AND reporting.may_be_shown(piece_members, piece_people);
                number := number + 1;
                piece_members := 0;
                piece_people := 0;
            END IF;
            piece_members := piece_members + members[class];
            piece_people := piece_people + people[class];
        END LOOP;
        IF fits AND reporting.may_be_shown(piece_members, piece_people) AND number >= best_number THEN
            best := begins;
            best_number := number;
        END IF;
    END LOOP;
    RETURN ARRAY(SELECT class = 1 OR best & (1 << greatest(class - 2, 0)) > 0 FROM generate_series(1, classes) class ORDER BY class);
END $$;
COMMENT ON FUNCTION reporting.shown_classes(BIGINT[], BIGINT[]) IS
    'Which classes can be told from those before them, so that every piece may be shown. The others are shown together.';

CREATE FUNCTION reporting.periods(cells reporting.cell[], classes INTEGER)
RETURNS TABLE (first_week DATE, last_week DATE, shown BOOLEAN[])
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    longest CONSTANT INTEGER := 7 * 12; -- days from the first Monday to the last: after 13 weeks classes are shown together instead
    line RECORD;
    begun DATE; -- of the period that is open
    members BIGINT[];
    people BIGINT[];
    kept_members BIGINT[]; -- of the one before, which is not returned before it is known whether the last one joins it
    kept_people BIGINT[];
BEGIN
    FOR line IN
        SELECT w.week, array_agg(coalesce(n.members, 0)::bigint ORDER BY k.class) AS members,
               array_agg(coalesce(n.people, 0)::bigint ORDER BY k.class) AS people
        FROM (SELECT DISTINCT c.week FROM unnest(cells) c) w CROSS JOIN generate_series(1, classes) AS k (class)
        LEFT JOIN (SELECT c.week, c.class, sum(c.members) AS members, sum(c.people) AS people
                   FROM unnest(cells) c GROUP BY c.week, c.class) n ON n.week = w.week AND n.class = k.class
        GROUP BY w.week ORDER BY w.week
    LOOP
        IF begun IS NULL THEN
            begun := line.week;
            members := line.members;
            people := line.people;
        ELSE
            members := ARRAY(SELECT a + b FROM unnest(members, line.members) WITH ORDINALITY AS t (a, b, place) ORDER BY place);
            people := ARRAY(SELECT a + b FROM unnest(people, line.people) WITH ORDINALITY AS t (a, b, place) ORDER BY place);
        END IF;
        CONTINUE WHEN NOT reporting.may_be_shown(1, (SELECT sum(p) FROM unnest(people) p));
        CONTINUE WHEN line.week - begun < longest
            AND EXISTS (SELECT FROM unnest(members, people) AS t (m, p) WHERE NOT reporting.may_be_shown(m, p));
        IF first_week IS NOT NULL THEN
            shown := reporting.shown_classes(kept_members, kept_people);
            RETURN NEXT;
        END IF;
        first_week := begun;
        last_week := line.week;
        kept_members := members;
        kept_people := people;
        begun := NULL;
    END LOOP;
    -- The last weeks: a period where they are enough people, else a part of the one before.
    IF begun IS NOT NULL AND reporting.may_be_shown(1, (SELECT sum(p) FROM unnest(people) p)) THEN
        IF first_week IS NOT NULL THEN
            shown := reporting.shown_classes(kept_members, kept_people);
            RETURN NEXT;
        END IF;
        first_week := begun;
        last_week := line.week;
        kept_members := members;
        kept_people := people;
    ELSIF begun IS NOT NULL AND first_week IS NOT NULL THEN
        last_week := line.week;
        kept_members := ARRAY(SELECT a + b FROM unnest(kept_members, members) WITH ORDINALITY AS t (a, b, place) ORDER BY place);
        kept_people := ARRAY(SELECT a + b FROM unnest(kept_people, people) WITH ORDINALITY AS t (a, b, place) ORDER BY place);
    END IF;
    IF first_week IS NOT NULL THEN
        shown := reporting.shown_classes(kept_members, kept_people);
        RETURN NEXT;
    END IF;
END $$;
COMMENT ON FUNCTION reporting.periods(reporting.cell[], INTEGER) IS
    'Weeks, joined to their successors until they are enough people and each class can be shown by itself, or there are 13 of them. Every week with a member is in one period; there is none where all together are too few.';

CREATE FUNCTION reporting.publishable(cells reporting.cell[], classes INTEGER)
RETURNS TABLE (first_week DATE, last_week DATE, scope TEXT, grp TEXT, reached BIGINT[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH period AS MATERIALIZED (
        SELECT p.* FROM reporting.periods(cells, classes) p
    ), piece_of AS (
        -- What each class is shown with: the last class up to it that a piece begins with.
        SELECT p.first_week, k.class, (SELECT max(b) FROM generate_series(1, k.class) b WHERE p.shown[b]) AS piece
        FROM period p, generate_series(1, classes) AS k (class)
    ), counted AS MATERIALIZED (
        SELECT p.first_week, c.grp, o.piece, sum(c.members) AS members, sum(c.people) AS people
        FROM unnest(cells) c
        JOIN (SELECT p.first_week, w.day::date AS week
              FROM period p, generate_series(p.first_week::timestamp, p.last_week::timestamp, INTERVAL '7 days') AS w (day)) p
            ON p.week = c.week
        JOIN piece_of o ON o.first_week = p.first_week AND o.class = c.class
        GROUP BY p.first_week, c.grp, o.piece
    ), whole AS (
        SELECT c.first_week, c.piece, sum(c.members) AS members, sum(c.people) AS people FROM counted c GROUP BY c.first_week, c.piece
    ), candidate AS (
        -- Groups that are large enough, and what all others would be together if those up to this one were shown.
        SELECT g.first_week, g.grp, g.fits, g.place, w.members - sum(g.members) OVER largest AS rest, w.people - sum(g.people) OVER largest AS rest_people
        FROM (SELECT c.first_week, c.grp, sum(c.members) AS members, sum(c.people) AS people,
                     bool_and(reporting.may_be_shown(c.members, c.people)) AS fits,
                     row_number() OVER (PARTITION BY c.first_week ORDER BY sum(c.people) DESC, c.grp) AS place
              FROM counted c WHERE c.grp IS NOT NULL GROUP BY c.first_week, c.grp
              HAVING reporting.may_be_shown(sum(c.members), sum(c.people))) g
        JOIN (SELECT w.first_week, sum(w.members) AS members, sum(w.people) AS people FROM whole w GROUP BY w.first_week) w
            ON w.first_week = g.first_week
        WINDOW largest AS (PARTITION BY g.first_week ORDER BY g.place)
    ), named AS MATERIALIZED (
        SELECT c.first_week, c.grp, c.fits, c.place
        FROM (SELECT c.*, max(c.place) FILTER (WHERE reporting.may_be_shown(c.rest, c.rest_people)) OVER (PARTITION BY c.first_week) AS last_place
              FROM candidate c) c
        WHERE c.place <= c.last_place
    ), left_over AS (
        -- Of those whose pieces may all be shown: what the pieces of all others would be together, as above.
        SELECT s.first_week, s.place, bool_and(reporting.may_be_shown(s.members, s.people)) AS fits
        FROM (SELECT n.first_week, n.place, w.members - sum(coalesce(c.members, 0)) OVER largest AS members,
                     w.people - sum(coalesce(c.people, 0)) OVER largest AS people
              FROM named n JOIN whole w ON w.first_week = n.first_week
              LEFT JOIN counted c ON c.first_week = n.first_week AND c.grp = n.grp AND c.piece = w.piece
              WHERE n.fits
              WINDOW largest AS (PARTITION BY n.first_week, w.piece ORDER BY n.place)) s
        GROUP BY s.first_week, s.place
    ), split AS MATERIALIZED (
        SELECT n.first_week, n.grp,
               n.fits AND n.place <= coalesce((SELECT max(l.place) FROM left_over l WHERE l.first_week = n.first_week AND l.fits), 0) AS is_split
        FROM named n
    ), line AS (
        SELECT c.first_week, 'all' AS scope, NULL AS grp, true AS is_split, c.piece, c.members FROM whole c
        UNION ALL
        SELECT c.first_week, 'group', c.grp, s.is_split, c.piece, c.members
        FROM counted c JOIN split s ON s.first_week = c.first_week AND s.grp = c.grp
        UNION ALL
        SELECT c.first_week, 'other', NULL,
               NOT EXISTS (SELECT FROM split s WHERE s.first_week = c.first_week AND NOT s.is_split), c.piece, c.members
        FROM counted c
        WHERE NOT EXISTS (SELECT FROM split s WHERE s.first_week = c.first_week AND s.grp = c.grp)
          AND EXISTS (SELECT FROM split s WHERE s.first_week = c.first_week)
    )
    SELECT p.first_week, p.last_week, l.scope, l.grp,
           ARRAY(SELECT CASE WHEN k.class = 1 OR p.shown[k.class] AND l.is_split
                             THEN (SELECT coalesce(sum(m), 0) FROM unnest(l.pieces, l.members) AS t (piece, m) WHERE piece >= k.class)::bigint END
                 FROM generate_series(1, classes) AS k (class) ORDER BY k.class)
    FROM (SELECT l.first_week, l.scope, l.grp, l.is_split, array_agg(l.piece) AS pieces, array_agg(l.members) AS members
          FROM line l GROUP BY l.first_week, l.scope, l.grp, l.is_split) l
    JOIN period p ON p.first_week = l.first_week
$$;
COMMENT ON FUNCTION reporting.publishable(reporting.cell[], INTEGER) IS
    'What may be published of cells: for each period all together, each group that is large enough, and the others together. reached has how many are in a class or a later one; NULL where that would show a small group. docs/numbers-for-analysts.md says why it is safe.';

CREATE FUNCTION reporting.is_dated(moment TIMESTAMPTZ) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE
RETURN moment >= TIMESTAMPTZ '2000-01-01 00:00+00' AND moment < now() + INTERVAL '1 day';
COMMENT ON FUNCTION reporting.is_dated(TIMESTAMPTZ) IS
    'Whether a time can have happened: from the year 2000 until tomorrow. What has no such time has no week and is not counted.';

CREATE FUNCTION reporting.week_of(moment TIMESTAMPTZ, zone TEXT) RETURNS DATE LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN date_trunc('week', timezone(coalesce(zone, 'UTC'), moment))::date;
COMMENT ON FUNCTION reporting.week_of(TIMESTAMPTZ, TEXT) IS 'The Monday of the week that a moment is in, on the calendar of a time zone.';

CREATE FUNCTION reporting.organizations_in_districts() RETURNS TABLE (id UUID, district_id UUID, zone TEXT)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.id, CASE WHEN o.kind = 1 THEN o.id ELSE d.id END,
           coalesce(CASE WHEN app.knows_zone(o.tzdb) THEN o.tzdb END, CASE WHEN app.knows_zone(d.tzdb) THEN d.tzdb END, 'UTC')
    FROM public.organizations o
    LEFT JOIN public.organizations d ON d.id = o.parent_organization_id AND d._fivetran_deleted IS NOT TRUE
    WHERE o._fivetran_deleted IS NOT TRUE
$$;
COMMENT ON FUNCTION reporting.organizations_in_districts() IS
    'The district of each organization, and its time zone: its own, or its district''s, or UTC where neither is a place of the tz database.';

-- Funnel and time to care ----------------------------------------------------------------------------------

CREATE MATERIALIZED VIEW reporting.funnel_by_week AS
WITH referral AS MATERIALIZED (
    SELECT reporting.week_of(t.referred_at, o.zone) AS week, o.district_id::text AS grp,
           array_position(ARRAY['referred', 'onboarding_completed', 'ready_for_scheduling', 'scheduled', 'enrolled'],
                          app.referral_status(r.system_labels, r.onboarding_completed_at, r.ready_for_scheduling_at,
                                              r.scheduled_at, r.enrolled_at)) AS class,
           -- A family that is referred again is not another family.
           row_number() OVER (PARTITION BY r.submitter_id ORDER BY t.referred_at, r.id) = 1 AS is_first,
           app.days_between(t.referred_at, r.onboarding_completed_at) AS to_onboarding,
           app.days_between(r.onboarding_completed_at, r.ready_for_scheduling_at) AS to_ready,
           app.days_between(r.ready_for_scheduling_at, r.scheduled_at) AS to_scheduled,
           app.days_between(r.scheduled_at, r.enrolled_at) AS to_enrolled,
           app.days_between(t.referred_at, r.enrolled_at) AS to_care
    FROM public.referrals r
    LEFT JOIN reporting.organizations_in_districts() o ON o.id = r.organization_id,
    LATERAL (SELECT coalesce(r.referred_at, r.created_at) AS referred_at) t
    WHERE r._fivetran_deleted IS NOT TRUE AND reporting.is_dated(t.referred_at)
), published AS MATERIALIZED (
    SELECT p.* FROM reporting.publishable(
        (SELECT array_agg(ROW(c.week, c.grp, c.class, c.members, c.people)::reporting.cell)
         FROM (SELECT r.week, r.grp, r.class, count(*) AS members, count(*) FILTER (WHERE r.is_first) AS people
               FROM referral r GROUP BY r.week, r.grp, r.class) c), 5) p
), placed AS (
    SELECT w.first_week, g.grp AS shown_grp, r.*
    FROM referral r
    JOIN (SELECT p.first_week, w.day::date AS week
          FROM published p, generate_series(p.first_week::timestamp, p.last_week::timestamp, INTERVAL '7 days') AS w (day)
          WHERE p.scope = 'all') w ON w.week = r.week
    LEFT JOIN published g ON g.first_week = w.first_week AND g.scope = 'group' AND g.grp = r.grp
), median AS (
    SELECT m.first_week, CASE WHEN GROUPING(m.shown_grp) = 1 THEN 'all' WHEN m.shown_grp IS NULL THEN 'other' ELSE 'group' END AS scope,
           m.shown_grp AS grp,
           CASE WHEN reporting.may_be_shown(1, count(*) FILTER (WHERE m.is_first AND m.to_onboarding IS NOT NULL))
                THEN round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m.to_onboarding)) END AS to_onboarding,
           CASE WHEN reporting.may_be_shown(1, count(*) FILTER (WHERE m.is_first AND m.to_ready IS NOT NULL))
                THEN round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m.to_ready)) END AS to_ready,
           CASE WHEN reporting.may_be_shown(1, count(*) FILTER (WHERE m.is_first AND m.to_scheduled IS NOT NULL))
                THEN round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m.to_scheduled)) END AS to_scheduled,
           CASE WHEN reporting.may_be_shown(1, count(*) FILTER (WHERE m.is_first AND m.to_enrolled IS NOT NULL))
                THEN round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m.to_enrolled)) END AS to_enrolled,
           CASE WHEN reporting.may_be_shown(1, count(*) FILTER (WHERE m.is_first AND m.to_care IS NOT NULL))
                THEN round(percentile_cont(0.5) WITHIN GROUP (ORDER BY m.to_care)) END AS to_care
    FROM placed m
    GROUP BY GROUPING SETS ((m.first_week), (m.first_week, m.shown_grp))
)
SELECT concat_ws('/', p.first_week::text, p.scope, p.grp) AS id,
       p.first_week AS week, (p.last_week - p.first_week) / 7 + 1 AS weeks,
       CASE p.scope WHEN 'group' THEN 'district' WHEN 'other' THEN 'other districts' ELSE 'all' END AS scope,
       p.grp::uuid AS district_id, d.name::text AS district,
       p.reached[1] AS referred, p.reached[2] AS onboarding_completed, p.reached[3] AS ready_for_scheduling,
       p.reached[4] AS scheduled, p.reached[5] AS enrolled,
       -- A median only beside the number of those it may be of.
       CASE WHEN p.reached[2] IS NOT NULL THEN m.to_onboarding::integer END AS days_to_onboarding,
       CASE WHEN p.reached[3] IS NOT NULL THEN m.to_ready::integer END AS days_to_ready,
       CASE WHEN p.reached[4] IS NOT NULL THEN m.to_scheduled::integer END AS days_to_scheduled,
       CASE WHEN p.reached[5] IS NOT NULL THEN m.to_enrolled::integer END AS days_to_enrolled,
       CASE WHEN p.reached[5] IS NOT NULL THEN m.to_care::integer END AS days_to_care
FROM published p
LEFT JOIN median m ON m.first_week = p.first_week AND m.scope = p.scope AND m.grp IS NOT DISTINCT FROM p.grp
LEFT JOIN public.organizations d ON d.id = p.grp::uuid;
CREATE UNIQUE INDEX funnel_by_week_id ON reporting.funnel_by_week (id);
COMMENT ON MATERIALIZED VIEW reporting.funnel_by_week IS
    'How many referrals of a week came how far, and the median days between steps: all, by district, and other districts together. Without groups of fewer than 11 families. As of its last refresh.';
COMMENT ON COLUMN reporting.funnel_by_week.id IS 'Week, scope and district: what makes a row unique.';
COMMENT ON COLUMN reporting.funnel_by_week.week IS
    'The first Monday of the period, where the organization is; the week of a referral is that of referred_at, else of created_at.';
COMMENT ON COLUMN reporting.funnel_by_week.weeks IS 'How many weeks the period has: more than one where single weeks would show small groups.';
COMMENT ON COLUMN reporting.funnel_by_week.scope IS
    'all; district; or other districts: all that are not shown by themselves, and organizations without a district, together.';
COMMENT ON COLUMN reporting.funnel_by_week.district_id IS 'The district (organizations.id) where scope is district.';
COMMENT ON COLUMN reporting.funnel_by_week.district IS 'The district''s name.';
COMMENT ON COLUMN reporting.funnel_by_week.referred IS 'Referrals, the rejected too.';
COMMENT ON COLUMN reporting.funnel_by_week.onboarding_completed IS
    'Of these, how many have completed onboarding or a later step. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.funnel_by_week.ready_for_scheduling IS
    'How many have been ready for scheduling, or further. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.funnel_by_week.scheduled IS 'How many have been scheduled, or further. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.funnel_by_week.enrolled IS 'How many have been enrolled. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.funnel_by_week.days_to_onboarding IS
    'Median whole days from the referral to completed onboarding, of those who have come so far and whose times are in order. NULL for fewer than 11 families.';
COMMENT ON COLUMN reporting.funnel_by_week.days_to_ready IS 'As days_to_onboarding, from completed onboarding to ready for scheduling.';
COMMENT ON COLUMN reporting.funnel_by_week.days_to_scheduled IS 'As days_to_onboarding, from ready for scheduling to scheduled.';
COMMENT ON COLUMN reporting.funnel_by_week.days_to_enrolled IS 'As days_to_onboarding, from scheduled to enrolled.';
COMMENT ON COLUMN reporting.funnel_by_week.days_to_care IS 'As days_to_onboarding, from the referral to enrolment.';

-- Coverage ---------------------------------------------------------------------------------------------------

CREATE MATERIALIZED VIEW reporting.coverage_by_week AS
WITH patient AS (
    -- The best that a patient has now, and when the first coverage was recorded.
    SELECT c.user_id, min(c.created_at) AS first_at,
           max(CASE WHEN c.kind = 0 THEN 1
                    WHEN c.eligibility = 6 OR 'expired' = ANY (c.system_labels) OR app.expires_on(c.profile_data) < current_date THEN 3
                    WHEN c.eligibility = 2 THEN 4
                    WHEN c.eligibility = 4 THEN 5
                    ELSE 2 END) AS class
    FROM public.insurance_coverages c
    LEFT JOIN public.patients_and_guardians p ON p.id = c.user_id
    WHERE c._fivetran_deleted IS NOT TRUE AND p._fivetran_deleted IS NOT TRUE AND reporting.is_dated(c.created_at)
    GROUP BY c.user_id
), home AS (
    SELECT DISTINCT ON (h.user_id) h.user_id, h.organization_id
    FROM (SELECT m.user_id, r.organization_id, 1 AS place, r.created_at, r.id
          FROM public.referral_members m JOIN public.referrals r ON r.id = m.referral_id
          WHERE m._fivetran_deleted IS NOT TRUE AND r._fivetran_deleted IS NOT TRUE
          UNION ALL
          SELECT m.user_id, m.organization_id, 2, m.created_at, m.id
          FROM public.memberships m WHERE m._fivetran_deleted IS NOT TRUE) h
    ORDER BY h.user_id, h.place, h.created_at DESC, h.id
), published AS MATERIALIZED (
    SELECT p.* FROM reporting.publishable(
        (SELECT array_agg(ROW(c.week, c.grp, c.class, c.patients, c.patients)::reporting.cell)
         FROM (SELECT reporting.week_of(p.first_at, o.zone) AS week, o.district_id::text AS grp, p.class, count(*) AS patients
               FROM patient p
               LEFT JOIN home h ON h.user_id = p.user_id
               LEFT JOIN reporting.organizations_in_districts() o ON o.id = h.organization_id
               GROUP BY 1, 2, 3) c), 5) p
)
SELECT concat_ws('/', p.first_week::text, p.scope, p.grp) AS id,
       p.first_week AS week, (p.last_week - p.first_week) / 7 + 1 AS weeks,
       CASE p.scope WHEN 'group' THEN 'district' WHEN 'other' THEN 'other districts' ELSE 'all' END AS scope,
       p.grp::uuid AS district_id, d.name::text AS district,
       p.reached[1] AS patients, p.reached[5] AS eligible, p.reached[4] - p.reached[5] AS submitted,
       p.reached[3] - p.reached[4] AS expired, p.reached[2] - p.reached[3] AS unknown, p.reached[1] - p.reached[2] AS not_insured,
       p.reached[2] AS insured
FROM published p
LEFT JOIN public.organizations d ON d.id = p.grp::uuid;
CREATE UNIQUE INDEX coverage_by_week_id ON reporting.coverage_by_week (id);
COMMENT ON MATERIALIZED VIEW reporting.coverage_by_week IS
    'Patients by the week of their first coverage and the best coverage that they have now: all, by district, and other districts together. Without groups of fewer than 11 patients. As of its last refresh.';
COMMENT ON COLUMN reporting.coverage_by_week.id IS 'Week, scope and district: what makes a row unique.';
COMMENT ON COLUMN reporting.coverage_by_week.week IS
    'The first Monday of the period, where the organization is; the week of a patient is that of created_at of the first coverage.';
COMMENT ON COLUMN reporting.coverage_by_week.weeks IS 'How many weeks the period has: more than one where single weeks would show small groups.';
COMMENT ON COLUMN reporting.coverage_by_week.scope IS
    'all; district; or other districts: all that are not shown by themselves, and patients without a district, together.';
COMMENT ON COLUMN reporting.coverage_by_week.district_id IS
    'The district (organizations.id) of the patient''s newest referral, else of the newest membership, where scope is district.';
COMMENT ON COLUMN reporting.coverage_by_week.district IS 'The district''s name.';
COMMENT ON COLUMN reporting.coverage_by_week.patients IS 'Patients with any coverage on record; each counts once.';
COMMENT ON COLUMN reporting.coverage_by_week.eligible IS 'Of these, how many have one that is eligible and has not expired. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.coverage_by_week.submitted IS 'How many have at best one that is submitted. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.coverage_by_week.expired IS
    'How many have at best one that has expired, by eligibility, label or date. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.coverage_by_week.unknown IS 'How many have at best an insurance of unknown eligibility. NULL where it would show a small group.';
COMMENT ON COLUMN reporting.coverage_by_week.not_insured IS 'How many have only coverages of kind 0 (non-insurance). NULL where it would show a small group.';
COMMENT ON COLUMN reporting.coverage_by_week.insured IS
    'How many have any insurance: eligible, submitted, expired and unknown together. NULL where it would show a small group.';

-- Capacity ---------------------------------------------------------------------------------------------------

CREATE MATERIALIZED VIEW reporting.capacity_by_week AS
WITH clinician AS MATERIALIZED (
    SELECT c.id, CASE WHEN count(DISTINCT o.district_id) = 1 THEN min(o.district_id::text) END AS district_id,
           CASE WHEN count(DISTINCT o.district_id) = 1 THEN min(o.zone) ELSE 'UTC' END AS zone,
           CASE WHEN cardinality(c.states_active) = 1 THEN upper(btrim(c.states_active[1])) END AS state
    FROM public.clinicians c
    LEFT JOIN public.memberships m ON m.user_id = c.id AND m._fivetran_deleted IS NOT TRUE
    LEFT JOIN reporting.organizations_in_districts() o ON o.id = m.organization_id
    WHERE c._fivetran_deleted IS NOT TRUE
    GROUP BY c.id, c.states_active -- by the key alone the view would hold on to the primary key, which imports build anew
), offered AS MATERIALIZED (
    SELECT w.week, s.clinician_id, sum(extract(epoch FROM s.ends_at - s.starts_at)) / 3600 AS hours
    FROM (SELECT c.zone, array_agg(c.id) AS ids FROM clinician c GROUP BY c.zone) z,
         generate_series(0, 11) AS n (number),
         LATERAL (SELECT reporting.week_of(now(), z.zone) + 7 * n.number AS week) w,
         LATERAL app.free_slots(NULL, app.instant(w.week, z.zone), app.instant(w.week + 7, z.zone), clinicians => z.ids) s
    GROUP BY w.week, s.clinician_id
), grouped AS MATERIALIZED (
    SELECT o.week, g.kind, g.grp, count(*) AS clinicians, sum(o.hours) AS hours
    FROM offered o JOIN clinician c ON c.id = o.clinician_id,
         LATERAL (VALUES ('district', c.district_id), ('state', c.state)) AS g (kind, grp)
    GROUP BY o.week, g.kind, g.grp
), published AS MATERIALIZED (
    -- Week by week: who has time this week has time next week, so weeks are never joined.
    SELECT w.kind, p.*
    FROM (SELECT g.week, g.kind, array_agg(ROW(g.week, g.grp, 1, g.clinicians, g.clinicians)::reporting.cell) AS cells
          FROM grouped g GROUP BY g.week, g.kind) w,
         LATERAL reporting.publishable(w.cells, 1) p
    WHERE w.kind = 'district' OR p.scope <> 'all'
)
SELECT concat_ws('/', p.first_week::text, p.kind, p.scope, p.grp) AS id, p.first_week AS week, 1 AS weeks,
       CASE p.scope WHEN 'group' THEN p.kind WHEN 'other' THEN concat('other ', p.kind, 's') ELSE 'all' END AS scope,
       CASE WHEN p.kind = 'district' THEN p.grp::uuid END AS district_id, d.name::text AS district,
       CASE WHEN p.kind = 'state' THEN p.grp END AS state,
       p.reached[1] AS clinicians, round(h.hours)::bigint AS hours
FROM published p
LEFT JOIN LATERAL (
    SELECT sum(g.hours) AS hours FROM grouped g
    WHERE g.week = p.first_week AND g.kind = p.kind
      AND CASE p.scope WHEN 'group' THEN g.grp = p.grp WHEN 'all' THEN true
               ELSE NOT EXISTS (SELECT FROM published n
                                WHERE n.kind = p.kind AND n.first_week = p.first_week AND n.scope = 'group' AND n.grp = g.grp) END
) h ON true
LEFT JOIN public.organizations d ON d.id = CASE WHEN p.kind = 'district' THEN p.grp::uuid END;
CREATE UNIQUE INDEX capacity_by_week_id ON reporting.capacity_by_week (id);
COMMENT ON MATERIALIZED VIEW reporting.capacity_by_week IS
    'Clinicians with free time, and its hours, in this week and the eleven after it: all, by the district that they serve, and by the state that they are active in. Without groups of fewer than 11 clinicians. As of its last refresh.';
COMMENT ON COLUMN reporting.capacity_by_week.id IS 'Week, scope and group: what makes a row unique.';
COMMENT ON COLUMN reporting.capacity_by_week.week IS 'The Monday that the week begins with, in the time zone of the clinician''s district, else in UTC.';
COMMENT ON COLUMN reporting.capacity_by_week.weeks IS 'Always 1.';
COMMENT ON COLUMN reporting.capacity_by_week.scope IS
    'all; district or state; other districts: of too few clinicians, several or none; other states: likewise. Districts and states are two ways to divide the same clinicians.';
COMMENT ON COLUMN reporting.capacity_by_week.district_id IS
    'The one district (organizations.id) that the clinicians are members of, or of its schools, where scope is district.';
COMMENT ON COLUMN reporting.capacity_by_week.district IS 'The district''s name.';
COMMENT ON COLUMN reporting.capacity_by_week.state IS 'The only state that the clinicians are active in (clinicians.states_active), where scope is state.';
COMMENT ON COLUMN reporting.capacity_by_week.clinicians IS 'Clinicians who have any time in this week.';
COMMENT ON COLUMN reporting.capacity_by_week.hours IS
    'Whole hours of free time: availabilities as app.free_slots reads them, overlapping ones once. Nothing here knows of appointments.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA reporting FROM PUBLIC;
REVOKE ALL ON TYPE reporting.cell FROM PUBLIC;
