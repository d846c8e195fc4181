"""Bad scenario files: one clear line with file, line and field, and never another exception."""

from typing import Any

import pytest

from worldswitch.errors import InputError
from worldswitch.scenario.fields import FIELDS, Field
from worldswitch.scenario.read import read_text

FILE = "bad.toml"
GOOD = 'format = 1\nhost.path = "linux-6.1"\n'

WRONG = [
    "1.5",
    "nan",
    "{}",
    "[[]]",
    "[{}]",
    "[1.5]",
    "1979-05-27",
    "07:32:00",
    '""',
    '"no such"',
    "-1",
    "-9223372036854775808",
]
"""Values that no field takes."""

HOSTILE = {
    "empty": "",
    "a byte order mark": "\ufeff" + GOOD,
    "NUL": GOOD + "about = 'x\0'",
    "a surrogate": GOOD + "about = '\ud800'",
    "carriage returns alone": GOOD.replace("\n", "\r"),
    "an unclosed string": GOOD + 'about = "x',
    "an unclosed array": GOOD + "cpu.pending = [",
    "an unclosed table": GOOD + "[cpu",
    "a key twice": GOOD + 'about = "x"\nabout = "y"',
    "a table twice": GOOD + "[cpu]\n[cpu]",
    "deep arrays": GOOD + "about = " + "[" * 100_000 + "]" * 100_000,
    "deep inline tables": GOOD + "about = " + "{a=" * 100_000 + "1" + "}" * 100_000,
    "a deep key": GOOD + "a." * 100_000 + "b = 1",
    "a deep header": GOOD + "[" + "a." * 100_000 + "b]",
    "a long number": GOOD + "cpu.rax = " + "9" * 100_000,
    "a long number in a string": GOOD + "cpu.rax = '" + "9" * 100_000 + "'",
    "65 bits": GOOD + "cpu.rax = 0x10000000000000000",
    "65 bits in a string": GOOD + 'cpu.rax = "0x10000000000000000"',
    "a negative register": GOOD + "cpu.rax = -1",
    "a long place": GOOD + "[[event]]\nkind = 'nmi'\nat = 'vmrun@" + "9" * 5000 + "'",
    "a far place": GOOD + "[[event]]\nkind = 'nmi'\nat = 'vmrun+" + "9" * 5000 + "'",
    "a long vector": GOOD + "guest.idt.'" + "9" * 5000 + "' = 'npf'",
    "a long guest place": GOOD + "guest.rip = 'guest+" + "9" * 5000 + "'",
    "a superscript digit": GOOD + 'guest.rip = "guest+²"',
    "a megabyte of events": GOOD + "[[event]]\n" * 100_000,
    "a megabyte of one program": GOOD + "guest.program = [" + "'nop', " * 130_000 + "]",
    "too many events": GOOD + '[[event]]\nkind = "nmi"\nat = "sti"\n' * 65,
    "a vector twice": GOOD + 'guest.idt = { 0x68 = "npf", 104 = "gp" }',
    "a nested array for a word": GOOD + 'cpu.dr7 = [["l0"]]',
    "an unknown path": 'format = 1\nhost.path = ["linux-6.1"]',
    "both path and program": 'format = 1\nhost = { path = "linux-6.1", program = [] }',
    "a label that is no landmark": 'format = 1\nhost.program = ["here: nop"]',
    "a guest that sets the host": GOOD + "guest.program = ['set']",
    "a format of tomorrow": 'format = 2\nhost.path = "linux-6.1"',
    "true for a format": 'format = true\nhost.path = "linux-6.1"',
}


def complaint(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        read_text(text, FILE)
    return caught.value


def check_form(error: InputError) -> None:
    assert error.file == FILE
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_clear_line(name: str) -> None:
    check_form(complaint(HOSTILE[name]))


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_refuses_what_it_cannot_be(field: Field, value: str) -> None:
    text = GOOD + f"\n# a comment\n{field.name} = {value}\n"
    if takes(field, value):
        read_text(text, FILE)
        return
    error = complaint(text)
    check_form(error)
    assert error.line == 5
    assert error.field.startswith(field.name)


def takes(field: Field, value: str) -> bool:
    """Lists may be empty where they are given as a string."""
    return value == '""' and field.name == "vmcb.intercepts"


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (GOOD + "\nspeed = 3", 4, "speed"),
        (GOOD + "[cpu]\nspeed = 3", 4, "cpu.speed"),
        (GOOD + "[options]\n\nspeed = 3", 5, "options.speed"),
        (GOOD + '[options]\nbleed_sti_shadow = "maybe"', 4, "options.bleed_sti_shadow"),
        (GOOD + "[host.colour]", 3, "host.colour"),
        (GOOD + '[guest]\nprogram = [\n"nop",\n"nup"]', 6, "guest.program[1]"),
        (GOOD + '[guest.idt]\n0x0e = "ok"\n0x100 = "ok"', 5, "guest.idt.0x100"),
        (GOOD + '[[event]]\nkind = "nmi"\nat = "sti"\n[[event]]\nkind = "nmi"\nat = "never"', 8, "event[1].at"),
        (GOOD + '[[event]]\nkind = "nmi"\nat = "sti"\nvector = 3', 6, "event[0].vector"),
        (GOOD + "[expect]\nexits = [\n{ code = 1 },\n{ colour = 1 }]", 6, "expect.exits[1].colour"),
        (GOOD + '[expect.profile.intel]\nfindings = []', 3, "expect.profile.intel"),
        (GOOD + '[expect.options."x=y"]\nfindings = []', 3, 'expect.options."x=y"'),
    ],
)  # fmt: skip
def test_the_line_and_the_field_are_named(text: str, line: int, field: str) -> None:
    error = complaint(text)
    assert (error.file, error.line, error.field) == (FILE, line, field)


@pytest.mark.parametrize("value", [3, 1.5, True, [], {}])
@pytest.mark.parametrize("key", ["about", "profile", "options", "cpu", "host", "guest", "event", "expect"])
def test_top_level_keys_refuse_wrong_types(key: str, value: Any) -> None:
    written = {"True": "true"}.get(str(value), str(value))
    text = f"format = 1\n{key} = {written}\n" + ("" if key == "host" else 'host.path = "linux-6.1"\n')
    fits = (isinstance(value, dict) and key not in ("about", "profile", "host", "event")) or (
        value == [] and key == "event"
    )
    if fits:
        read_text(text, FILE)
    else:
        error = complaint(text)
        check_form(error)
        assert error.field.startswith(key)
