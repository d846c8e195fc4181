"""What the ``nested`` target is known to show on each path of L0."""

from functools import cache
from importlib import resources

from worldswitch.text.read import loads


@cache
def expected_findings() -> dict[str, frozenset[str]]:
    """Path to signatures; raises ``InputError`` where the shipped file is damaged."""
    text = (resources.files("worldswitch.nested") / "verdicts.toml").read_text(encoding="utf-8")
    document = loads(text, "verdicts.toml")
    paths = document.data.get("paths", {})
    if not isinstance(paths, dict):
        raise document.error("expected tables", ("paths",))
    return {name: frozenset(table["findings"]) for name, table in paths.items()}
