-- The extensions of the plan (1.2 "Schema Creation"): pg_trgm for text search, pgcrypto for the encryption
-- of personal data, uuid-ossp. All are trusted: the owner of the database may create them.
-- Corrected: the plan has no btree_gin, which its index on (organization_id, system_labels) needs.

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- Nothing uses uuid-ossp, since gen_random_uuid() is built in. Some builds of PostgreSQL come without it, or
-- without the library it loads: that is no reason to stop.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
EXCEPTION
    WHEN undefined_file OR feature_not_supported OR io_error OR system_error OR internal_error
        OR insufficient_privilege THEN
        RAISE NOTICE 'uuid-ossp is not available on this server and not needed: %', SQLERRM;
END;
$$;
