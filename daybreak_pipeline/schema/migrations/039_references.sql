-- References without a foreign key (the plan, "Application-Level Validated Foreign Keys"): what an application may ask
-- before it writes, and a place for the triggers that `daybreak references enforce` makes. Which references there are
-- is declared in tables.py, from which those triggers are made.

CREATE SCHEMA integrity;
COMMENT ON SCHEMA integrity IS
    'Functions of the triggers that enforce references without a foreign key; made and dropped by daybreak references.';

-- One function for each kind of reference. They say what the triggers would, and lock nothing.
CREATE FUNCTION app.patient_exists(person_id UUID) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT EXISTS (SELECT FROM public.patients_and_guardians p WHERE p.id = person_id AND p._fivetran_deleted IS NOT TRUE)
$$;
COMMENT ON FUNCTION app.patient_exists(UUID) IS
    'Whether there is a patient or guardian with this id who is not deleted.';

CREATE FUNCTION app.person_exists(person_id UUID) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT EXISTS (SELECT FROM public.patients_and_guardians p WHERE p.id = person_id AND p._fivetran_deleted IS NOT TRUE)
        OR EXISTS (SELECT FROM public.clinicians c WHERE c.id = person_id AND c._fivetran_deleted IS NOT TRUE)
$$;
COMMENT ON FUNCTION app.person_exists(UUID) IS
    'Whether there is a patient, guardian or clinician with this id who is not deleted.';

-- clinicians.healthie_id is text: compared as text, 7 is found and 007 is another.
CREATE FUNCTION app.clinician_number_exists(number INTEGER) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT EXISTS (SELECT FROM public.clinicians c WHERE c.healthie_id = number::text AND c._fivetran_deleted IS NOT TRUE)
$$;
COMMENT ON FUNCTION app.clinician_number_exists(INTEGER) IS
    'Whether there is a clinician with this healthie_id who is not deleted.';

-- Those triggers are no change by hand: daybreak references status looks at them.
DO $$
DECLARE
    listed TEXT := pg_get_functiondef('migrations.current_objects()'::regprocedure);
BEGIN
    IF position(E'AND NOT g.tgisinternal\n' IN listed) = 0 THEN
        RAISE EXCEPTION 'migrations.current_objects() lists triggers in another way than this migration knows';
    END IF;
    EXECUTE replace(listed, E'AND NOT g.tgisinternal\n',
                    E'AND NOT g.tgisinternal\n'
                    '        AND g.tgfoid NOT IN (SELECT f.oid FROM pg_proc f WHERE f.pronamespace = ''integrity''::regnamespace)\n');
END $$;
