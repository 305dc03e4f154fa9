-- Takes back 036_free_slots.

DROP FUNCTION app.free_slots(UUID, TIMESTAMPTZ, TIMESTAMPTZ, INTEGER, UUID, UUID, TEXT, TEXT, UUID[]);
DROP FUNCTION app.clinicians_for(UUID, UUID, TEXT, TEXT, UUID[]);
DROP FUNCTION app.patient_times(UUID, TEXT, DATE, DATE);
DROP FUNCTION app.weekly_times(JSONB);
DROP FUNCTION app.instant(TIMESTAMP, TEXT);
DROP FUNCTION app.knows_zone(TEXT);
