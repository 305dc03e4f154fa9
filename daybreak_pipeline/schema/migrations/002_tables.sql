-- The 16 tables of the plan ("Database Schema Design"), in the order of its steps 1 to 7, with the CHECK
-- constraints of step 10. References between tables follow in the next migration.
-- Corrected: the plan has a trailing comma in clinicians.

CREATE TABLE patients_and_guardians (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    role INTEGER NOT NULL,
    email VARCHAR(255),
    phone VARCHAR(50),
    first_name VARCHAR(255),
    preferred_name VARCHAR(255),
    middle_name VARCHAR(255),
    last_name VARCHAR(255),
    latest_ticket VARCHAR(255),
    title VARCHAR(50),
    preferred_language VARCHAR(10),
    preferred_pronoun VARCHAR(50),
    self_gender INTEGER,
    legal_gender INTEGER,
    birthdate DATE,
    profile_data JSONB DEFAULT '{}',
    supervisor_id UUID,
    clinical_associate BOOLEAN DEFAULT false,
    licenses TEXT[],
    licensed_states TEXT[],
    care_provider_status INTEGER DEFAULT 0,
    system_labels TEXT[],
    supabase_id UUID,
    supabase_metadata JSONB,
    migration_details JSONB,
    address JSONB,
    healthie_id VARCHAR(50),
    openpm_reference_id VARCHAR(50),
    account_status INTEGER DEFAULT 0,
    openpm_policyholder_id VARCHAR(50),
    zendesk_id VARCHAR(50),
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE patients_and_guardians IS
    'Patients and their guardians: the people who seek care. One row a person, both kinds in one table; '
    'system_labels and kinships tell which is which.';
COMMENT ON COLUMN patients_and_guardians.id IS
    'Primary key. Identifies a person across all tables; not shared with clinicians.';
COMMENT ON COLUMN patients_and_guardians.role IS
    'Code: 1 = patient or guardian, the only documented value; not restricted by a CHECK.';
COMMENT ON COLUMN patients_and_guardians.email IS
    'Email address, kept readable for search and contact. Personal data.';
COMMENT ON COLUMN patients_and_guardians.phone IS 'Telephone number. Personal data.';
COMMENT ON COLUMN patients_and_guardians.first_name IS 'First (given) name. Personal data.';
COMMENT ON COLUMN patients_and_guardians.preferred_name IS
    'Name the person wants to be called by. Personal data.';
COMMENT ON COLUMN patients_and_guardians.middle_name IS 'Middle name. Personal data.';
COMMENT ON COLUMN patients_and_guardians.last_name IS 'Last (family) name. Personal data.';
COMMENT ON COLUMN patients_and_guardians.latest_ticket IS 'The person''s latest support ticket.';
COMMENT ON COLUMN patients_and_guardians.title IS 'Form of address or professional title.';
COMMENT ON COLUMN patients_and_guardians.preferred_language IS
    'Language the person prefers, as an ISO 639-3 code: eng, spa, yue, cmn, por, vie.';
COMMENT ON COLUMN patients_and_guardians.preferred_pronoun IS 'Pronoun the person prefers.';
COMMENT ON COLUMN patients_and_guardians.self_gender IS
    'Code of the gender the person states; its values are not documented.';
COMMENT ON COLUMN patients_and_guardians.legal_gender IS
    'Code of the gender in official documents; its values are not documented.';
COMMENT ON COLUMN patients_and_guardians.birthdate IS
    'Date of birth, a calendar date without time zone. Personal data.';
COMMENT ON COLUMN patients_and_guardians.profile_data IS
    'JSON object with whatever else is known about the person; columns of the export that have no column '
    'here are kept under "export_columns".';
COMMENT ON COLUMN patients_and_guardians.supervisor_id IS
    'Supervising clinician: clinicians.id, a foreign key.';
COMMENT ON COLUMN patients_and_guardians.clinical_associate IS
    'Whether the person is a clinical associate; carried over from a user table shared with clinicians.';
COMMENT ON COLUMN patients_and_guardians.licenses IS
    'Professional licences; carried over from a user table shared with clinicians.';
COMMENT ON COLUMN patients_and_guardians.licensed_states IS
    'US states the licences are valid in; carried over from a user table shared with clinicians.';
COMMENT ON COLUMN patients_and_guardians.care_provider_status IS
    'Code of the status as care provider, 0 by default; its values are not documented.';
COMMENT ON COLUMN patients_and_guardians.system_labels IS
    'Labels the system gives the person: guardian, dependent, student, referred, enrolled and others.';
COMMENT ON COLUMN patients_and_guardians.supabase_id IS
    'The person''s user id in Supabase, the sign-in service.';
COMMENT ON COLUMN patients_and_guardians.supabase_metadata IS 'JSON that Supabase holds on the user.';
COMMENT ON COLUMN patients_and_guardians.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN patients_and_guardians.address IS
    'Postal address, JSON object {city, state, zip_code, street_address_1, street_address_2}. Personal '
    'data.';
COMMENT ON COLUMN patients_and_guardians.healthie_id IS
    'The person''s id in Healthie, the health-record system.';
COMMENT ON COLUMN patients_and_guardians.openpm_reference_id IS
    'The person''s id in OpenPM, the practice-management system.';
COMMENT ON COLUMN patients_and_guardians.account_status IS
    'Code of the account''s status, 0 by default; its values are not documented.';
COMMENT ON COLUMN patients_and_guardians.openpm_policyholder_id IS
    'Id in OpenPM of the policy holder who insures the person.';
COMMENT ON COLUMN patients_and_guardians.zendesk_id IS 'The person''s id in Zendesk, the support system.';
COMMENT ON COLUMN patients_and_guardians.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN patients_and_guardians.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN patients_and_guardians._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN patients_and_guardians._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE clinicians (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    healthie_id VARCHAR(50),
    account_status INTEGER,
    email VARCHAR(255),
    first_name VARCHAR(255),
    middle_name VARCHAR(255),
    last_name VARCHAR(255),
    preferred_name VARCHAR(255),
    preferred_pronoun VARCHAR(50),
    title VARCHAR(50),
    address JSONB,
    phone VARCHAR(50),
    birthdate DATE,
    preferred_language VARCHAR(10),
    legal_gender INTEGER,
    care_provider_status INTEGER,
    clinical_associate BOOLEAN,
    supervisor_id UUID,
    licensed_states TEXT[],
    care_languages TEXT[],
    care_provider_role INTEGER,
    licenses TEXT[],
    states_active TEXT[],
    profile_data JSONB,
    migration_details JSONB,
    migration_profile_data JSONB,
    system_labels TEXT[],
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    associate_supervisor_id UUID,
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE clinicians IS 'Clinicians who provide care, with licences, languages and supervision.';
COMMENT ON COLUMN clinicians.id IS
    'Primary key. Identifies a clinician across all tables; not shared with patients and guardians.';
COMMENT ON COLUMN clinicians.healthie_id IS
    'The clinician''s id in Healthie, the health-record system; clinician_availabilities.user_id holds it '
    'as a number.';
COMMENT ON COLUMN clinicians.account_status IS
    'Code of the account''s status; its values are not documented.';
COMMENT ON COLUMN clinicians.email IS 'Email address, kept readable for search and contact. Personal data.';
COMMENT ON COLUMN clinicians.first_name IS 'First (given) name. Personal data.';
COMMENT ON COLUMN clinicians.middle_name IS 'Middle name. Personal data.';
COMMENT ON COLUMN clinicians.last_name IS 'Last (family) name. Personal data.';
COMMENT ON COLUMN clinicians.preferred_name IS 'Name the clinician wants to be called by. Personal data.';
COMMENT ON COLUMN clinicians.preferred_pronoun IS 'Pronoun the clinician prefers.';
COMMENT ON COLUMN clinicians.title IS 'Form of address or professional title.';
COMMENT ON COLUMN clinicians.address IS 'Postal address, JSON. Personal data.';
COMMENT ON COLUMN clinicians.phone IS 'Telephone number. Personal data.';
COMMENT ON COLUMN clinicians.birthdate IS 'Date of birth, a calendar date without time zone. Personal data.';
COMMENT ON COLUMN clinicians.preferred_language IS
    'Language the clinician prefers, as an ISO 639-3 code such as eng or spa.';
COMMENT ON COLUMN clinicians.legal_gender IS
    'Code of the gender in official documents; its values are not documented.';
COMMENT ON COLUMN clinicians.care_provider_status IS
    'Code of the status as care provider; its values are not documented.';
COMMENT ON COLUMN clinicians.clinical_associate IS
    'Whether the clinician is an associate, who works under supervision.';
COMMENT ON COLUMN clinicians.supervisor_id IS
    'Supervising clinician: clinicians.id, a foreign key into this table.';
COMMENT ON COLUMN clinicians.licensed_states IS 'US states the licences are valid in.';
COMMENT ON COLUMN clinicians.care_languages IS 'Languages the clinician gives care in.';
COMMENT ON COLUMN clinicians.care_provider_role IS
    'Code of the clinician''s role in care; its values are not documented.';
COMMENT ON COLUMN clinicians.licenses IS 'Professional licences.';
COMMENT ON COLUMN clinicians.states_active IS 'US states the clinician works in at present.';
COMMENT ON COLUMN clinicians.profile_data IS
    'JSON object with whatever else is known; columns of the export that have no column here are kept under '
    '"export_columns".';
COMMENT ON COLUMN clinicians.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN clinicians.migration_profile_data IS 'JSON with profile data from earlier data migrations.';
COMMENT ON COLUMN clinicians.system_labels IS 'Labels the system gives the clinician.';
COMMENT ON COLUMN clinicians.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN clinicians.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN clinicians.associate_supervisor_id IS
    'A further supervisor, of an associate; which table it points at is not documented, and the database '
    'enforces nothing.';
COMMENT ON COLUMN clinicians._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN clinicians._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE kinships (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_0_id UUID NOT NULL,
    user_1_id UUID NOT NULL,
    kind INTEGER NOT NULL,
    user_0_label INTEGER NOT NULL,
    user_1_label INTEGER NOT NULL,
    guardian_can_be_contacted BOOLEAN DEFAULT false,
    migration_details JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    UNIQUE (user_0_id, user_1_id),
    CONSTRAINT chk_kinships_user_0_label CHECK (user_0_label IN (1, 2, 12)),
    CONSTRAINT chk_kinships_user_1_label CHECK (user_1_label IN (1, 2, 12))
);

COMMENT ON TABLE kinships IS 'Who is guardian or child of whom: one row for each pair of people.';
COMMENT ON COLUMN kinships.id IS 'Primary key.';
COMMENT ON COLUMN kinships.user_0_id IS
    'First person of the pair: patients_and_guardians.id or clinicians.id. Not enforced by the database; '
    'the orphan check reports missing people.';
COMMENT ON COLUMN kinships.user_1_id IS
    'Second person of the pair: patients_and_guardians.id or clinicians.id. Not enforced by the database; '
    'the orphan check reports missing people.';
COMMENT ON COLUMN kinships.kind IS 'Code of the relationship between the two; its values are not documented.';
COMMENT ON COLUMN kinships.user_0_label IS
    'What the first person is in the pair: 1 = guardian, 2 = child, 12 = both.';
COMMENT ON COLUMN kinships.user_1_label IS
    'What the second person is in the pair: 1 = guardian, 2 = child, 12 = both.';
COMMENT ON COLUMN kinships.guardian_can_be_contacted IS
    'Whether the guardian may be contacted, false by default.';
COMMENT ON COLUMN kinships.migration_details IS 'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN kinships.created_at IS 'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN kinships.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN kinships._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN kinships._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE questionnaires (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    subject_id UUID NOT NULL,
    respondent_id UUID NOT NULL,
    score INTEGER DEFAULT 0,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    question_answers JSONB NOT NULL,
    type INTEGER NOT NULL,
    language_of_completion VARCHAR(10),
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    CONSTRAINT chk_questionnaires_type CHECK (type IN (3, 4))
);

COMMENT ON TABLE questionnaires IS 'Mental-health assessments and intake questionnaires with their answers.';
COMMENT ON COLUMN questionnaires.id IS 'Primary key.';
COMMENT ON COLUMN questionnaires.subject_id IS
    'The patient whom the answers are about: patients_and_guardians.id. Not enforced by the database; the '
    'orphan check reports missing people.';
COMMENT ON COLUMN questionnaires.respondent_id IS
    'Who answered: patients_and_guardians.id or clinicians.id. Not enforced by the database; the orphan '
    'check reports missing people.';
COMMENT ON COLUMN questionnaires.score IS 'Total score of the answers, 0 by default.';
COMMENT ON COLUMN questionnaires.started_at IS 'When the respondent began.';
COMMENT ON COLUMN questionnaires.completed_at IS 'When the respondent finished; NULL = not finished.';
COMMENT ON COLUMN questionnaires.question_answers IS
    'Answers, JSON object {question_1_answer, question_2_answer, ...}; values are numbers or text. Health '
    'data.';
COMMENT ON COLUMN questionnaires.type IS 'Kind of questionnaire: 3 = standard, 4 = extended.';
COMMENT ON COLUMN questionnaires.language_of_completion IS
    'Language it was answered in, as an ISO 639-3 code such as eng or spa.';
COMMENT ON COLUMN questionnaires.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN questionnaires.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN questionnaires._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN questionnaires._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE clinician_credentialed_insurances (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name VARCHAR(255) NOT NULL,
    country VARCHAR(10) DEFAULT 'US',
    state VARCHAR(10),
    line_of_business INTEGER,
    legacy_names TEXT[],
    network_status INTEGER DEFAULT 0,
    associates_allowed INTEGER DEFAULT 0,
    legacy_id VARCHAR(255),
    parent_credentialed_insurance_id UUID,
    open_pm_name VARCHAR(255),
    migration_details JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE clinician_credentialed_insurances IS
    'Insurance companies and lines of business that Daybreak accepts. Which clinician works with which is '
    'in clinician_insurance_affiliations.';
COMMENT ON COLUMN clinician_credentialed_insurances.id IS 'Primary key.';
COMMENT ON COLUMN clinician_credentialed_insurances.name IS 'Name of the insurance company.';
COMMENT ON COLUMN clinician_credentialed_insurances.country IS 'Country code, US by default.';
COMMENT ON COLUMN clinician_credentialed_insurances.state IS 'US state the entry is valid in.';
COMMENT ON COLUMN clinician_credentialed_insurances.line_of_business IS
    'Code of the line of business; its values are not documented.';
COMMENT ON COLUMN clinician_credentialed_insurances.legacy_names IS
    'Names the company had before, or in older systems.';
COMMENT ON COLUMN clinician_credentialed_insurances.network_status IS
    'Code of the network status, 0 by default; its values are not documented.';
COMMENT ON COLUMN clinician_credentialed_insurances.associates_allowed IS
    'Code that says whether associates may treat its members, 0 by default; its values are not documented.';
COMMENT ON COLUMN clinician_credentialed_insurances.legacy_id IS 'Id of the entry in an older system.';
COMMENT ON COLUMN clinician_credentialed_insurances.parent_credentialed_insurance_id IS
    'The insurance that this one belongs to: clinician_credentialed_insurances.id, a foreign key into this '
    'table.';
COMMENT ON COLUMN clinician_credentialed_insurances.open_pm_name IS
    'Name of the insurance in OpenPM, the practice-management system.';
COMMENT ON COLUMN clinician_credentialed_insurances.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN clinician_credentialed_insurances.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN clinician_credentialed_insurances.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN clinician_credentialed_insurances._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN clinician_credentialed_insurances._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE insurance_coverages (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    member_id VARCHAR(255),
    group_id VARCHAR(255),
    front_card_url TEXT,
    back_card_url TEXT,
    plan_holder_first_name VARCHAR(255),
    plan_holder_last_name VARCHAR(255),
    plan_holder_dob DATE,
    plan_holder_country VARCHAR(10) DEFAULT 'US',
    plan_holder_state VARCHAR(10),
    plan_holder_city VARCHAR(255),
    plan_holder_street_address VARCHAR(255),
    plan_holder_zip_code VARCHAR(20),
    plan_holder_legal_gender INTEGER,
    created_by UUID,
    level INTEGER DEFAULT 1,
    insurance_company_name VARCHAR(255),
    kind INTEGER NOT NULL,
    system_labels TEXT[],
    eligibility INTEGER DEFAULT 0,
    user_id UUID NOT NULL,
    genesis INTEGER DEFAULT 0,
    migration_details JSONB,
    profile_data JSONB,
    openpm_insurance_organization_id VARCHAR(255),
    openpm_coverage_id VARCHAR(255),
    openpm_insurance_organization_name VARCHAR(255),
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    CONSTRAINT chk_insurance_coverages_kind CHECK (kind IN (0, 2)),
    CONSTRAINT chk_insurance_coverages_eligibility CHECK (eligibility IN (0, 2, 4, 6))
);

COMMENT ON TABLE insurance_coverages IS
    'Insurance coverage of patients: plan holder, member id, eligibility.';
COMMENT ON COLUMN insurance_coverages.id IS 'Primary key.';
COMMENT ON COLUMN insurance_coverages.member_id IS 'Member number on the insurance card.';
COMMENT ON COLUMN insurance_coverages.group_id IS 'Group number on the insurance card.';
COMMENT ON COLUMN insurance_coverages.front_card_url IS 'Where the picture of the card''s front is stored.';
COMMENT ON COLUMN insurance_coverages.back_card_url IS 'Where the picture of the card''s back is stored.';
COMMENT ON COLUMN insurance_coverages.plan_holder_first_name IS
    'First name of the person who holds the plan. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_last_name IS
    'Last name of the person who holds the plan. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_dob IS
    'Date of birth of the person who holds the plan, a calendar date without time zone. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_country IS
    'Country code of the plan holder''s address, US by default.';
COMMENT ON COLUMN insurance_coverages.plan_holder_state IS
    'State of the plan holder''s address. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_city IS
    'City of the plan holder''s address. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_street_address IS
    'Street and number of the plan holder''s address. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_zip_code IS
    'ZIP code of the plan holder''s address. Personal data.';
COMMENT ON COLUMN insurance_coverages.plan_holder_legal_gender IS
    'Code of the plan holder''s gender in official documents; its values are not documented.';
COMMENT ON COLUMN insurance_coverages.created_by IS
    'Who entered the coverage: patients_and_guardians.id or clinicians.id. Not enforced by the database; '
    'the orphan check reports missing people.';
COMMENT ON COLUMN insurance_coverages.level IS
    'Rank among the patient''s coverages, 1 by default (presumably 1 = primary); its values are not '
    'documented.';
COMMENT ON COLUMN insurance_coverages.insurance_company_name IS 'Name of the insurance company as entered.';
COMMENT ON COLUMN insurance_coverages.kind IS 'Whether an insurance pays: 0 = non-insurance, 2 = insurance.';
COMMENT ON COLUMN insurance_coverages.system_labels IS
    'Labels the system gives the coverage: in_network, out_of_network, submitted, expired and others.';
COMMENT ON COLUMN insurance_coverages.eligibility IS
    'State of the eligibility check: 0 = unknown, 2 = submitted, 4 = eligible, 6 = expired.';
COMMENT ON COLUMN insurance_coverages.user_id IS
    'The insured patient: patients_and_guardians.id. Not enforced by the database; the orphan check reports '
    'missing people.';
COMMENT ON COLUMN insurance_coverages.genesis IS
    'Code of how the coverage came about, 0 by default; its values are not documented.';
COMMENT ON COLUMN insurance_coverages.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN insurance_coverages.profile_data IS
    'JSON object with whatever else is known; columns of the export that have no column here are kept under '
    '"export_columns".';
COMMENT ON COLUMN insurance_coverages.openpm_insurance_organization_id IS
    'Id of the insurance company in OpenPM, the practice-management system.';
COMMENT ON COLUMN insurance_coverages.openpm_coverage_id IS 'Id of the coverage in OpenPM.';
COMMENT ON COLUMN insurance_coverages.openpm_insurance_organization_name IS
    'Name of the insurance company in OpenPM.';
COMMENT ON COLUMN insurance_coverages.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN insurance_coverages.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN insurance_coverages._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN insurance_coverages._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE organizations (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    parent_organization_id UUID,
    kind INTEGER NOT NULL,
    slug VARCHAR(255) UNIQUE,
    tzdb VARCHAR(100),
    name VARCHAR(255) NOT NULL,
    config JSONB DEFAULT '{}',
    market_id UUID DEFAULT '00000000-0000-0000-0000-000000000001',
    internal_name VARCHAR(255),
    enabled_at TIMESTAMPTZ,
    migration_details JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    CONSTRAINT chk_organizations_kind CHECK (kind IN (1, 2))
);

COMMENT ON TABLE organizations IS 'Schools and the districts they belong to.';
COMMENT ON COLUMN organizations.id IS 'Primary key.';
COMMENT ON COLUMN organizations.parent_organization_id IS
    'The organization that this one belongs to, such as a school''s district: organizations.id, a foreign '
    'key into this table.';
COMMENT ON COLUMN organizations.kind IS 'Kind of organization: 1 = district, 2 = school.';
COMMENT ON COLUMN organizations.slug IS
    'Short name for web addresses, unique among organizations that have one.';
COMMENT ON COLUMN organizations.tzdb IS
    'Time zone of the organization, a tz database name such as America/Los_Angeles.';
COMMENT ON COLUMN organizations.name IS 'Name of the organization, as people outside see it.';
COMMENT ON COLUMN organizations.config IS 'JSON object with the organization''s settings.';
COMMENT ON COLUMN organizations.market_id IS
    'Market, always 00000000-0000-0000-0000-000000000001; points at no table.';
COMMENT ON COLUMN organizations.internal_name IS 'Name of the organization as staff know it.';
COMMENT ON COLUMN organizations.enabled_at IS 'When the organization was enabled; NULL = not enabled.';
COMMENT ON COLUMN organizations.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN organizations.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN organizations.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN organizations._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN organizations._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE contracts (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    effective_date DATE NOT NULL,
    end_date DATE,
    services TEXT[] NOT NULL,
    terms JSONB NOT NULL,
    contract_url TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE contracts IS
    'Service contracts between organizations and Daybreak: dates, services and terms.';
COMMENT ON COLUMN contracts.id IS 'Primary key.';
COMMENT ON COLUMN contracts.effective_date IS 'First day of the contract, a calendar date without time zone.';
COMMENT ON COLUMN contracts.end_date IS 'Last day of the contract; NULL = open-ended.';
COMMENT ON COLUMN contracts.services IS
    'Services agreed on: onsite_care, family_therapy, individual_therapy and others.';
COMMENT ON COLUMN contracts.terms IS
    'JSON with the terms; in exports an array of objects {kind, services, ...} with caps.';
COMMENT ON COLUMN contracts.contract_url IS 'Where the signed contract is stored.';
COMMENT ON COLUMN contracts.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN contracts.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN contracts._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN contracts._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE org_contracts (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    organization_id UUID NOT NULL,
    contract_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    UNIQUE (organization_id, contract_id)
);

COMMENT ON TABLE org_contracts IS 'Which organization has which contract. Has no soft-delete flag.';
COMMENT ON COLUMN org_contracts.id IS 'Primary key.';
COMMENT ON COLUMN org_contracts.organization_id IS 'The organization: organizations.id, a foreign key.';
COMMENT ON COLUMN org_contracts.contract_id IS 'The contract: contracts.id, a foreign key.';
COMMENT ON COLUMN org_contracts.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN org_contracts.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';

CREATE TABLE referrals (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    submitter_id UUID NOT NULL,
    organization_id UUID NOT NULL,
    service_kind INTEGER NOT NULL,
    concerns TEXT,
    data JSONB DEFAULT '{}',
    contract_id UUID NOT NULL,
    market_id UUID DEFAULT '00000000-0000-0000-0000-000000000001',
    terms_kind INTEGER DEFAULT 1,
    appointment_kind INTEGER,
    planned_sessions INTEGER DEFAULT 12,
    collect_coverage BOOLEAN DEFAULT true,
    allowed_coverage TEXT[],
    collection_rule INTEGER DEFAULT 0,
    self_responsibility_required BOOLEAN DEFAULT true,
    care_provider_requirements TEXT[],
    referred_at TIMESTAMPTZ,
    ready_for_scheduling_at TIMESTAMPTZ,
    scheduled_at TIMESTAMPTZ,
    system_labels TEXT[],
    intake_id UUID,
    tzdb VARCHAR(100),
    onboarding_completed_at TIMESTAMPTZ,
    request_rejected_at TIMESTAMPTZ,
    notes JSONB,
    enrolled_at TIMESTAMPTZ,
    disenrolled_at TIMESTAMPTZ,
    disenrollment_category INTEGER,
    excluded_at TIMESTAMPTZ,
    initial_scheduled_sessions INTEGER,
    care_provider_id UUID,
    zendesk_ticket_id VARCHAR(50),
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    CONSTRAINT chk_referrals_service_kind CHECK (service_kind IN (1, 2, 3))
);

COMMENT ON TABLE referrals IS 'Requests for care and how far each has come.';
COMMENT ON COLUMN referrals.id IS 'Primary key.';
COMMENT ON COLUMN referrals.submitter_id IS
    'Who asked for care: patients_and_guardians.id. Not enforced by the database; the orphan check reports '
    'missing people.';
COMMENT ON COLUMN referrals.organization_id IS
    'The organization whose contract pays for care: organizations.id, a foreign key.';
COMMENT ON COLUMN referrals.service_kind IS 'Service asked for: 1 = individual, 2 = family, 3 = onsite.';
COMMENT ON COLUMN referrals.concerns IS 'What the submitter is worried about, free text. Health data.';
COMMENT ON COLUMN referrals.data IS 'JSON object with further details of the request.';
COMMENT ON COLUMN referrals.contract_id IS
    'The contract the request falls under: contracts.id, a foreign key.';
COMMENT ON COLUMN referrals.market_id IS
    'Market, always 00000000-0000-0000-0000-000000000001; points at no table.';
COMMENT ON COLUMN referrals.terms_kind IS
    'Code of the contract terms that apply, 1 by default; its values are not documented.';
COMMENT ON COLUMN referrals.appointment_kind IS
    'Code of the kind of appointment; its values are not documented.';
COMMENT ON COLUMN referrals.planned_sessions IS 'Number of sessions planned, 12 by default.';
COMMENT ON COLUMN referrals.collect_coverage IS 'Whether to ask for insurance coverage, true by default.';
COMMENT ON COLUMN referrals.allowed_coverage IS 'Ways to pay that are allowed: insurance, self_pay, none.';
COMMENT ON COLUMN referrals.collection_rule IS
    'Code of the rule for collecting payment, 0 by default; its values are not documented.';
COMMENT ON COLUMN referrals.self_responsibility_required IS
    'Whether somebody must take responsibility for the costs, true by default.';
COMMENT ON COLUMN referrals.care_provider_requirements IS 'What the family requires of the clinician.';
COMMENT ON COLUMN referrals.referred_at IS 'When the request was made.';
COMMENT ON COLUMN referrals.ready_for_scheduling_at IS 'When a first session could be scheduled.';
COMMENT ON COLUMN referrals.scheduled_at IS 'When the first session was scheduled.';
COMMENT ON COLUMN referrals.system_labels IS
    'Where the request stands: referred, onboarding_completed, ready_for_scheduling, scheduled, enrolled, '
    'request_rejected.';
COMMENT ON COLUMN referrals.intake_id IS 'The intake questionnaire: questionnaires.id, a foreign key.';
COMMENT ON COLUMN referrals.tzdb IS
    'Time zone of the request, a tz database name such as America/Los_Angeles.';
COMMENT ON COLUMN referrals.onboarding_completed_at IS
    'When the parents finished onboarding; NULL = not finished.';
COMMENT ON COLUMN referrals.request_rejected_at IS 'When the request was rejected; NULL = not rejected.';
COMMENT ON COLUMN referrals.notes IS
    'JSON object with notes such as {request_rejected_cause: "Not Engaged"}.';
COMMENT ON COLUMN referrals.enrolled_at IS 'When the patient was enrolled in care.';
COMMENT ON COLUMN referrals.disenrolled_at IS 'When the patient left care.';
COMMENT ON COLUMN referrals.disenrollment_category IS
    'Code of the reason for leaving; its values are not documented.';
COMMENT ON COLUMN referrals.excluded_at IS 'When the request was excluded from care.';
COMMENT ON COLUMN referrals.initial_scheduled_sessions IS 'Number of sessions scheduled at the beginning.';
COMMENT ON COLUMN referrals.care_provider_id IS 'The clinician who gives care: clinicians.id, a foreign key.';
COMMENT ON COLUMN referrals.zendesk_ticket_id IS 'The request''s ticket in Zendesk, the support system.';
COMMENT ON COLUMN referrals.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN referrals.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN referrals._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN referrals._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE referral_members (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    referral_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role INTEGER DEFAULT 0,
    data JSONB DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    UNIQUE (referral_id, user_id)
);

COMMENT ON TABLE referral_members IS
    'The patients whom a referral is about. Rows go when their referral is deleted.';
COMMENT ON COLUMN referral_members.id IS 'Primary key.';
COMMENT ON COLUMN referral_members.referral_id IS
    'The referral: referrals.id, a foreign key; deleting the referral deletes this row.';
COMMENT ON COLUMN referral_members.user_id IS
    'The person: patients_and_guardians.id. Not enforced by the database; the orphan check reports missing '
    'people.';
COMMENT ON COLUMN referral_members.role IS
    'What the person is in the referral: 0 = patient, the default and the only documented value; not '
    'restricted by a CHECK.';
COMMENT ON COLUMN referral_members.data IS 'JSON object with details such as {grade: "GRADE_7"}.';
COMMENT ON COLUMN referral_members.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN referral_members.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN referral_members._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN referral_members._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE memberships (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id UUID NOT NULL,
    organization_id UUID NOT NULL,
    profile_data JSONB DEFAULT '{}',
    migration_details JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    UNIQUE (user_id, organization_id)
);

COMMENT ON TABLE memberships IS 'Who belongs to which organization.';
COMMENT ON COLUMN memberships.id IS 'Primary key.';
COMMENT ON COLUMN memberships.user_id IS
    'The member: patients_and_guardians.id or clinicians.id. Not enforced by the database; the orphan check '
    'reports missing people.';
COMMENT ON COLUMN memberships.organization_id IS 'The organization: organizations.id, a foreign key.';
COMMENT ON COLUMN memberships.profile_data IS
    'JSON object with whatever else is known; columns of the export that have no column here are kept under '
    '"export_columns".';
COMMENT ON COLUMN memberships.migration_details IS
    'JSON on where the row came from in earlier data migrations.';
COMMENT ON COLUMN memberships.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN memberships.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN memberships._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN memberships._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE patient_availabilities (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id UUID NOT NULL,
    availability JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE patient_availabilities IS 'When patients have time for sessions.';
COMMENT ON COLUMN patient_availabilities.id IS 'Primary key.';
COMMENT ON COLUMN patient_availabilities.user_id IS
    'The patient: patients_and_guardians.id. Not enforced by the database; the orphan check reports missing '
    'people.';
COMMENT ON COLUMN patient_availabilities.availability IS
    'Free times of a week, JSON array [{day: "Monday", time_blocks: [{start: "08:00:00", duration: 60}]}]; '
    'start is local time, duration in minutes.';
COMMENT ON COLUMN patient_availabilities.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN patient_availabilities.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN patient_availabilities._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN patient_availabilities._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE clinician_availabilities (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL,
    range_start TIMESTAMPTZ NOT NULL,
    range_end TIMESTAMPTZ NOT NULL,
    timezone VARCHAR(100) NOT NULL,
    day_of_week INTEGER,
    is_repeating BOOLEAN DEFAULT false,
    contact_type_id INTEGER,
    appointment_location_id INTEGER,
    deleted_at TIMESTAMPTZ,
    end_on TIMESTAMPTZ,
    parent_organization_id INTEGER,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    tx_commit_time TIMESTAMPTZ
);

COMMENT ON TABLE clinician_availabilities IS
    'When clinicians have time for sessions: change data from the scheduling system (parquet). Has no '
    'Fivetran columns; deleted_at marks deletions.';
COMMENT ON COLUMN clinician_availabilities.id IS 'Primary key, a number given by the scheduling system.';
COMMENT ON COLUMN clinician_availabilities.user_id IS
    'The clinician, by the number in clinicians.healthie_id (compare as text), not by clinicians.id. Not '
    'enforced by the database; the orphan check reports missing clinicians.';
COMMENT ON COLUMN clinician_availabilities.range_start IS 'Beginning of the time range.';
COMMENT ON COLUMN clinician_availabilities.range_end IS 'End of the time range.';
COMMENT ON COLUMN clinician_availabilities.timezone IS
    'Time zone the range was entered in, a tz database name such as America/Los_Angeles.';
COMMENT ON COLUMN clinician_availabilities.day_of_week IS
    'Day of the week: 0 = Sunday, 1 = Monday, and so on to 6 = Saturday.';
COMMENT ON COLUMN clinician_availabilities.is_repeating IS
    'Whether the range repeats every week, false by default.';
COMMENT ON COLUMN clinician_availabilities.contact_type_id IS
    'Id of the kind of contact in the scheduling system; points at no table here.';
COMMENT ON COLUMN clinician_availabilities.appointment_location_id IS
    'Id of the place in the scheduling system; points at no table here.';
COMMENT ON COLUMN clinician_availabilities.deleted_at IS
    'When the range was deleted in the scheduling system; NULL = valid.';
COMMENT ON COLUMN clinician_availabilities.end_on IS 'When a repeating range ends; NULL = no end.';
COMMENT ON COLUMN clinician_availabilities.parent_organization_id IS
    'Id of the organization in the scheduling system, a number: not organizations.id.';
COMMENT ON COLUMN clinician_availabilities.created_at IS
    'When the scheduling system created the row. No default: comes from the export.';
COMMENT ON COLUMN clinician_availabilities.updated_at IS
    'When the scheduling system last changed the row; a trigger sets it when anyone but an import changes '
    'the row here. No default.';
COMMENT ON COLUMN clinician_availabilities.tx_commit_time IS
    'When the change was committed in the scheduling system; of two changes the later one counts.';

CREATE TABLE clinician_insurance_affiliations (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    care_provider_profile_id UUID NOT NULL,
    credentialed_insurance_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ,
    UNIQUE (care_provider_profile_id, credentialed_insurance_id)
);

COMMENT ON TABLE clinician_insurance_affiliations IS 'Which clinician works with which insurance.';
COMMENT ON COLUMN clinician_insurance_affiliations.id IS 'Primary key.';
COMMENT ON COLUMN clinician_insurance_affiliations.care_provider_profile_id IS
    'The clinician: clinicians.id, a foreign key.';
COMMENT ON COLUMN clinician_insurance_affiliations.credentialed_insurance_id IS
    'The insurance: clinician_credentialed_insurances.id, a foreign key.';
COMMENT ON COLUMN clinician_insurance_affiliations.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN clinician_insurance_affiliations.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN clinician_insurance_affiliations._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN clinician_insurance_affiliations._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';

CREATE TABLE documents (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    version INTEGER NOT NULL DEFAULT 1,
    label VARCHAR(255) NOT NULL,
    checkboxes TEXT[],
    version_date DATE,
    urls JSONB,
    names JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    _fivetran_deleted BOOLEAN DEFAULT false,
    _fivetran_synced TIMESTAMPTZ
);

COMMENT ON TABLE documents IS 'Legal documents and consent forms that people agree to, by version.';
COMMENT ON COLUMN documents.id IS 'Primary key.';
COMMENT ON COLUMN documents.version IS 'Version number of the document, 1 by default.';
COMMENT ON COLUMN documents.label IS 'What the document is: privacy_policy, informed_consent and others.';
COMMENT ON COLUMN documents.checkboxes IS 'What the reader ticks to agree.';
COMMENT ON COLUMN documents.version_date IS 'Date of the version, a calendar date without time zone.';
COMMENT ON COLUMN documents.urls IS 'Where the text is, by language: JSON object {eng: "url", spa: "url"}.';
COMMENT ON COLUMN documents.names IS
    'What the document is called, by language: JSON object {eng: "name", spa: "name"}.';
COMMENT ON COLUMN documents.created_at IS
    'When the row was created: in the source system if it was imported.';
COMMENT ON COLUMN documents.updated_at IS
    'When the row last changed: in the source system if an import changed it, otherwise set by a trigger.';
COMMENT ON COLUMN documents._fivetran_deleted IS
    'Soft delete: true = deleted in the source system. Queries filter on false.';
COMMENT ON COLUMN documents._fivetran_synced IS
    'When Fivetran copied the row from the source system; NULL for rows that were not copied.';
