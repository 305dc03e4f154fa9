-- Takes back 014_casts_in_one_process.

ALTER FUNCTION ingest.try_cast(TEXT, ANYELEMENT) PARALLEL SAFE;
ALTER FUNCTION ingest.cast_fault(TEXT, ANYELEMENT) PARALLEL SAFE;
