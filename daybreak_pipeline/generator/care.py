"""The way into care: questionnaires, referrals with their members, and when patients have time."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daybreak_pipeline.generator import families
from daybreak_pipeline.generator.ids import Draws, Index
from daybreak_pipeline.generator.text import (
    DAY,
    EXPORTED_ON,
    bookkeeping,
    created_and_updated,
    days_since_epoch,
    empty,
    integers,
    join,
    json_pool,
    pool,
    timestamps,
    to_json,
    when,
)

if TYPE_CHECKING:
    from daybreak_pipeline.generator.world import Batch

_LANGUAGES = pool(["eng", "eng", "eng", "eng", "spa", "spa", "por", "vie", "cmn", "yue", None])
_TIME_ZONES = pool(["America/Los_Angeles", "America/New_York", "America/Chicago", "America/Denver", None])
_EXPORT_MOMENT = days_since_epoch(EXPORTED_ON) * DAY

_QUESTIONS = 20
_FREE_ANSWERS = (
    "Not at all",
    "More than half the days",
    'She says: "I don\'t want to go"',
    "Le cuesta dormir, y llora por la mañana",
    "很少",
    "Nothing to add\nThank you",
    "n/a",
)
_VARIANTS = 512
_GROUP = 4
_GROUPS_ANSWERED = (0, 0, 1, 1, 1, 1, 1, 2, 3, 5)


@cache
def _answer_groups() -> list[Any]:
    """Return, for each run of four questions, a pool of answers as JSON members."""
    draws = Draws(0, "answers", np.arange(_QUESTIONS * _VARIANTS, dtype=np.int64))
    codes = draws.below("code", 6).reshape(_VARIANTS, _QUESTIONS)
    text = draws.chance("text", 0.08).reshape(_VARIANTS, _QUESTIONS)
    words = draws.below("words", len(_FREE_ANSWERS)).reshape(_VARIANTS, _QUESTIONS)
    groups = []
    for first in range(0, _QUESTIONS, _GROUP):
        members = []
        for variant in range(_VARIANTS):
            answers: dict[str, object] = {
                f"question_{q + 1}_answer": (
                    _FREE_ANSWERS[words[variant, q]] if text[variant, q] else int(codes[variant, q])
                )
                for q in range(first, first + _GROUP)
            }
            members.append(to_json(answers)[1:-1])
        groups.append(pool(members))
    return groups


def _question_answers(draws: Draws) -> Any:
    """Return answers to none up to all twenty questions, most often to four: 400 bytes a record."""
    answered = np.array(_GROUPS_ANSWERED)[draws.below("answered", len(_GROUPS_ANSWERED))]
    parts: list[Any] = ["{"]
    for number, group in enumerate(_answer_groups()):
        members = draws.choice(f"answers-{number}", group)
        parts.append(when(answered > number, members if number == 0 else join(",", members), ""))
    return join(*parts, "}")


def questionnaires(batch: Batch) -> dict[str, Any]:
    """Return questionnaires about children, answered by their first guardian."""
    draws = batch.draws
    subject = batch.person(families.QUESTIONNAIRES)
    started, _ = created_and_updated(draws, latest=3)
    completed = started + 60_000_000 + draws.below("minutes", 3_600_000_000)
    extended = draws.chance("extended", 0.3)
    return {
        "completed_at": when(draws.chance("completed", 0.9), timestamps(completed)),
        "census_person_id": empty(len(batch)),
        "question_answers": _question_answers(draws),
        "id": batch.ids(),
        "type": integers(np.where(extended, 4, 3)),
        "subject_id": batch.patient_id(subject),
        "score": when(draws.chance("scored", 0.95), integers(draws.below("score", 70))),
        "respondent_id": batch.patient_id(batch.spokesperson(subject)),
        "started_at": timestamps(started),
        "language_of_completion": draws.choice("language", _LANGUAGES),
    } | bookkeeping(draws, latest=3)


_CONCERNS = (
    "Trouble sleeping, and wakes up crying.",
    'Says "nobody likes me" after school.',
    "Anxiety before tests;\nstomach aches in the morning.",
    "Parents separated in March, moved twice since.",
    "Se enoja con facilidad, dice que está «cansado».",
    "Refuses to attend school\n\n- since winter break\n- mostly Mondays",
    "情绪低落,不愿意和同学说话。",
    "Grief: lost his grandmother, who raised him.",
    "Panic attacks (3x this month), per school counselor.",
    "Withdrawn; 50% fewer friends than last year?",
    "Teacher's note: \"bright, but can't focus\" - see attachment.",
)
_CONCERN_POOL = pool(_CONCERNS)
_JOINTS = pool([" ", "\n", "; also: ", "\r\n"])
_STAGES = (
    ["referred"],
    ["referred", "onboarding_completed"],
    ["referred", "onboarding_completed", "ready_for_scheduling"],
    ["referred", "onboarding_completed", "ready_for_scheduling", "scheduled"],
    ["referred", "onboarding_completed", "ready_for_scheduling", "scheduled", "enrolled"],
)
_STAGE_LABELS = json_pool(_STAGES)
_REJECTED = json_pool([["referred", "request_rejected"]])
_REJECTIONS = json_pool(
    [{"request_rejected_cause": cause} for cause in ("Not Engaged", "Out of Network", "Found care elsewhere")]
)
_COVERAGES = json_pool(
    [["insurance", "self_pay"], ["insurance"], ["insurance", "self_pay", "none"], ["none"], []]
)
_REQUIREMENTS = json_pool([[], [], [], ["speaks_spanish"], ["female", "experience: trauma, grief"]])
_DATA = json_pool(
    [{}, {}, None, {"source": "counselor", "urgency": 2}, {"school_contact": {"role": "nurse"}}]
)


def _concerns(draws: Draws) -> Any:
    one, two = draws.choice("concern", _CONCERN_POOL), draws.choice("concern-2", _CONCERN_POOL)
    both = join(one, draws.choice("joint", _JOINTS), two)
    return when(draws.chance("no-concern", 0.1), None, when(draws.chance("two", 0.5), both, one))


def _progress(draws: Draws) -> dict[str, Any]:
    """Return the columns that say how far a referral has come: each step follows the one before."""
    stage = draws.below("stage", len(_STAGES))
    rejected = draws.chance("rejected", 0.12)
    stage = np.where(rejected, 0, stage)
    referred, _ = created_and_updated(draws, latest=120)
    moments = [referred]
    for step in ("onboarded", "ready", "scheduled", "enrolled", "disenrolled"):
        moments.append(moments[-1] + DAY // 24 + draws.below(step, 1 << 32) * 400)
    disenrolled = (stage == len(_STAGES) - 1) & draws.chance("disenrolls", 0.3)
    return {
        "referred_at": timestamps(referred),
        "onboarding_completed_at": when(stage >= 1, timestamps(moments[1])),
        "ready_for_scheduling_at": when(stage >= 2, timestamps(moments[2])),  # noqa: PLR2004 - stages
        "scheduled_at": when(stage >= 3, timestamps(moments[3])),  # noqa: PLR2004
        "enrolled_at": when(stage >= 4, timestamps(moments[4])),  # noqa: PLR2004
        "disenrolled_at": when(disenrolled, timestamps(moments[5])),
        "disenrollment_category": when(disenrolled, integers(draws.below("category", 6))),
        "request_rejected_at": when(rejected, timestamps(moments[1])),
        "notes": when(rejected, draws.choice("rejection", _REJECTIONS)),
        "system_labels": when(rejected, _REJECTED[0], _STAGE_LABELS.take(pa.array(stage))),
    }


def referrals(batch: Batch) -> dict[str, Any]:
    """Return referrals: a guardian asks for care for a child, through the child's school."""
    count, draws, world = len(batch), batch.draws, batch.world
    child = batch.person(families.REFERRALS)
    school = world.school_of(child)
    intake = batch.id_of("questionnaires", _intake_of(batch))
    assigned = draws.chance("assigned", 0.4)
    return (
        _progress(draws)
        | {
            "id": batch.ids(),
            "market_id": empty(count),
            "contract_id": batch.id_of("contracts", world.contract_of(school)),
            "organization_id": batch.id_of("organizations", school),
            "submitter_id": batch.patient_id(batch.spokesperson(child)),
            "service_kind": integers(draws.below("service", 3) + 1),
            "concerns": _concerns(draws),
            "data": draws.choice("data", _DATA),
            "terms_kind": integers(draws.below("terms", 3)),
            "appointment_kind": when(draws.chance("appointment", 0.7), integers(draws.below("kind", 4))),
            "planned_sessions": integers(np.array([6, 12, 12, 12, 24])[draws.below("sessions", 5)]),
            "initial_scheduled_sessions": when(assigned, integers(draws.below("scheduled-sessions", 12))),
            "collect_coverage": pa.array(draws.chance("collect", 0.8)),
            "collection_rule": integers(draws.below("rule", 3)),
            "self_responsibility_required": pa.array(draws.chance("responsibility", 0.5)),
            "allowed_coverage": draws.choice("allowed", _COVERAGES),
            "care_provider_requirements": draws.choice("requirements", _REQUIREMENTS),
            "intake_id": when(draws.chance("intake", 0.7), intake),
            "care_provider_id": when(assigned, batch.clinician_id("provider")),
            "tzdb": draws.choice("zone", _TIME_ZONES),
            "excluded_at": empty(count),
            "zendesk_ticket_id": when(draws.chance("ticket", 0.2), join(draws.below("ticket-no", 10**8))),
        }
        | bookkeeping(draws, latest=120)
    )


def _intake_of(batch: Batch) -> Index:
    """Return the questionnaire about each referral's child; planted referrals take any."""
    if batch.planted:
        return batch.draws.below("any-intake", batch.world.sizes["questionnaires"])
    return families.QUESTIONNAIRES.record_of(batch.index, families.REFERRALS)


_MEMBER_DATA = json_pool(
    [None, {}, *({"grade": f"GRADE_{grade}"} for grade in range(1, 13)), {"grade": "KINDERGARTEN"}]
)


def referral_members(batch: Batch) -> dict[str, Any]:
    """Return the patients whom the referrals are about: one, or the siblings of a family."""
    draws = batch.draws
    if batch.planted:
        referral = draws.below("any-referral", batch.world.sizes["referrals"])
        patient = batch.person(families.REFERRAL_MEMBERS)
    else:
        referral = families.REFERRALS.record_of(batch.index, families.REFERRAL_MEMBERS)
        patient = batch.person(families.REFERRAL_MEMBERS, 1)
    return {
        "data": draws.choice("data", _MEMBER_DATA),
        "user_id": batch.patient_id(patient),
        "id": batch.ids(),
        "referral_id": batch.id_of("referrals", referral),
        "role": integers(np.zeros(len(batch), np.int64)),
    } | bookkeeping(draws)


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _day_members(day: str) -> Any:
    """Return a pool of what one weekday can look like, as JSON members of the array."""
    members = []
    for hour in range(8, 19):
        for duration in (30, 60, 90):
            blocks = [{"start": f"{hour:02d}:00:00", "duration": duration}]
            if hour % 3 == 0:
                blocks.append({"start": f"{hour + 2:02d}:30:00", "duration": 45})
            members.append("," + json.dumps({"day": day, "time_blocks": blocks}))
    return pool(members)


_DAY_POOLS = [_day_members(day) for day in _DAYS]
_FIRST_DAY = pool(member[1:] for member in _day_members("Monday").to_pylist())


def patient_availabilities(batch: Batch) -> dict[str, Any]:
    """Return when patients have time: Mondays always, the other days by chance."""
    draws = batch.draws
    parts: list[Any] = [draws.choice("Monday", _FIRST_DAY)]
    parts += [
        when(draws.chance(f"{day}?", 0.4), draws.choice(day, days), "")
        for day, days in zip(_DAYS[1:], _DAY_POOLS[1:], strict=True)
    ]
    return {
        "availability": join("[", *parts, "]"),
        "user_id": batch.patient_id(batch.person(families.AVAILABILITIES)),
        "id": batch.ids(),
    } | bookkeeping(draws)
