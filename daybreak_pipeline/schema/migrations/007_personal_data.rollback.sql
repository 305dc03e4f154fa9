-- Takes back 007_personal_data. The sealed values are gone with their columns.

DO $$
DECLARE
    target TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        EXECUTE format('DROP TRIGGER seal_personal_data_on_insert ON %I', target);
        EXECUTE format('DROP TRIGGER seal_personal_data_on_update ON %I', target);
        EXECUTE format('DROP FUNCTION privacy.seal_%s()', target);
        EXECUTE (
            SELECT format('ALTER TABLE %I ', target) || string_agg(format('DROP COLUMN %I', a.attname), ', ')
            FROM pg_attribute a
            WHERE a.attrelid = ('public.' || target)::regclass AND NOT a.attisdropped
              AND (a.attname LIKE '%\_encrypted' OR a.attname = 'name_tokens'));
    END LOOP;
END $$;

DROP TABLE privacy.key_check;
DROP FUNCTION privacy.name_tokens(TEXT, BYTEA);
DROP FUNCTION privacy.unseal(BYTEA, BYTEA);
DROP FUNCTION privacy.seal(TEXT, BYTEA);
DROP FUNCTION privacy.required_key(TEXT);
DROP FUNCTION privacy.key(TEXT);
DROP SCHEMA privacy;
