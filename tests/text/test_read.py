"""Documents, and every way in which a file or a text can fail to be one."""

import sys
from pathlib import Path

import pytest

from worldswitch.errors import InputError
from worldswitch.text.read import LIMIT, load, loads
from worldswitch.text.scan import MAX_DEPTH

SCENARIO = """\
format = 1

[vmcb]
intercepts = [
    "intr",
    "nmi",
]

[expect.path."linux-6.14"]
findings = []
"""


def refused(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        loads(text, "f.toml")
    return caught.value


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(SCENARIO)
    document = load(file)
    assert document.data == {
        "format": 1,
        "vmcb": {"intercepts": ["intr", "nmi"]},
        "expect": {"path": {"linux-6.14": {"findings": []}}},
    }
    assert (document.file, document.text) == (str(file), SCENARIO)
    assert load(str(file)) == document


def test_an_error_names_file_line_and_field() -> None:
    document = loads(SCENARIO, "f.toml")
    error = document.error("no such intercept", ("vmcb", "intercepts", 1))
    assert str(error) == "f.toml:6: vmcb.intercepts[1]: no such intercept"
    error = document.error("unknown field", ("expect", "path", "linux-6.14", "findigs"))
    assert str(error) == 'f.toml:9: expect.path."linux-6.14".findigs: unknown field'
    assert str(document.error("wants [host]")) == "f.toml: wants [host]"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("format",), 1),
        (("vmcb",), 3),
        (("vmcb", "intercepts", 1), 6),
        (("vmcb", "intercepts", 7), 4),
        (("vmcb", "int_state"), 3),
        (("guest", "program"), 0),
        ((), 0),
    ],
)
def test_a_line_is_that_of_the_nearest_key(path: tuple[str | int, ...], line: int) -> None:
    assert loads(SCENARIO).line(path) == line


class TestFiles:
    def test_one_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"gone\.toml: cannot be read: No such file or directory$"):
            load(tmp_path / "gone.toml")

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
            load(tmp_path)

    @pytest.mark.skipif(sys.platform != "linux", reason="a file that opens and cannot be read")
    def test_one_that_fails_while_it_is_read(self) -> None:
        with pytest.raises(InputError, match=r"^/proc/self/mem: cannot be read: Input/output error$"):
            load("/proc/self/mem")

    def test_a_name_that_no_file_can_have(self) -> None:
        with pytest.raises(InputError, match=r"cannot be read: embedded null byte$"):
            load("a\0b")

    def test_a_name_that_would_break_the_line(self) -> None:
        with pytest.raises(InputError) as caught:
            load("no\nsuch\x1b[31m")
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(("size", "is_read"), [(100, True), (101, False)])
    def test_the_limit(self, tmp_path: Path, size: int, is_read: bool) -> None:
        file = tmp_path / "a.toml"
        file.write_bytes(b"#" * size)
        if is_read:
            assert load(file, limit=100).data == {}
        else:
            with pytest.raises(InputError, match=r"a\.toml: larger than the 100 bytes that are read$"):
                load(file, limit=100)

    @pytest.mark.skipif(sys.platform != "linux", reason="a file without an end")
    def test_one_without_an_end(self) -> None:
        with pytest.raises(InputError, match=f"^/dev/zero: larger than the {LIMIT} bytes"):
            load("/dev/zero")

    def test_one_that_is_not_utf_8(self, tmp_path: Path) -> None:
        file = tmp_path / "a.toml"
        file.write_bytes(b"# one\n# two\nabout = 'caf\xe9'\n")
        with pytest.raises(InputError, match=r"a\.toml:3: not UTF-8: byte 0xe9 at offset 24$"):
            load(file)

    def test_one_cut_within_a_character(self, tmp_path: Path) -> None:
        file = tmp_path / "a.toml"
        file.write_bytes("about = 'é'".encode()[:-2])
        with pytest.raises(InputError, match=r"a\.toml:1: not UTF-8: byte 0xc3 at offset 9$"):
            load(file)


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("a = 1\n\0", 2, "NUL"),
        ("\ufeffa = 1", 1, "byte order mark"),
        ("a = 1\nb = '\ud800'", 2, "U+D800"),
        ("# \x07\n", 1, r"'\x07'"),
    ],
)
def test_characters_that_have_no_place_in_a_text(text: str, line: int, complaint: str) -> None:
    error = refused(text)
    assert error.line == line
    assert complaint in error.message


@pytest.mark.parametrize(
    ("text", "line", "field", "complaint"),
    [
        ("\nx = foo\n", 2, "x", "strings need quotes"),
        ("[cpu]\nsvme = True\n", 2, "cpu.svme", "true and false"),
        ("x = [\n1,\n[2, foo]]", 3, "x[1]", "strings need quotes"),
        ("x = ['a' 'b']", 1, "x", "',' or ']'"),
        ("x = { a = 1\n}", 1, "x", "must end on the line"),
        ("x = { a = { b = foo } }", 1, "x.a.b", "strings need quotes"),
        ("x = 1 2\n", 1, "x", "more text where the line should end"),
        ("[a] b\n", 1, "a", "more text where the line should end"),
        ("\nx = 'abc\n\ny = 1\n", 2, "x", "without its closing quote on its line"),
        ('x = "abc\n', 1, "x", "without its closing quote on its line"),
        ('x = "\\q"', 1, "x", r"write a backslash as \\"),
        ('x = "\\u12"', 1, "x", "four hexadecimal digits"),
        ('x = "\\ud800"', 1, "x", "no Unicode character"),
        ("x\ny = 1\n", 1, "x", "expected '=' after the key"),
        ("= 1\n", 1, "", "neither a key"),
        ("a..b = 1", 1, "", "expected a key"),
        ("[a\n", 1, "", "expected ']' after"),
        ("[[a]\n", 1, "", "expected ']]' after"),
    ],
)
def test_text_that_is_not_toml(text: str, line: int, field: str, complaint: str) -> None:
    error = refused(text)
    assert (error.line, error.field) == (line, field)
    assert complaint in error.message


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("x =", 1, "x"),
        ("x = [1,\n2,\n", 1, "x"),
        ("a = 1\nx = { y = [1,\n2", 2, "x.y"),
        ("x = '''\na\nb\n", 1, "x"),
        ('x = """\na\nb\n', 1, "x"),
        ('x = "abc', 1, "x"),
    ],
)
def test_text_that_was_cut_off(text: str, line: int, field: str) -> None:
    error = refused(text)
    assert (error.line, error.field) == (line, field)
    assert error.message == "this value does not end before the text does"


@pytest.mark.parametrize(
    ("text", "line", "field", "complaint"),
    [
        ("a = 1\n\na = [\n2]\n", 3, "a", "the first is on line 1"),
        ("[a]\n[b]\n[a]\n", 3, "a", "the first is on line 1"),
        ("x = { a = 1, b = 2, a = [3] }", 1, "x.a", "the first is on line 1"),
        ("a = 1\n[a.b]\n", 2, "a.b", "conflicts with a on line 1"),
        ("[[a]]\n[a]\n", 2, "a", "conflicts with a[0] on line 1"),
        ("[a]\n[[a]]\n", 2, "a[0]", "conflicts with a on line 1"),
        ("a.b.c = 1\na.b = 2\n", 2, "a.b", "conflicts with a.b.c on line 1"),
        ("a = { b = 1 }\n[x]\n[a]\n", 3, "a", "the first is on line 1"),
        ("[a]\nx.y = 1\n[a.x]\n", 3, "a.x", "conflicts with a.x.y on line 2"),
        ("a = 1\n[a", 2, "", "given a second time"),
    ],
)
def test_a_key_given_twice(text: str, line: int, field: str, complaint: str) -> None:
    error = refused(text)
    assert (error.line, error.field) == (line, field)
    assert complaint in error.message


class TestHostileText:
    """Each of these takes a reader that is not on its guard minutes, all memory, or the whole stack."""

    @pytest.mark.parametrize(
        "text",
        [
            "\na = " + "[" * 500_000,
            "\na = " + "{ a = " * 170_000,
            "\n" + "a." * 500_000 + "b = 1",
            "\n[" + "a." * 500_000 + "b]",
            "\na = {" + "a." * 500_000 + "b = 1}",
            "\na = " + "[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1),
        ],
        ids=["arrays", "inline tables", "dotted key", "header", "dotted inline key", "one level too many"],
    )
    def test_nesting(self, text: str) -> None:
        error = refused(text)
        assert (error.line, error.message) == (2, f"nested more than {MAX_DEPTH} levels deep")

    def test_the_deepest_nesting_is_read(self) -> None:
        document = loads("a = " + "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
        assert document.line(("a", *[0] * (MAX_DEPTH - 1))) == 1

    def test_a_caller_deep_in_recursion(self) -> None:
        def descend(levels: int) -> None:
            if levels:
                descend(levels - 1)
            else:
                loads("a = " + "[" * 30 + "]" * 30, "f.toml")

        found: set[str] = set()
        for levels in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit() - 20, 2):
            try:
                descend(levels)
            except InputError as error:
                found.add(str(error))
            except RecursionError:
                break  # not even loads itself could be called
        assert found == {"f.toml: nested too deeply to be read"}

    @pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 1_000_000])
    def test_an_endless_number(self, digits: str) -> None:
        error = refused(f"a = 1\n[b]\nc = [{digits}]\n")
        assert (error.line, error.field) == (3, "b.c[0]")
        assert error.message == f"a number or word of {len(digits)} characters"

    @pytest.mark.parametrize(
        ("digits", "is_read"),
        [
            (str((1 << 64) - 1), True),
            (str(1 << 64), False),
            (str(-(1 << 63)), True),
            (str(-(1 << 63) - 1), False),
            ("0xffff_ffff_ffff_ffff", True),
            ("0x1_0000_0000_0000_0000", False),
            ("0b" + "1" * 64, True),
        ],
    )
    def test_the_range_of_integers(self, digits: str, is_read: bool) -> None:
        text = f"a = [{{ b = {digits} }}]\n"
        if is_read:
            assert loads(text).data == {"a": [{"b": int(digits, 0)}]}
        else:
            error = refused(text)
            assert (error.line, error.field, error.message) == (1, "a[0].b", "integer wider than 64 bits")

    def test_an_endless_key_stays_out_of_the_message(self) -> None:
        assert len(str(refused("k" * 1_000_000 + " = foo"))) < 200

    @pytest.mark.parametrize(
        "text",
        ['a = "' + "\\\\" * 500_000, 'a = """' + '""\\n' * 250_000, '"' + "\\n" * 500_000, "a = '''" + "''x" * 300_000],
        ids=["string", "multi-line string", "key", "multi-line literal"],
    )
    def test_quotes_that_never_close(self, text: str) -> None:
        assert refused(text).line == 1
