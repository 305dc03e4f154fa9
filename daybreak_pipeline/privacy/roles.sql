-- Who may do what in this database (the plan, "Database Roles Setup", 4.1 and 4.3; ADR 0005). Applied after
-- migrations by privacy/roles.py, in one transaction, when the roles exist. Running it again changes nothing.
-- What is not granted here is taken away from the four roles and from PUBLIC; other roles keep what they have.

SELECT set_config('search_path', 'pg_catalog, pg_temp', true);

-- Privileges on what the owner of the tables (the importer) owns. One line is one rule: who, in which schema,
-- on which kind of object, named how (LIKE patterns), may do what. A rule brings USAGE of its schema with it.
DO $$
DECLARE
    owner OID := (SELECT nspowner FROM pg_namespace WHERE nspname = 'ingest');
    statement TEXT;
    foreign_schema NAME;
BEGIN
    FOR statement IN
        WITH rules (number, grantee, schema, kind, name, privileges) AS (VALUES
            -- The application reads and writes the tables; a trigger seals, views unseal with the session's key.
            (1, 'daybreak_app', 'public', 'table', '%', 'SELECT, INSERT, UPDATE, DELETE'),
            (2, 'daybreak_app', 'public', 'view', '%', 'SELECT'),
            (3, 'daybreak_app', 'public', 'sequence', '%', 'USAGE, SELECT'),
            (4, 'daybreak_app', 'public', 'routine', '%', 'EXECUTE'),
            (5, 'daybreak_app', 'app', 'view', '%', 'SELECT, UPDATE'),
            (6, 'daybreak_app', 'app', 'routine', '%', 'EXECUTE'),
            (7, 'daybreak_app', 'privacy', 'routine', 'key', 'EXECUTE'),
            (8, 'daybreak_app', 'privacy', 'routine', 'required\_key', 'EXECUTE'),
            (9, 'daybreak_app', 'privacy', 'routine', 'seal', 'EXECUTE'),
            (10, 'daybreak_app', 'privacy', 'routine', 'unseal%', 'EXECUTE'),
            (11, 'daybreak_app', 'privacy', 'routine', 'name\_%', 'EXECUTE'),
            (12, 'daybreak_app', 'privacy', 'routine', 'plain\_letters', 'EXECUTE'),
            (13, 'daybreak_app', 'privacy', 'routine', 'as\_%', 'EXECUTE'),
            (14, 'daybreak_app', 'privacy', 'routine', 'tag', 'EXECUTE'),
            (15, 'daybreak_app', 'privacy', 'routine', 'untag', 'EXECUTE'),
            -- Analysts read the reporting views. Those belong to daybreak_reporting: see below.
            (20, 'daybreak_readonly', 'reporting', 'schema', '%', 'USAGE'),
            -- Summaries are the tables' owner's, who alone can refresh them; they hold numbers only.
            (21, 'daybreak_readonly', 'reporting', 'view', 'onboarding\_funnel', 'SELECT'),
            (22, 'daybreak_readonly', 'reporting', 'view', 'coverage\_by\_insurer', 'SELECT'),
            (24, 'daybreak_readonly', 'reporting', 'view', '%\_by\_week', 'SELECT'),
            -- And which findings of checks were accepted, by whom and why. Who imports may accept, and administrators.
            (23, 'daybreak_readonly', 'ingest', 'table', 'accepted\_findings', 'SELECT'),
            -- The owner of those views: columns of the tables, see below, and what refreshing the views takes.
            (30, 'daybreak_reporting', 'public', 'schema', '%', 'USAGE'),
            (31, 'daybreak_reporting', 'reporting', 'schema', '%', 'USAGE, CREATE'),
            (32, 'daybreak_reporting', 'reporting', 'routine', 'columns', 'EXECUTE'),
            (33, 'daybreak_reporting', 'reporting', 'routine', 'live\_rows', 'EXECUTE'),
            -- Administrators may do everything, also where the server does not let us make them superusers.
            (40, 'daybreak_admin', '%', 'schema', '%', 'ALL'),
            (41, 'daybreak_admin', '%', 'table', '%', 'ALL'),
            (42, 'daybreak_admin', '%', 'view', '%', 'ALL'),
            (43, 'daybreak_admin', '%', 'sequence', '%', 'ALL'),
            (44, 'daybreak_admin', '%', 'routine', '%', 'ALL')
        ), schemas AS (
            SELECT n.oid, n.nspname FROM pg_namespace n
            WHERE n.nspname = 'public'
               OR (n.nspowner = owner AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema')
        ), objects (schema, kind, name, reference) AS (
            SELECT s.nspname, 'schema', s.nspname, s.oid::regnamespace::text
            FROM schemas s JOIN pg_namespace n ON n.oid = s.oid WHERE pg_has_role(n.nspowner, 'USAGE')
            UNION ALL
            SELECT s.nspname, CASE WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'S' THEN 'sequence' ELSE 'view' END,
                   c.relname, c.oid::regclass::text
            FROM schemas s JOIN pg_class c ON c.relnamespace = s.oid
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relowner = owner
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
            UNION ALL
            SELECT s.nspname, 'routine', p.proname, p.oid::regprocedure::text
            FROM schemas s JOIN pg_proc p ON p.pronamespace = s.oid
            WHERE p.proowner = owner
              -- An extension's functions stay as the extension has them.
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        ), statements (place, number, reference, text) AS (
            SELECT 1, 0, o.reference,
                   format('REVOKE ALL ON %s %s FROM PUBLIC, daybreak_app, daybreak_readonly, daybreak_admin, daybreak_reporting',
                          CASE o.kind WHEN 'view' THEN 'table' ELSE o.kind END, o.reference)
            FROM objects o
            UNION ALL
            SELECT 2, r.number, o.reference,
                   format('GRANT %s ON %s %s TO %I', r.privileges,
                          CASE o.kind WHEN 'view' THEN 'table' ELSE o.kind END, o.reference, r.grantee)
            FROM rules r JOIN objects o ON o.kind = r.kind AND o.schema LIKE r.schema AND o.name LIKE r.name
            UNION ALL
            SELECT 3, min(r.number), o.reference, format('GRANT USAGE ON SCHEMA %s TO %I', o.reference, r.grantee)
            FROM rules r JOIN objects o ON o.kind = 'schema' AND o.schema LIKE r.schema
            GROUP BY o.reference, r.grantee
        )
        SELECT s.text FROM statements s ORDER BY s.place, s.number, s.reference
    LOOP
        EXECUTE statement;
    END LOOP;

    -- What PUBLIC had by default, and what it takes to go on importing where the owner had it from PUBLIC only.
    SELECT n.nspname INTO foreign_schema FROM pg_namespace n
    WHERE n.nspname = 'public' AND NOT pg_has_role(n.nspowner, 'USAGE');
    IF FOUND THEN
        RAISE WARNING 'schema public belongs to another role, which has to run: REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO %', owner::regrole;
        RAISE WARNING 'and: GRANT USAGE ON SCHEMA public TO daybreak_app, daybreak_reporting, daybreak_admin';
    ELSIF NOT (has_schema_privilege(owner, 'public', 'USAGE') AND has_schema_privilege(owner, 'public', 'CREATE')) THEN
        EXECUTE format('GRANT ALL ON SCHEMA public TO %s', owner::regrole);
    END IF;
END $$;

-- The application's statements call functions of pgcrypto, which may be in a schema of its own.
DO $$
DECLARE
    home REGNAMESPACE := (SELECT extnamespace FROM pg_extension WHERE extname = 'pgcrypto');
BEGIN
    IF has_schema_privilege('daybreak_app', home, 'USAGE') AND has_schema_privilege('daybreak_admin', home, 'USAGE') THEN
        RETURN;
    ELSIF has_schema_privilege(home, 'USAGE WITH GRANT OPTION') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO daybreak_app, daybreak_admin', home);
    ELSE
        RAISE WARNING 'schema % belongs to another role, which has to run: GRANT USAGE ON SCHEMA % TO daybreak_app, daybreak_admin', home, home;
    END IF;
END $$;

-- The database itself.
DO $$
DECLARE
    owner OID := (SELECT nspowner FROM pg_namespace WHERE nspname = 'ingest');
    privilege TEXT;
BEGIN
    IF NOT (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
        RAISE WARNING 'database % belongs to another role, which has to run: REVOKE ALL ON DATABASE % FROM PUBLIC; GRANT CONNECT ON DATABASE % TO daybreak_app, daybreak_readonly, daybreak_admin',
            current_database(), quote_ident(current_database()), quote_ident(current_database());
        RETURN;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC, daybreak_app, daybreak_readonly, daybreak_admin, daybreak_reporting',
                   current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO daybreak_app, daybreak_readonly', current_database());
    EXECUTE format('GRANT ALL ON DATABASE %I TO daybreak_admin', current_database());
    FOREACH privilege IN ARRAY ARRAY['CONNECT', 'CREATE', 'TEMPORARY'] LOOP
        IF NOT has_database_privilege(owner, current_database(), privilege) THEN
            EXECUTE format('GRANT %s ON DATABASE %I TO %s', privilege, current_database(), owner::regrole);
        END IF;
    END LOOP;
END $$;

-- Large objects, pg_notify and messages in the write-ahead log are everybody's where a superuser does not take them away.
-- (The statement NOTIFY has no privilege at all.) The owner and administrators keep them.
DO $$
DECLARE
    owner REGROLE := (SELECT nspowner FROM pg_namespace WHERE nspname = 'ingest');
    routine RECORD;
BEGIN
    FOR routine IN
        SELECT p.oid::regprocedure AS name, has_function_privilege('public', p.oid, 'EXECUTE') AS is_public
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(lo_.*|loread|lowrite|pg_notify|pg_logical_emit_message)$'
          AND pg_has_role(p.proowner, 'USAGE')
          AND (has_function_privilege('daybreak_app', p.oid, 'EXECUTE')
               OR has_function_privilege('daybreak_readonly', p.oid, 'EXECUTE'))
        ORDER BY 1
    LOOP
        IF routine.is_public THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s, daybreak_admin', routine.name, owner);
        END IF;
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, daybreak_app, daybreak_readonly, daybreak_reporting', routine.name);
    END LOOP;
END $$;

-- The owner's other databases (Dagster's; on a server of our own postgres and template1): PUBLIC may not enter, unless
-- a login that is none of ours comes in that way. Databases of others are theirs to close.
DO $$
DECLARE
    owner OID := (SELECT nspowner FROM pg_namespace WHERE nspname = 'ingest');
    ours NAME[] := ARRAY['daybreak_app', 'daybreak_readonly', 'daybreak_admin', 'daybreak_reporting'];
    target NAME;
BEGIN
    FOR target IN
        WITH entries AS (
            SELECT d.oid, a.grantee
            FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
            WHERE a.privilege_type = 'CONNECT'
        )
        SELECT d.datname FROM pg_database d
        WHERE d.datallowconn AND d.datname <> current_database() AND d.datdba = owner AND pg_has_role(owner, 'USAGE')
          AND EXISTS (SELECT FROM entries e WHERE e.oid = d.oid AND e.grantee = 0)
          AND NOT EXISTS (
              SELECT FROM pg_roles r
              WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> ALL (ours)
                AND NOT EXISTS (SELECT FROM entries e WHERE e.oid = d.oid AND e.grantee <> 0
                                                        AND pg_has_role(r.oid, e.grantee, 'USAGE')))
        ORDER BY d.datname
    LOOP
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = 'daybreak_admin') THEN
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO daybreak_admin', target);
        END IF;
        EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', target);
    END LOOP;
END $$;

-- Where reads of the decrypting views are logged (privacy/read_log.py), those of a view that a migration has made again, too.
DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT c.oid::regclass FROM pg_class c
        WHERE (c.relnamespace = 'app'::regnamespace OR c.oid = to_regclass('public.users')) AND c.relkind = 'v'
          AND EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                      WHERE d.datname = current_database() AND s.setrole = 0
                        AND 'pgaudit.role=daybreak_auditor' = ANY (s.setconfig))
          AND to_regrole('daybreak_auditor') IS NOT NULL
        ORDER BY 1
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO daybreak_auditor', target);
    END LOOP;
END $$;

-- Tables that a later migration makes, from its commit until this file has run again.
DO $$
DECLARE
    rule TEXT;
BEGIN
    FOREACH rule IN ARRAY ARRAY[
        'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO daybreak_app',
        'GRANT ALL ON TABLES TO daybreak_admin',
        'GRANT USAGE, SELECT ON SEQUENCES TO daybreak_app',
        'GRANT ALL ON SEQUENCES TO daybreak_admin'
    ] LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA public %s',
                       (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'ingest'), rule);
    END LOOP;
END $$;

-- The readers' rows. Making a policy locks its table, so one that is there stays.
DO $$
DECLARE
    target REGCLASS;
    live TEXT;
    readers OID[] := ARRAY(SELECT oid FROM pg_roles WHERE rolname IN ('daybreak_readonly', 'daybreak_reporting') ORDER BY oid);
    present OID[];
BEGIN
    SET LOCAL lock_timeout = '5s';
    FOR target, live IN
        SELECT c.oid::regclass, reporting.live_rows(c.oid)
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity
          AND reporting.live_rows(c.oid) IS NOT NULL
        ORDER BY c.relname
    LOOP
        SELECT ARRAY(SELECT unnest(p.polroles) ORDER BY 1) INTO present
        FROM pg_policy p WHERE p.polrelid = target AND p.polname = 'hide_soft_deleted' AND NOT p.polpermissive;
        CONTINUE WHEN present = readers;
        EXECUTE format('DROP POLICY IF EXISTS hide_soft_deleted ON %s', target);
        EXECUTE format('CREATE POLICY hide_soft_deleted ON %s AS RESTRICTIVE FOR SELECT '
                       'TO daybreak_readonly, daybreak_reporting USING (%s)', target, live);
        EXECUTE format('COMMENT ON POLICY hide_soft_deleted ON %s IS %L', target,
                       'Readers, and the owner of the views they read, see no soft-deleted row.');
    END LOOP;
    SET LOCAL lock_timeout = DEFAULT;
END $$;

-- The owner of the reporting views reads the columns that they show, and no other: a mistake in a view cannot
-- show ciphertext.
DO $$
DECLARE
    statement TEXT;
BEGIN
    FOR statement IN
        SELECT format('GRANT SELECT (%s) ON %s TO daybreak_reporting',
                      string_agg(quote_ident(column_name), ', ' ORDER BY place), target)
        FROM reporting.columns() GROUP BY target ORDER BY target::text
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;

-- The reporting views become daybreak_reporting's. Giving something to a role takes membership in it; ours ends
-- with this block, because the policies above would hold for a member too. Who may not become a member (an owner
-- without CREATEROLE) refreshes the views through their owner's function, which is in place then.
DO $$
DECLARE
    owner REGROLE := (SELECT nspowner FROM pg_namespace WHERE nspname = 'ingest');
    in_place BOOLEAN := (SELECT proowner = 'daybreak_reporting'::regrole FROM pg_proc WHERE oid = 'reporting.refresh()'::regprocedure)
        AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v'
                                               AND relowner <> 'daybreak_reporting'::regrole);
    joined BOOLEAN := false;
    member BOOLEAN := pg_has_role('daybreak_reporting', 'USAGE');
    statement TEXT;
BEGIN
    IF NOT member THEN
        BEGIN
            GRANT daybreak_reporting TO CURRENT_USER;
            joined := true;
            member := true;
        EXCEPTION WHEN insufficient_privilege THEN
            IF NOT in_place THEN
                RAISE EXCEPTION 'role % may not give the reporting views to daybreak_reporting', current_user
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
        END;
    END IF;
    IF NOT in_place THEN
        PERFORM reporting.clear();
        ALTER FUNCTION reporting.refresh() OWNER TO daybreak_reporting;
    END IF;
    IF member THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION reporting.refresh() TO %s, daybreak_admin', owner);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE daybreak_reporting IN SCHEMA reporting '
                       'GRANT SELECT ON TABLES TO daybreak_readonly, daybreak_admin, %s', owner);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO daybreak_readonly, daybreak_admin, %s', owner);
    END IF;
    PERFORM reporting.refresh();
    IF member THEN -- their columns mean what those of the tables mean
        FOR statement IN
            SELECT format('COMMENT ON COLUMN reporting.%I.%I IS %L', said.relname, said.attname, said.meaning)
            FROM (SELECT v.relname, shown.attname, col_description(v.oid, shown.attnum) AS present,
                         col_description(t.oid, own.attnum)
                             || CASE WHEN shown.atttypid <> own.atttypid THEN ' Of the time, the day in UTC.' ELSE '' END AS meaning
                  FROM pg_class v
                  JOIN pg_class t ON t.relname = v.relname AND t.relnamespace = 'public'::regnamespace
                  JOIN pg_attribute shown ON shown.attrelid = v.oid AND shown.attnum > 0
                  JOIN pg_attribute own ON own.attrelid = t.oid AND own.attname = shown.attname AND NOT own.attisdropped
                  WHERE v.relnamespace = 'reporting'::regnamespace AND v.relkind = 'v') said
            WHERE said.meaning IS DISTINCT FROM said.present
        LOOP
            EXECUTE statement;
        END LOOP;
    END IF;
    IF joined THEN
        REVOKE daybreak_reporting FROM CURRENT_USER;
    END IF;
END $$;
