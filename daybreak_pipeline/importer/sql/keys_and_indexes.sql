-- Foreign keys that point at the table can only be dropped, and its primary key with them, where the tables that
-- have them are empty too: otherwise all their rows would be validated again.
WITH incoming AS (
    SELECT oid, conrelid FROM pg_constraint
    WHERE contype = 'f' AND confrelid = %(table)s::regclass AND conrelid <> confrelid
), own AS (
    SELECT oid, contype, conindid FROM pg_constraint
    WHERE conrelid = %(table)s::regclass AND contype IN ('f', 'u', 'p')
)
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(constraints.oid),
       obj_description(constraints.oid, 'pg_constraint'), CASE contype WHEN 'p' THEN 1 WHEN 'u' THEN 2 ELSE 4 END AS place,
       coalesce((SELECT reltuples FROM pg_class parent WHERE parent.oid = constraints.confrelid), 0) AS parent_rows
FROM pg_constraint constraints
WHERE constraints.oid IN (SELECT oid FROM own WHERE contype IN ('f', 'u') OR %(with_key)s)
   OR (%(with_key)s AND constraints.oid IN (SELECT oid FROM incoming))
UNION ALL
SELECT 'index', indexrelid::regclass::text, relname, pg_get_indexdef(indexrelid),
       obj_description(indexrelid, 'pg_class'), 3, 0
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM own WHERE own.conindid = indexrelid)
UNION ALL
-- The audit trail's trigger would have every row copied for it, even while it is disabled; an import is recorded
-- as a whole. The one that keeps others from inserting digests would be asked for each row.
SELECT 'trigger', tgrelid::regclass::text, tgname,
       pg_get_triggerdef(oid) || CASE tgenabled WHEN 'A'
           THEN format('; ALTER TABLE %%s ENABLE ALWAYS TRIGGER %%I', tgrelid::regclass, tgname) ELSE '' END,
       obj_description(oid, 'pg_trigger'), 5, 0
FROM pg_trigger
WHERE tgrelid = %(table)s::regclass AND tgenabled IN ('A', 'O')
  AND (tgnewtable IS NOT NULL AND tgoldtable IS NULL AND tgfoid = to_regproc('audit.record_change')
       OR tgfoid = to_regproc('ingest.own_digest'))
ORDER BY place, 3
