"""Strings that break programs: quoting, encodings, scripts, invisible characters, what looks like something else.

Written for text columns of PostgreSQL and for CSV files. Without U+0000, which PostgreSQL's text cannot hold, and
without lone surrogates, which UTF-8 cannot. Nothing here knows about tables.
"""

from __future__ import annotations

import unicodedata

_LOOKS_LIKE_SOMETHING_ELSE = r"""
NULL null Null nil None none undefined undef NaN nan Infinity -Infinity inf true false TRUE FALSE True t f yes no on off
\N \. \\. \\N \n \t \r \0 \x00 \u0000 \\ \ N/A n/a #N/A #NULL! #REF! - -- --- ? ?? . .. ... _ __proto__ constructor
hasOwnProperty 0 00 007 1 -1 -0 +1 1.0 1,0 1.00 1,000.00 1e3 1E-3 1e999 0x1F 0xdeadbeef 0b11 0o17 1_000 1/2 1/0 0/0
2147483647 2147483648 -2147483649 9223372036854775807 9223372036854775808 18446744073709551616 3.14159265358979323846
1.7976931348623157e309 00000000-0000-0000-0000-000000000000 2024-02-30 2024-02-29 1900-01-00 12/31/1999 infinity epoch
now today yesterday 24:00:00 -infinity {} [] {null} {NULL} {"a"} {"a":1} [1,2] "" '' '' "" ` ´ ' " ,, , ; ;; : :: | || &
&& % %% %s %d %(name)s %n ${HOME} $HOME $$ $1 $x$ {0} {{7*7}} ${7*7} <%=7*7%> @ @@ @x # ## #! ! !! ~ ~/ ^ ^^ * ** + ++
= == =1+1 =SUM(A1) @SUM(1+1) +1-1 -1+1 ( ) () )( [ ] ][ { } }{ < > <> >< / // /* */ /**/ \' \" "" '''
http://a.b/?c=d&e=f mailto:a@b.c file:///etc/passwd ../../../etc/passwd C:\Windows\System32 CON PRN AUX LPT1 .htaccess
"""

_INJECTIONS = r'''
'; DROP TABLE patients_and_guardians; --
' OR '1'='1
" OR ""="
1;SELECT pg_sleep(10)
'||(SELECT version())||'
$$; DROP SCHEMA public CASCADE; $$
E'\\x41'
U&'\0061'
Robert'); DROP TABLE Students;--
/* comment */ name -- comment
privacy.seal('x', 'y')
%27%20OR%201%3D1
<script>alert('x')</script>
"><img src=x onerror=alert(1)>
<!-- comment -->
<![CDATA[ text ]]>
&amp; &lt; &#39; &#x27; &nbsp;
javascript:alert(1)
{"name": "O'Brien", "quote": "\""}
["a","b",null]
{"a": {"b": [1, 2.0, null, true]}}
[{"unterminated": "
\u0041\ud83d\ude00
"quoted"
"quoted, with comma"
"he said ""hi"""
a"b
a""b
"open
close"
a,b
,lead
trail,
a;b\tc|d
=cmd|'/C calc'!A0
=HYPERLINK("http://example.org","x")
`touch /tmp/x`
$(touch /tmp/x)
; rm -rf /
| cat /etc/passwd
() { :;}; echo vulnerable
%x%x%x%x
{{ config.items() }}
#{1+1}
<?php echo 1; ?>
<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>
*)(uid=*))(|(uid=*
Content-Type: text/html
X-Header: a
--boundary
EOF
BEGIN; COMMIT; ROLLBACK;
COPY x FROM STDIN;
'''

_NAMES = """
O'Brien O’Brien Oʼ`Brien D'Angelo d’Ávila Anne-Marie Jean‑Luc Smith–Jones García Núñez Zoë François Strauß STRAUẞ Müller
Mueller Łukasz Đorđe Þóra Æsa Ægir Œuvre Søren Nguyễn Thị Ngọc-Ánh Đặng Dvořák Çağla İrem Işık ışık IŞIK Iğdır ΟΔΥΣΣΕΥΣ
Οδυσσεύς οδυσσευς Ἀριστοτέλης Иванов ИВАНОВ Ёлкин Елкин Щёголев Ґалаґан Їжак Қазақ Ђорђевић محمد مُحَمَّد إبراهيم ابراهيم
فاطمة فاطمه یوسف يوسف כהן שָׁלוֹם בן־גוריון Մարիամ ՄԱՐԻԱՄ მარიამ ᲛᲐᲠᲘᲐᲛ प्रिया कृष्ण தமிழ் ਸਿੰਘ বাংলা ไทย สมหญิง ລາວ မြန်မာ ខ្មែរ
አበበ ᏣᎳᎩ ꮳꮃꭹ ᐃᓄᒃ 王秀英 欧阳 歐陽 髙橋 高橋 渡邊 渡辺 葛󠄀城 さくら サクラ ｻｸﾗ ガブリエル ジョン・スミス 김서연 남궁민수
𠮷野家 𡈽井 ⼈ 人 ㍿ ﷺ ﬁn ﬃ
Ⅳ ⅳ ½ ² ª º № ™ Ａｎｎａ Å Å A̅ e\u0301 é q̣̇ q̣̇ ṩ ṩ ǆ ǅ Ǆ ŉ ẗ ﬅ K k ſ s µ μ Ω Ω ϐ ϕ ς σ ﭏ
"""

_SENTENCES = """
María José de los Ángeles García Márquez
Jo Ann  Van   Buren
St. John, Jr.
Miguel Ángel (Mike)
José Ñandú / Pérez
X Æ A-12
Dr. Ing. h. c. F. Porsche
Null Null
De'Andre "DJ" Jackson
Μαρία-Ελένη Παπαδοπούλου
Мария-Анна Римская-Корсакова
فاطمة الزهراء بنت محمد
田中　太郎
山田 太郎 (やまだ たろう)
ليلى Smith العربية 123
"""

_EMOJI = (
    "😀",
    "👩\u200d👩\u200d👧\u200d👦",
    "🏳\ufe0f\u200d🌈",
    "👍🏽",
    "🇺🇦🇺🇸",
    "1\ufe0f\u20e3",
    "❤\ufe0f Ada",
    "🧑🏿\u200d⚕\ufe0f Dr Ada",
    "¯\\_(ツ)_/¯",
    "(╯°□°）╯︵ ┻━┻)",
    "ಠ_ಠ",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)

_INVISIBLE = (
    "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
    "\u2060", "\u2061", "\u2066", "\u2067", "\u2068", "\u2069", "\ufeff", "\u00ad", "\u061c", "\u034f",
    "\u180e", "\u2028", "\u2029", "\u0085", "\u00a0", "\u1680", "\u2003", "\u202f", "\u205f", "\u3000",
    "\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\ue000",
    "\U000f0000", "\U000e0001", "\ufe0e", "\ufe0f", "\U000e0100", "\u2062", "\u115f", "\u3164",
)  # fmt: skip

_WHITE_SPACE = (" ", "  ", "\t", "\n", "\r", "\r\n", "\v", "\f", " \t\n", "\n\n", "\t\t")


def strings() -> list[str]:
    """Return the strings, each once, none of them empty."""
    everything = [
        *_LOOKS_LIKE_SOMETHING_ELSE.split(),
        *_INJECTIONS.strip("\n").split("\n"),
        *_NAMES.split(),
        *_SENTENCES.strip("\n").split("\n"),
        *_EMOJI,
        *_controls(),
        *_around(),
        *_marks(),
        *_long(),
        *_forms(),
        '"""',
    ]
    return list(dict.fromkeys(everything))


def _controls() -> list[str]:
    """Return every control character, alone and inside a word."""
    controls = [chr(c) for c in (*range(1, 0x20), *range(0x7F, 0xA0))]
    return [text for c in controls for text in (c, f"An{c}na")]


def _around() -> list[str]:
    """Return white space and invisible characters alone, before, behind and inside a name."""
    return [text for c in (*_WHITE_SPACE, *_INVISIBLE) for text in (c, f"{c}Ada", f"Ada{c}", f"Love{c}lace")]


def _marks() -> list[str]:
    """Return combining marks where they belong, where they do not, and too many of them."""
    return [
        "\u0301",
        "\u0301a",
        "a\u0301\u0323",
        "a\u0323\u0301",
        "Z" + "\u0300\u0316\u0321\u0334\u0489" * 20 + "algo",
        "\u0b95\u0bcd\u0bb7\u0bcd",
        "か\u3099",
        "\u1112\u1161\u11ab",
        "\u064b\u064c",
        "אְַ",
    ]


def _long() -> list[str]:
    """Return the longest that the columns of the plan hold, and one more."""
    return [
        *(letter * length for letter in ("a", "é", "字", "😀", "'", '"', "\\") for length in (50, 255, 256)),
        "ab " * 85,
        "-" * 255,
        "x" * 3000,
        "(" * 200,
    ]


def _forms() -> list[str]:
    """Return names in every normalisation form: none may be turned into another."""
    names = ("Ångström", "Việt Dũng", "각", "ẛ̣", "ガブリエラ", "שּׁ", "ﷲ", "½ Ⅷ ﬁ", "é̂")
    return [unicodedata.normalize(form, name) for name in names for form in ("NFC", "NFD", "NFKC", "NFKD")]
