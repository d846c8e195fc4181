import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from worldswitch.rules.citations import CODE, MENTION, PACKAGE, SCENARIO, SEED, TEST, citations, package_sources
from worldswitch.rules.evidence import evidence, places

Checkout = Callable[[dict[str, str]], Path]

SOURCE = dedent(
    '''\
    """Module: S2-01."""

    # S2-02 belongs to the value below
    LIMIT = 1
    """So does S2-03."""

    WORD: int = 2  # S2-04

    OTHER.attribute = 3  # S2-05 has no name around it


    # S2-06: above the decorator
    @decorate("S2-07")
    def outer(argument):
        """S2-08."""
        value = 1  # S2-09: a local value is no place of its own

        def inner():
            return value  # S2-10

        return inner


    class Thing:
        """S2-20."""

        FIELD = 1  # S2-21

        async def method(self):
            pass  # S2-22


    # S2-23 stands alone

    if LIMIT:
        pass  # S2-24
    '''
)


def in_tests(checkout: Path, *wanted: str) -> list[tuple[str, str, str]]:
    """What the files of a checkout cite: id, kind, place."""
    inside = ("tests/", "corpus/")
    return [(c.id, c.kind, str(c)) for c in citations(wanted or None, checkout) if c.file.startswith(inside)]


def test_a_citation_belongs_to_the_innermost_function_class_or_value(make_checkout: Checkout) -> None:
    checkout = make_checkout({"tests/core/test_x.py": SOURCE})
    found = {c.id: c for c in citations(None, checkout) if c.file == "tests/core/test_x.py"}
    assert {name: c.place for name, c in found.items()} == {
        "S2-01": "",
        "S2-02": "LIMIT",
        "S2-03": "LIMIT",
        "S2-04": "WORD",
        "S2-05": "",
        "S2-06": "outer",
        "S2-07": "outer",
        "S2-08": "outer",
        "S2-09": "outer",
        "S2-10": "outer.inner",
        "S2-20": "Thing",
        "S2-21": "Thing.FIELD",
        "S2-22": "Thing.method",
        "S2-23": "",
        "S2-24": "",
    }
    lines = SOURCE.splitlines()
    assert all(name in lines[c.line - 1] for name, c in found.items())


def test_source_that_does_not_parse_still_counts(make_checkout: Checkout) -> None:
    checkout = make_checkout({"tests/test_x.py": "def broken(:\n    S2-70\n"})
    assert in_tests(checkout) == [("S2-70", TEST, "tests/test_x.py")]


def test_what_counts_as_a_test(make_checkout: Checkout) -> None:
    checkout = make_checkout(
        {
            "tests/test_a.py": "def test_one(): 'S2-70'\n",
            "tests/helper.py": "def helper(): 'S2-70'\n",
            "tests/rules/test_facts.py": "def test_two(): 'S2-70'\n",
            "tests/scenarios/asserting.toml": "# S2-70\n[expect]\n",
            "tests/scenarios/silent.toml": "# S2-70\n",
            "corpus/path/asserting.toml": 'about = "S2-70"\n[expect.path."linux-6.1"]\n',
            "corpus/seed.toml": 'about = "S2-70, but [expect] nothing"\n',
            "docs/page.toml": "# S2-70\n[expect]\n",
        }
    )
    assert in_tests(checkout) == [
        ("S2-70", SCENARIO, "tests/scenarios/asserting.toml"),
        ("S2-70", SEED, "tests/scenarios/silent.toml"),
        ("S2-70", TEST, "tests/test_a.py: test_one"),
        ("S2-70", SCENARIO, "corpus/path/asserting.toml"),
        ("S2-70", SEED, "corpus/seed.toml"),
    ]


def test_a_scenario_file_may_name_its_row_in_its_name(make_checkout: Checkout) -> None:
    checkout = make_checkout(
        {"tests/scenarios/t-120-bleed.toml": "[expect]\n", "tests/scenarios/int-122.toml": "[expect]\n"}
    )
    assert in_tests(checkout) == [("T-120", SCENARIO, "tests/scenarios/t-120-bleed.toml")]


def test_only_the_wanted_ids(make_checkout: Checkout) -> None:
    checkout = make_checkout({"tests/test_a.py": "# S8-60..62 and T-120\n"})
    assert [name for name, _, _ in in_tests(checkout, "S8-61", "T-120")] == ["S8-61", "T-120"]


def test_one_line_counts_once(make_checkout: Checkout) -> None:
    checkout = make_checkout({"tests/test_a.py": "# S2-70 and S2-70\n# S2-70\n"})
    assert [c.line for c in citations(["S2-70"], checkout) if c.kind == TEST] == [1, 2]


def test_the_model_cites_the_quirk_where_it_is_implemented(root: Path) -> None:
    assert "core/shadow.py: bleeds" in places(evidence("S2-70", root).code)


def test_only_the_folders_of_the_model_implement_rules() -> None:
    kinds = {source.name: source.kind for source in package_sources()}
    assert kinds["core/shadow.py"] == CODE
    assert kinds["kernel/lockdep.py"] == CODE
    assert kinds["core/__init__.py"] == MENTION
    assert kinds["errors.py"] == MENTION
    assert not [name for name in kinds if name.startswith("rules/")]


def test_direct_and_indirect_tests_are_kept_apart(make_checkout: Checkout) -> None:
    checkout = make_checkout(
        {
            "tests/scenarios/t-098.toml": "[expect]\n",
            "tests/scenarios/t-103.toml": "# S6-72\n",
            "tests/test_a.py": "def test_algorithm():\n    '''S6-72'''\n",
        }
    )
    found = evidence("S6-72", checkout)
    assert places(found.tests) == ["tests/test_a.py: test_algorithm"]
    assert {row.id: places(row.tests) for row in found.rows if row.tests} == {"T-098": ["tests/scenarios/t-098.toml"]}
    assert found.indirect
    assert not evidence("S6-75", checkout).indirect


def test_places_prefer_functions_over_values_over_whole_files(make_checkout: Checkout) -> None:
    text = '"""S2-70"""\nTABLE = 1  # S2-70\ndef test_it():\n    pass  # S2-70\n'
    checkout = make_checkout({"tests/test_a.py": text, "tests/test_b.py": "# S2-70\n"})
    assert places(evidence("S2-70", checkout).tests) == [
        "tests/test_a.py: test_it",
        "tests/test_a.py: TABLE",
        "tests/test_b.py",
    ]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory that holds the package alone, as an installation does."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "worldswitch", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return tmp_path / "site"


def test_an_installed_package_explains_from_its_own_sources(installed: Path) -> None:
    code = (
        "from worldswitch.rules import citations, explain\n"
        "assert citations.checkout() is None\n"
        "print(explain.explain_rule('S2-70'))\n"
        "assert explain.rule_as_json('S2-70')['tests'] is None"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        # A copy is not what coverage is to measure.
        env={key: value for key, value in os.environ.items() if not key.startswith("COV")}
        | {"PYTHONPATH": str(installed)},
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "  bleeds" in result.stdout
    assert "an installed package has no tests" in result.stdout
