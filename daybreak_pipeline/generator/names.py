"""Names of people who do not exist: common given and family names, combined at random.

Several scripts, accents, hyphens, apostrophes, particles and double family names, because that is
where name columns and name search break. Nothing here knows about tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daybreak_pipeline.generator.text import pool

if TYPE_CHECKING:
    from daybreak_pipeline.generator.ids import Draws, Index


@dataclass(frozen=True)
class Culture:
    """Names that go together, and the language that such a family tends to prefer."""

    language: str
    weight: int
    female: str
    male: str
    family: str


# ``language`` is one of the codes of the plan: eng, spa, yue, cmn, por, vie.
# A "~" is a space inside a name.
CULTURES = (
    Culture(
        "eng",
        34,
        "Emma Olivia Ava Sophia Mia Amelia Harper Evelyn Abigail Ella Scarlett Grace Chloe Zoë Renée Nora "
        "Mary-Kate Anne-Marie Billie Jo~Ann Aaliyah Imani Keisha Brooke Heather Megan Sinéad Siobhán "
        "Anaïs D'Andra",
        "Liam Noah Oliver James Elijah William Henry Lucas Benjamin Theodore Jack Levi Owen Wyatt Caleb "
        "Jean-Luc André Malik Jamal DeShawn De'Andre Connor Seán Ciarán Duncan Isaiah Marcus Terrence "
        "Billy~Ray Zachary",
        "Smith Johnson Williams Brown Jones Miller Davis Wilson Anderson Taylor Moore Jackson Martin Lee "
        "O'Brien O'Connor O’Neill D'Angelo McDonald MacIntyre Fitzgerald St.~John Van~Buren Washington "  # noqa: RUF001 - a typographic apostrophe
        "Jefferson Banks Smith-Jones Carter-Hayes Baker Whitfield Müller Schröder Lindström Sørensen "
        "Kowalczyk Nowak Dvořák Novák Beaulieu Lefèvre",
    ),
    Culture(
        "spa",
        26,
        "María Sofía Valentina Camila Lucía Ximena Guadalupe Fernanda Daniela Mariana Itzel Noemí Ángela "
        "María~José María~de~los~Ángeles Inés Belén Araceli Yesenia Íngrid",
        "José Santiago Mateo Sebastián Diego Ángel Jesús Miguel~Ángel Juan~Carlos Iván Andrés Raúl Óscar "
        "Joaquín Nicolás Martín Tomás César Héctor Íñigo",
        "García Hernández Martínez López González Rodríguez Pérez Sánchez Ramírez Cruz Muñoz Núñez Ibáñez "
        "Peña de~la~Cruz de~León García~Márquez Hernández-Ruiz Treviño Zúñiga Güemes Ordóñez Vásquez "
        "Avilés Solís Bañuelos",
    ),
    Culture(
        "por",
        5,
        "Ana Beatriz Larissa Letícia Inês Conceição Luísa Júlia Vitória Antônia Graça Flávia",
        "João Luís Antônio Gonçalo Tiago Caetano Vinícius Estêvão Mário Sérgio Luã Davi",
        "Silva Santos Souza Araújo Gonçalves Conceição Magalhães Simões da~Silva dos~Santos Brandão "
        "Guimarães d'Ávila Falcão Assunção",
    ),
    Culture(
        "vie",
        6,
        "Thị~Hương Ngọc~Ánh Thu~Thảo Mỹ~Linh Bích~Phượng Diệu~Huyền Kim~Ngân Thanh~Trúc Yến~Nhi Quỳnh",
        "Văn~Đức Minh~Quân Quốc~Bảo Hữu~Phước Anh~Tuấn Đình~Khôi Thành~Đạt Gia~Huy Xuân~Trường Tấn",
        "Nguyễn Trần Lê Phạm Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý",
    ),
    Culture(
        "cmn",
        6,
        "秀英 欣怡 雨桐 诗涵 梓涵 佳怡 思远 美玲 丽娟 静怡",
        "伟 浩然 子轩 宇航 俊杰 志强 建国 明轩 博文 天佑",
        "王 李 张 刘 陈 杨 黄 赵 吴 周 欧阳 司马",
    ),
    Culture(
        "yue",
        4,
        "嘉欣 詠琪 慧敏 淑儀 佩珊 曉彤 芷晴",
        "家豪 志明 俊傑 子軒 偉倫 浩賢 國棟",
        "陳 黃 李 張 梁 鄭 歐陽 劉",
    ),
    Culture(
        "eng",
        4,
        "서연 지우 하은 민서 수아 지민 예은 은지",
        "민준 서준 도윤 예준 시우 하준 지호 준서",
        "김 이 박 최 정 강 조 윤 남궁",
    ),
    Culture(
        "eng",
        4,
        "فاطمة مريم نور ليلى عائشة زينب سلمى هدى",
        "محمد أحمد يوسف عمر علي إبراهيم خالد حسن",
        "الحسن خان المصري حداد النجار العلي بن~سعيد أبو~زيد",
    ),
    Culture(
        "eng",
        2,
        "נועה תמר שירה מיכל רחל אסתר יעל",
        "דוד יוסף איתן נועם משה אריאל יונתן",
        "כהן לוי מזרחי פרץ ביטון בן־דוד פרידמן",
    ),
    Culture(
        "eng",
        3,
        "Анна Мария Екатерина Ольга Оксана Соломія Ганна Любовь",
        "Иван Дмитрий Алексей Сергей Тарас Олексій Андрій Пётр",  # noqa: RUF001 - Cyrillic
        "Иванов Петренко Шевченко Кузнецов Коваль Мельник Соловьёв Римский-Корсаков",
    ),
    Culture(
        "eng",
        3,
        "प्रिया अनन्या दीपिका सुनीता काव्या आराध्या मीरा",
        "अर्जुन रोहन विवान संजय कृष्ण आदित्य राहुल",
        "शर्मा पटेल सिंह गुप्ता देशमुख चतुर्वेदी",
    ),
    Culture("eng", 1, "さくら 陽菜 結衣 美咲 愛子", "大翔 蓮 健太 翔太 悠真", "佐藤 鈴木 髙橋 渡邊 小野寺"),
    Culture(
        "eng",
        1,
        "Ελένη Μαρία Αικατερίνη Δήμητρα",
        "Γιώργος Νίκος Δημήτρης Ιωάννης",
        "Παπαδόπουλος Γεωργίου Οικονόμου",
    ),
    Culture("eng", 1, "สมหญิง กัญญา พิมพ์ชนก", "สมชาย ธนากร ณัฐวุฒิ", "แสงทอง ศรีสุวรรณ วงศ์ไทย"),
)


def _split(names: str) -> list[str]:
    return [name.replace("~", " ") for name in names.split()]


class _ByCulture:
    """The names of all cultures in one array, with where each culture's begin and how many it has."""

    def __init__(self, lists: list[list[str]]) -> None:
        self.names = pool(name for names in lists for name in names)
        self.size = np.array([len(names) for names in lists], np.int64)
        self.start = np.cumsum(self.size) - self.size

    def draw(self, draws: Draws, name: str, culture: Index) -> Any:
        within = draws.below(name, self.size[culture])
        return self.names.take(pa.array(self.start[culture] + within))


_FEMALE = _ByCulture([_split(culture.female) for culture in CULTURES])
_MALE = _ByCulture([_split(culture.male) for culture in CULTURES])
_FAMILY = _ByCulture([_split(culture.family) for culture in CULTURES])
_WEIGHTED = np.repeat(np.arange(len(CULTURES)), [culture.weight for culture in CULTURES])
_LANGUAGES = pool(culture.language for culture in CULTURES)


def culture_of(draws: Draws) -> Index:
    """Draw a culture for each family or person."""
    return _WEIGHTED[draws.below("culture", len(_WEIGHTED))]


def family_name(draws: Draws, culture: Index) -> Any:
    """Draw family names."""
    return _FAMILY.draw(draws, "family-name", culture)


def given_name(draws: Draws, name: str, culture: Index) -> Any:
    """Draw given names, female for about half (the stream ``female`` decides, as in ``is_female``)."""
    mask = pa.array(draws.chance("female", 0.5))
    return pa.compute.if_else(mask, _FEMALE.draw(draws, name, culture), _MALE.draw(draws, name, culture))


def language_of(culture: Index) -> Any:
    """Return the language that families of a culture tend to prefer."""
    return _LANGUAGES.take(pa.array(culture))
