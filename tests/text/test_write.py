"""The canonical form, by example."""

from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any

import pytest

from worldswitch.text.comments import Comments, Note, comments
from worldswitch.text.read import loads
from worldswitch.text.spell import block, dotted, key, string
from worldswitch.text.write import Style, dumps


def formatted(text: str, **options: Any) -> str:
    return dumps(loads(text).data, comments=comments(text), **options)


def test_values_come_before_tables_and_tables_have_headers() -> None:
    data = {
        "expect": {"path": {"linux-6.14": {"findings": []}}},
        "event": [{"kind": "nmi", "more": {"x": 1}}, {}],
        "format": 1,
        "cpu": {"empty": {}, "svme": True},
    }
    assert (
        dumps(data)
        == """\
format = 1

[expect.path."linux-6.14"]
findings = []

[[event]]
kind = "nmi"

[event.more]
x = 1

[[event]]

[cpu]
svme = true

[cpu.empty]
"""
    )


def test_keys_stand_in_the_order_of_the_style() -> None:
    orders = {(): ["format", "cpu", "event"], ("event", 0): ["kind", "at"], ("cpu", "dr"): ["b", "a"]}
    style = Style(key_order=lambda path: orders.get(path, ()), inline=lambda path: path == ("cpu", "dr"))
    data = {
        "event": [{"other": 1, "at": "cli", "kind": "nmi"}],
        "zeta": {},
        "cpu": {"dr": {"a": 1, "b": 2}},
        "alpha": 2,
        "format": 1,
    }
    assert (
        dumps(data, style=style)
        == """\
format = 1
alpha = 2

[cpu]
dr = { b = 2, a = 1 }

[[event]]
kind = "nmi"
at = "cli"
other = 1

[zeta]
"""
    )


def test_arrays_of_tables_may_be_inline() -> None:
    data = {"exits": [{"code": "npf", "nested": {"a": []}}, {}]}
    style = Style(inline=lambda path: path == ("exits",))
    assert dumps(data, style=style) == 'exits = [{ code = "npf", nested = { a = [] } }, {}]\n'


def test_an_array_breaks_where_it_does_not_fit() -> None:
    data = {"program": ["clgi", "vmrun"]}
    line = 'program = ["clgi", "vmrun"]'
    assert dumps(data, width=len(line)) == line + "\n"
    assert dumps(data, width=len(line) - 1) == 'program = [\n    "clgi",\n    "vmrun",\n]\n'


def test_an_inner_array_breaks_only_where_it_does_not_fit() -> None:
    # The second element takes 4 + 11 + 1 columns.
    data = {"a": [[1, 2], [1, 2, 3, 4]]}
    assert dumps(data, width=17) == "a = [\n    [1, 2],\n    [1, 2, 3, 4],\n]\n"
    broken = "a = [\n    [1, 2],\n    [\n        1,\n        2,\n        3,\n        4,\n    ],\n]\n"
    assert dumps(data, width=16) == broken


def test_integers_in_hex() -> None:
    digits = {("a",): 8, ("b",): 2, ("c", 0): 0}
    style = Style(hex_digits=lambda path: digits.get(path))
    data = {"a": 0x68, "b": 0x1234, "c": [0xAB, 0xAB], "d": True}
    assert dumps(data, style=style) == "a = 0x00000068\nb = 0x1234\nc = [0xab, 171]\nd = true\n"
    assert dumps({"a": -1, "b": True}, style=style) == "a = -1\nb = true\n"


def test_long_texts_stand_on_their_own_lines_where_the_style_says_so() -> None:
    style = Style(literal=lambda path: path == ("listing",))
    assert dumps({"listing": "clgi\n\tvmrun\n", "about": "a\nb"}, style=style) == (
        "listing = '''\nclgi\n\tvmrun\n'''\nabout = \"a\\nb\"\n"
    )
    assert dumps({"listing": "one line"}, style=style) == 'listing = "one line"\n'


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\n\\\"b'", "'''\na\n\\\"b''''"),
        ("a'''b\n", '"""\na\'\'\'b\n"""'),
        ('a\r\n\x07\\"', '"""\na\\r\n\\u0007\\\\\\""""'),
    ],
)
def test_a_block_is_literal_only_if_it_can_be(text: str, written: str) -> None:
    expected = written if not text.endswith("'") else '"""\na\n\\\\\\"b\'"""'
    assert block(text) == expected
    assert loads(f"a = {block(text)}").data == {"a": text}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain é #", '"plain é #"'),
        ('"\\', r'"\"\\"'),
        ("\b\t\n\f\r", r'"\b\t\n\f\r"'),
        ("\x00\x1f\x7f\x85", r'"\u0000\u001f\u007f\u0085"'),
        ("\u202e\u2066\ufeff\u2028\u200b", r'"\u202e\u2066\ufeff\u2028\u200b"'),
        ("\U0001f600", '"\U0001f600"'),
    ],
)
def test_strings(text: str, written: str) -> None:
    assert string(text) == written
    assert loads(f"a = {written}").data == {"a": text}


@pytest.mark.parametrize(
    ("name", "written"),
    [("svme", "svme"), ("0x68", "0x68"), ("a-b_C", "a-b_C"), ("linux-6.14", '"linux-6.14"'), ("", '""'), ("é", '"é"')],
)
def test_keys(name: str, written: str) -> None:
    assert key(name) == written


def test_key_paths_for_people() -> None:
    assert dotted(("expect", "path", "linux-6.14", "exits", 0, "code")) == 'expect.path."linux-6.14".exits[0].code'
    assert dotted(()) == ""
    assert dotted(("k" * 1000,)) == '"' + "k" * 57 + '..."'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e300, "1e+300"),
        (float("-inf"), "-inf"),
        (datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC), "2025-02-03T04:05:06+00:00"),
        (time(1, 2), "01:02:00"),
    ],
)
def test_other_scalars(value: object, written: str) -> None:
    assert dumps({"a": value}) == f"a = {written}\n"


@pytest.mark.parametrize("value", [None, b"", {1}, 1j, [None]])
def test_what_toml_has_no_type_for(value: object) -> None:
    with pytest.raises(TypeError):
        dumps({"a": value})


def test_a_key_that_is_no_string() -> None:
    with pytest.raises(TypeError):
        dumps({1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value",
    [
        1 << 64,
        -(1 << 63) - 1,
        "\ud800",
        time(1, tzinfo=UTC),
        datetime(2025, 1, 1, tzinfo=timezone(timedelta(seconds=30))),
    ],
)
def test_what_toml_cannot_hold(value: object) -> None:
    with pytest.raises(ValueError, match=r"wider|surrogates|TOML has no"):
        dumps({"a": value})


def test_comments_stay_with_what_they_are_about() -> None:
    text = """\
# Licence

[cpu]#the processor
list = [1,2, #two
  # closing
  ]
svme=true      # one
# about the title


# of it
[about]
[last]
a.b = 1
# the end"""
    style = Style(key_order=lambda path: ["about", "svme"])
    assert (
        formatted(text, style=style)
        == """\
# Licence

# about the title

# of it
[about]

[cpu]  #the processor
svme = true  # one
list = [
    1,
    2,  #two
    # closing
]

[last.a]
b = 1
# the end
"""
    )


def test_comments_of_what_is_now_inline_come_before_it() -> None:
    text = "[a]  # 1\n# 2\nb = 1  # 3\n[[c]]  # 4\n[[c]]\nd = 1  # 5\n"
    assert formatted(text, style=Style(inline=lambda path: True)) == (
        "# 2\n# 3\na = { b = 1 }  # 1\nc = [\n    {},  # 4\n    # 5\n    { d = 1 },\n]\n"
    )


def test_comments_of_what_now_has_a_header_stay() -> None:
    text = "# 1\na = { b = [1, # 2\n] }  # 3\n# 4\nc = [{},  # 5\n# 6\n]  # 7\n"
    assert formatted(text) == "# 1\n[a]  # 3\nb = [\n    1,  # 2\n]\n\n# 4\n# 7\n# 6\n[[c]]  # 5\n"


def test_a_table_without_values_keeps_a_header_that_has_a_comment() -> None:
    assert formatted("[a]\n[a.b]\nc = 1\n") == "[a.b]\nc = 1\n"
    assert formatted("[a]  # why\n[a.b]\nc = 1\n") == "[a]  # why\n\n[a.b]\nc = 1\n"


def test_comments_of_what_is_gone_are_kept_nearby() -> None:
    found = comments("a = 1  # 1\n[b]\nc = 1  # 2\nd = [1,  # 3\n]\n")
    assert dumps({"b": {"d": []}}, comments=found) == "# 2\n[b]\n# 3\nd = []\n# 1\n"


def test_comments_of_an_array_that_is_none_any_more_are_kept() -> None:
    found = comments("# 1\na = [\n    2,\n    # 3\n]  # 4\n")
    assert dumps({"a": 5}, comments=found) == "# 1\n# 3\na = 5  # 4\n"


def test_blank_lines_only_set_off_comments_from_what_is_above() -> None:
    text = "a = 1\n\nb = 2\n\n\n# c\nc = 3\n[t]\n\n# d\nd = [\n\n# 1\n1,\n\n# 2\n2]\n"
    assert formatted(text) == ("a = 1\nb = 2\n\n# c\nc = 3\n\n[t]\n# d\nd = [\n    # 1\n    1,\n\n    # 2\n    2,\n]\n")


def test_only_comments_are_a_text_too() -> None:
    assert formatted("\n# a\n\n\n# b") == "# a\n\n# b\n"
    assert formatted("") == ""


def test_comments_may_be_made() -> None:
    made = Comments(head=("# made",), notes={("a",): Note(after="# one")})
    assert dumps({"a": 1}, comments=made) == "# made\n\na = 1  # one\n"
