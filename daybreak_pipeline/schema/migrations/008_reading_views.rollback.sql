-- Takes back 008_reading_views.

DROP VIEW app.insurance_coverages;
DROP VIEW app.clinicians;
DROP VIEW app.patients_and_guardians;
DROP SCHEMA app;
DROP VIEW users;
