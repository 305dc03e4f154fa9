-- Before PostgreSQL 17 a function with an EXCEPTION block cannot run while a query is parallel ("cannot start
-- subtransactions during a parallel operation"): with these, the planner leaves a query to one process.

ALTER FUNCTION ingest.try_cast(TEXT, ANYELEMENT) PARALLEL UNSAFE;
ALTER FUNCTION ingest.cast_fault(TEXT, ANYELEMENT) PARALLEL UNSAFE;
