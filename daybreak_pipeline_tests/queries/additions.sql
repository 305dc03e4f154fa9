-- What the generator does not make and queries ask for: labels that few rows have, expiry dates, hours that nobody else has,
-- clinicians who work for an organization, and as many insurance companies as a payers' list has.

UPDATE referrals SET system_labels = array_append(system_labels, 'urgent') WHERE abs(hashtext(id::text)) %% %(one_in)s = 0;
UPDATE patients_and_guardians SET system_labels = array_append(system_labels, 'waiting_list') WHERE abs(hashtext(id::text)) %% %(one_in)s = 0;
UPDATE clinicians SET system_labels = array_append(system_labels, 'on_leave') WHERE abs(hashtext(id::text)) %% least(64, %(one_in)s) = 0;
UPDATE insurance_coverages SET system_labels = array_append(system_labels, 'needs_review'), insurance_company_name = 'Farmhand Mutual'
    WHERE abs(hashtext(id::text)) %% %(one_in)s = 0;
UPDATE insurance_coverages
    SET profile_data = jsonb_build_object('expires_on', (current_date - 300 + abs(hashtext(id::text)) %% 700)::text)
    WHERE id < '10000000-0000-0000-0000-000000000000';
UPDATE patient_availabilities
    SET availability = availability || '[{"day": "Sunday", "time_blocks": [{"start": "06:15:00", "duration": 45}]}]'
    WHERE abs(hashtext(id::text)) %% %(one_in)s = 0;
INSERT INTO memberships (user_id, organization_id)
    SELECT c.id, o.id
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM clinicians) c
    JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number, count(*) OVER () AS all_of_them FROM organizations) o
        ON o.number = c.number %% o.all_of_them;
INSERT INTO clinician_credentialed_insurances (name, state)
    SELECT initcap(substr(md5(n::text), 1, 9) || ' ' || substr(md5(n::text), 12, 9)), (string_to_array('AK AL AR AZ CA CO CT DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC NE NJ NM NY OH OR TX WA', ' '))[n %% 35 + 1]
    FROM generate_series(1, %(companies)s) n
