import pytest

from worldswitch.rules.facts import known_ids
from worldswitch.rules.ids import cited, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the quirk (S2-70).", ["S2-70"]),
        ("S2-70, T-120 and I-04", ["S2-70", "T-120", "I-04"]),
        ("S8-60..63", ["S8-60", "S8-61", "S8-62", "S8-63"]),
        ("S8-60..S8-63", ["S8-60", "S8-61", "S8-62", "S8-63"]),
        ("S8-60 to S8-63", ["S8-60", "S8-61", "S8-62", "S8-63"]),
        ("S8-60 to\n# S8-62", ["S8-60", "S8-61", "S8-62"]),
        ("S8-60\u201362", ["S8-60", "S8-61", "S8-62"]),
        ("S6-99..S6-102", ["S6-99", "S6-100", "S6-101", "S6-102"]),
        ("S2-10..S2-20", ["S2-10", "S2-20"]),
        ("S6-61/70", ["S6-61", "S6-70"]),
        ("S8-63/64/67", ["S8-63", "S8-64", "S8-67"]),
        ("S2-59/S8-91", ["S2-59", "S8-91"]),
        ("S10-2x", [f"S10-{n}" for n in range(20, 30)]),
        ("S2-70 to S3-01", ["S2-70", "S3-01"]),
        ("S2-70..S3-01", ["S2-70", "S3-01"]),
        ("T-122..124", ["T-122", "T-123", "T-124"]),
        ("S2-70 .. " + "9" * 5000, ["S2-70"]),
        ("from S2-70 to 5 instructions", ["S2-70"]),
        ("S9-98", ["S9-98"]),
        ("S9-97..S9-99", ["S9-97", "S9-99"]),
    ],
)
def test_citations_and_ranges(text: str, expected: list[str]) -> None:
    assert [name for _, name in cited(text, known_ids())] == expected


@pytest.mark.parametrize(
    "text", ["XS2-70", "CVE-2018-8897", "S1-xx", "T-1", "I-4", "T-1200", "S2-70th", "AS-2-70", "sections 3-5"]
)
def test_text_that_only_resembles_a_citation(text: str) -> None:
    assert not list(cited(text, known_ids()))


def test_offsets_point_at_the_citation() -> None:
    text = "a S2-70 b S8-60..61"
    assert [(offset, name) for offset, name in cited(text, known_ids())] == [(2, "S2-70"), (10, "S8-60"), (10, "S8-61")]


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("s2-70", "S2-70"),
        (" S2-1 ", "S2-01"),
        ("t-1", "T-001"),
        ("i-4", "I-04"),
        ("S6-100", "S6-100"),
        ("quirk", "QUIRK"),
    ],
)
def test_normalise(typed: str, canonical: str) -> None:
    assert normalise(typed) == canonical
