-- Takes back 036_references. References that were enforced are no longer, and stay so when it is applied again.

DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('migrations.current_objects()'::regprocedure),
                    E'\n        AND g.tgfoid NOT IN (SELECT f.oid FROM pg_proc f WHERE f.pronamespace = ''integrity''::regnamespace)\n',
                    E'\n');
END $$;

DROP FUNCTION app.clinician_number_exists(INTEGER);
DROP FUNCTION app.person_exists(UUID);
DROP FUNCTION app.patient_exists(UUID);

-- With the triggers that use its functions.
SET LOCAL client_min_messages = warning;
DROP SCHEMA integrity CASCADE;
SET LOCAL client_min_messages = DEFAULT;
