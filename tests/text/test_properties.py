"""What holds for every document: laid out by hand, written by us, or broken."""

import tomllib
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.text.documents import Layout, layouts, paths_of, same, styles, tables

from worldswitch.errors import InputError
from worldswitch.text.comments import comments
from worldswitch.text.locate import line_of, locate
from worldswitch.text.read import loads
from worldswitch.text.scan import Kind, scan
from worldswitch.text.write import Style, dumps

checked = settings(max_examples=60, deadline=None)
soup = st.text(alphabet="ab.=[]{}\"'\\\n\t #,01xu-+:TZ\r\0é", max_size=40)


@checked
@given(layouts())
def test_every_path_is_found_on_its_line(layout: Layout) -> None:
    document = loads(layout.text)
    assert same(document.data, layout.data)
    assert sorted(map(repr, layout.lines)) == sorted(map(repr, paths_of(layout.data)))
    assert locate(layout.text) == layout.lines


@checked
@given(layouts())
def test_windows_line_ends_change_nothing(layout: Layout) -> None:
    text = layout.text.replace("\n", "\r\n")
    assert same(loads(text).data, layout.data)
    assert locate(text) == layout.lines
    assert comments(text) == comments(layout.text)


@checked
@given(layouts(), styles(), st.integers(0, 120))
def test_no_comment_is_lost_by_formatting(layout: Layout, style: Style, width: int) -> None:
    data = loads(layout.text).data
    written = dumps(data, style=style, comments=comments(layout.text), width=width)
    assert same(loads(written).data, data)
    assert Counter(_comments_in(written)) == Counter(layout.comments)
    assert dumps(loads(written).data, style=style, comments=comments(written), width=width) == written


@checked
@given(layouts(), st.data())
def test_no_comment_is_lost_where_the_data_changed(layout: Layout, drawn: st.DataObject) -> None:
    names = list(layout.data)
    kept = drawn.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    written = dumps({name: layout.data[name] for name in kept}, comments=comments(layout.text))
    assert Counter(_comments_in(written)) == Counter(layout.comments)


@checked
@given(tables, styles(), st.integers(0, 120))
@example({"a": {"b": [{"c": [[]]}]}}, Style(), 0)
def test_written_data_is_read_back_exactly(data: dict[str, object], style: Style, width: int) -> None:
    written = dumps(data, style=style, width=width)
    document = loads(written)
    assert same(document.data, data)
    assert dumps(document.data, style=style, width=width) == written
    assert locate(written).keys() == set(paths_of(data))


@checked
@given(soup)
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    _check_read_or_refused(text)


@checked
@given(layouts(), st.data())
def test_a_damaged_document_is_read_or_refused_in_one_line(layout: Layout, drawn: st.DataObject) -> None:
    start = drawn.draw(st.integers(0, len(layout.text)))
    stop = drawn.draw(st.integers(start, min(start + 6, len(layout.text))))
    _check_read_or_refused(layout.text[:start] + drawn.draw(soup) + layout.text[stop:])


@checked
@given(layouts(), st.data())
def test_a_truncated_document_is_read_or_refused_in_one_line(layout: Layout, drawn: st.DataObject) -> None:
    _check_read_or_refused(layout.text[: drawn.draw(st.integers(0, len(layout.text)))])


def _comments_in(text: str) -> list[str]:
    return [mark.text for mark in scan(text) if mark.kind is Kind.COMMENT]


def _check_read_or_refused(text: str) -> None:
    last = text.count("\n") + 1
    try:
        document = loads(text, "f.toml")
    except InputError as error:
        refused = error
    else:
        assert same(document.data, tomllib.loads(text))
        lines = locate(text)
        assert lines.keys() == set(paths_of(document.data))
        assert all(1 <= line <= last for line in lines.values())
        assert line_of(lines, ()) == 0
        assert same(loads(dumps(document.data, comments=comments(text))).data, document.data)
        return
    assert str(refused).isprintable()
    assert refused.file == "f.toml"
    assert 1 <= refused.line <= last
