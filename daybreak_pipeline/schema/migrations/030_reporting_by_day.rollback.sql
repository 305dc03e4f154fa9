-- Takes back 030_reporting_by_day: the reporting views show ids of other systems and exact times again.

CREATE OR REPLACE FUNCTION reporting.columns()
RETURNS TABLE (target REGCLASS, column_name NAME, expression TEXT, place SMALLINT)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass, a.attname,
           -- What an export has and the schema does not has been looked at by nobody yet.
           CASE WHEN a.attname = 'profile_data' THEN
               'CASE WHEN jsonb_typeof(profile_data) = ''object'' THEN profile_data - ''export_columns'' '
               'ELSE profile_data END'
           ELSE quote_ident(a.attname) END,
           a.attnum
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity
      AND a.attnum > 0 AND NOT a.attisdropped
      -- Ciphertext, keyed hashes and blind indexes are bytes; nothing else in these tables is.
      AND a.atttypid NOT IN ('bytea'::regtype, 'bytea[]'::regtype)
      -- The importer's own columns.
      AND (a.attname NOT LIKE '\_%' OR a.attname LIKE '\_fivetran\_%')
      -- Personal: what any table has an encrypted twin of.
      AND NOT EXISTS (
          SELECT FROM pg_attribute twin JOIN pg_class owner ON owner.oid = twin.attrelid
          WHERE owner.relnamespace = c.relnamespace AND owner.relkind IN ('r', 'p') AND NOT twin.attisdropped
            AND twin.attname = a.attname || '_encrypted')
      -- Not sealed, but they name a person, or hold text of which nobody can say that it does not.
      AND a.attname <> ALL (ARRAY['member_id', 'front_card_url', 'back_card_url', 'concerns',
                                  'supabase_metadata', 'migration_details', 'migration_profile_data'])
$$;
COMMENT ON FUNCTION reporting.columns() IS
    'The columns that the reporting views show, and how. The one place that decides it; read from the catalog, so that a new column is in the next refresh.';
