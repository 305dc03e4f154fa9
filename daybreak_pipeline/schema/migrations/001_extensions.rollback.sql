-- Takes back 001_extensions. An extension that others still use is an error, and one that another role
-- installed before the migration stays: it is not ours to drop.

DO $$
DECLARE
    extension text;
BEGIN
    FOREACH extension IN ARRAY ARRAY['btree_gin', 'pg_trgm', 'pgcrypto', 'uuid-ossp'] LOOP
        BEGIN
            EXECUTE format('DROP EXTENSION IF EXISTS %I', extension);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'extension % belongs to another role and stays', extension;
        END;
    END LOOP;
END;
$$;
