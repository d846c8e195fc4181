"""A test file that needs worldswitch and pytest alone: the scenario, and any path file it runs on, stand in it."""

from pathlib import Path

import worldswitch
from worldswitch.export.finding import Prepared, path_files, with_expectations
from worldswitch.scenario.write import scenario_text


def pytest_file(prepared: Prepared) -> str:
    """The text of the file; raises ``InputError`` where a path file cannot be read."""
    from worldswitch.text.read import load

    scenario = with_expectations(prepared)
    folders = {name: load(file).text for name, file in path_files(prepared).items()}
    paths = ", ".join(result.path for result in prepared.results)
    lines = [
        f'"""{prepared.finding.signature}, recorded by worldswitch {worldswitch.__version__}.',
        "",
        "Run it with `pytest FILE`; `pip install worldswitch pytest` brings what it needs. It fails where a version of",
        f"worldswitch gives another result than the one recorded here, on {paths}.",
        '"""',
        "",
        "from worldswitch.regressions import check",
        "",
        f"SCENARIO = {_quoted(scenario_text(scenario))}",
        "",
        "PATHS = {",
        *(f"    {name!r}: {_quoted(text)}," for name, text in folders.items()),
        "}",
        '"""Path files that the scenario runs on, by name."""',
        "",
        "",
        "def test_finding(tmp_path):",
        "    for name, text in PATHS.items():",
        '        (tmp_path / name).write_text(text, encoding="utf-8")',
        '    file = tmp_path / "scenario.toml"',
        '    file.write_text(SCENARIO, encoding="utf-8")',
        "    check(file)",
    ]
    if not folders:
        start = lines.index("PATHS = {")
        del lines[start : start + 4]
        start = lines.index("    for name, text in PATHS.items():")
        del lines[start : start + 2]
    return "\n".join(lines) + "\n"


def default_name(prepared: Prepared) -> Path:
    """The file's name, which pytest collects."""
    return Path("test_" + prepared.finding.signature.replace(".", "_").replace("-", "_") + ".py")


def _quoted(text: str) -> str:
    """A string literal over several lines, which Python reads as ``text``."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""\\\n{escaped}"""'
