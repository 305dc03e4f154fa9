"""Patients, guardians and the kinships between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daybreak_pipeline.generator import families, names, places
from daybreak_pipeline.generator.ids import Draws, Index
from daybreak_pipeline.generator.text import (
    EXPORTED_ON,
    bookkeeping,
    constant,
    dates,
    days_since_epoch,
    empty,
    integers,
    join,
    json_pool,
    pool,
    when,
)

if TYPE_CHECKING:
    from daybreak_pipeline.generator.world import Batch, World

_PRONOUNS = pool(["she/her", "he/him", "they/them", None, None])
_TITLES = pool(["Mr.", "Ms.", "Dr.", None, None, None, None])
_GUARDIAN_LABELS = json_pool([["guardian"], ["guardian", "referred"], ["guardian", "enrolled"], []])
_CHILD_LABELS = json_pool([["dependent", "student", "referred"], ["student", "referred", "enrolled"], []])
_STUDENT_LABELS = json_pool([["student", "referred"], ["student", "referred", "enrolled"]])
_PROFILES = json_pool(
    [
        {},
        {},
        None,
        {"grade": "GRADE_7", "needs_interpreter": False},
        {"grade": "KINDERGARTEN", "notes": 'Likes "Minecraft", dogs\nand drawing'},
        {"ethnicity": ["Latino/a", "Prefer not to say"], "school_id_number": None},
    ]
)
_METADATA = json_pool([{"provider": "email", "email_verified": True}, {"provider": "google", "sign_ins": 3}])
_MIGRATIONS = json_pool([None, None, None, {"source": "legacy", "batch": 14, "merged": []}])


class Person:
    """The traits of people by their index, for all tables that repeat them."""

    def __init__(self, world: World, index: Index) -> None:
        self.draws = Draws(world.seed, "person", index)
        family = Draws(world.seed, "family", families.family_of(index))
        self._family = family
        self.culture = names.culture_of(family)
        self.index = index

    def given_name(self) -> Any:
        """Return first names."""
        return names.given_name(self.draws, "given-name", self.culture)

    def family_name(self) -> Any:
        """Return last names: a family shares one."""
        return names.family_name(self._family, self.culture)

    def language(self) -> Any:
        """Return the language of the family, which is English for some whatever their names."""
        return when(self._family.chance("english", 0.3), "eng", names.language_of(self.culture))

    def birthdate(self) -> Any:
        """Return dates of birth: children 5 to 17 years old, students 18 to 21, guardians 27 to 62."""
        youngest = np.where(
            families.is_child(self.index), 5, np.where(families.is_student(self.index), 18, 27)
        )
        years = np.where(families.is_child(self.index), 13, np.where(families.is_student(self.index), 4, 36))
        days = youngest * 366 + self.draws.below("age", years * 365 - 30)
        return dates(days_since_epoch(EXPORTED_ON) - days)

    def gender(self) -> Index:
        """Return the code of the legal gender: 1 female, 2 male."""
        return np.where(self.draws.chance("female", 0.5), 1, 2)


def patients_and_guardians(batch: Batch) -> dict[str, Any]:
    """Return patients and guardians."""
    count, draws = len(batch), batch.draws
    # A planted person is like the host of its number: index arithmetic needs small numbers.
    number = batch.world.patients + batch.number if batch.planted else batch.index
    person = Person(batch.world, number)
    child = families.is_child(number)
    adult = ~child
    labels = when(adult, draws.choice("labels", _GUARDIAN_LABELS), draws.choice("labels", _CHILD_LABELS))
    labels = when(families.is_student(number), draws.choice("labels", _STUDENT_LABELS), labels)
    supervised = draws.chance("supervised", 0.02)
    own_address = when(draws.chance("address", 0.15), "{}", places.address_json(draws))
    middle = names.given_name(draws, "middle-name", person.culture)
    return bookkeeping(draws) | {
        "last_name": person.family_name(),
        "first_name": person.given_name(),
        "id": batch.ids(),
        "role": integers(np.ones(count, np.int64)),
        "email": when(adult | draws.chance("email", 0.3), places.email(draws)),
        "phone": when(adult, places.phone(draws)),
        "middle_name": when(draws.chance("middle", 0.25), middle),
        "preferred_name": when(draws.chance("preferred", 0.1), person.given_name()),
        "birthdate": when(adult & draws.chance("no-birthdate", 0.4), None, person.birthdate()),
        "address": when(adult | draws.chance("child-address", 0.4), own_address, "{}"),
        "system_labels": labels,
        "preferred_language": person.language(),
        "preferred_pronoun": draws.choice("pronoun", _PRONOUNS),
        "legal_gender": integers(person.gender()),
        "self_gender": when(draws.chance("self-gender", 0.4), integers(person.gender())),
        "title": when(adult, draws.choice("title", _TITLES)),
        "profile_data": draws.choice("profile", _PROFILES),
        "supabase_id": when(adult, draws.uuids("supabase")),
        "supabase_metadata": when(adult, draws.choice("metadata", _METADATA)),
        "migration_details": draws.choice("migration", _MIGRATIONS),
        "supervisor_id": when(supervised, batch.clinician_id("supervisor")),
        "clinical_associate": pa.repeat(pa.scalar(value=False), count),
        "licenses": constant("[]", count),
        "licensed_states": constant("[]", count),
        "care_provider_status": integers(np.zeros(count, np.int64)),
        "account_status": integers(draws.below("status", 3)),
        "healthie_id": when(child & draws.chance("healthie", 0.7), join(number + 5_000_000)),
        "openpm_reference_id": when(draws.chance("openpm", 0.3), join("PM-", draws.below("pm", 10**9))),
        "openpm_policyholder_id": empty(count),
        "zendesk_id": when(draws.chance("zendesk", 0.2), join(draws.below("zendesk-id", 4 * 10**9))),
        "latest_ticket": when(draws.chance("ticket", 0.1), join("ticket #", draws.below("ticket-no", 10**6))),
    }


def kinships(batch: Batch) -> dict[str, Any]:
    """Return pairs of guardian (user 0) and child (user 1)."""
    count, draws = len(batch), batch.draws
    return {
        "user_1_label": integers(np.full(count, 2)),
        "user_0_label": integers(np.where(draws.chance("both", 0.03), 12, 1)),
        "id": batch.ids(),
        "kind": integers(draws.below("kind", 4) + 1),
        "user_1_id": batch.patient_id(batch.person(families.KINSHIPS, 1)),
        "user_0_id": batch.patient_id(batch.person(families.KINSHIPS)),
        "guardian_can_be_contacted": pa.array(draws.chance("contact", 0.8)),
        "migration_details": draws.choice("migration", _MIGRATIONS),
    } | bookkeeping(draws)
