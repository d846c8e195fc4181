"""What the commands found, put into the terms of CI: findings on paths, and test cases."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldswitch.ci import junit, sarif
from worldswitch.ci.junit import Case
from worldswitch.ci.sarif import Reported
from worldswitch.fuzzing.acknowledged import Sorted

if TYPE_CHECKING:
    from worldswitch.fuzzing.records import Record
    from worldswitch.fuzzing.smoke import Smoke
    from worldswitch.result import Result


def write(
    suite: str,
    reported: Iterable[Reported],
    cases: Iterable[Case],
    *,
    sarif_file: str = "",
    junit_file: str = "",
    trouble: Sequence[str] = (),
) -> None:
    """Write the files that are asked for; raises ``InputError`` where one cannot be written."""
    from worldswitch.fuzzing.store import write_whole

    if sarif_file:
        write_whole(Path(sarif_file), sarif.document(reported, trouble))
    if junit_file:
        write_whole(Path(junit_file), junit.document(suite, cases))


def of_smoke(result: "Smoke", matrix: str) -> tuple[list[Reported], list[Case]]:
    """A smoke run's: every finding that the matrix does not list, and a case a path, a finding and a blind spot.

    ``matrix`` is the file of the verdict matrix, where a person looks; "" for the shipped one.
    """
    from worldswitch.ci.sarif import about

    reported = []
    cases = []
    sorting = result.sorting
    for name in result.found:
        news = [signature for signature, path in sorting.new if path == name]
        cases.append(Case(name, "shows what the matrix lists", failure=", ".join(news)))
    for (signature, path), reason in (
        *((shown, "") for shown in sorting.new),
        *((shown, str(entry)) for shown, entry in sorting.acknowledged.items()),
    ):
        oracle = signature.partition(".")[0]
        message = result.messages.get(signature, about(oracle))
        rules = result.rules.get(signature, ())
        reported.append(Reported(signature, oracle, message, path, rules, matrix, acknowledged=reason))
        if reason:
            cases.append(Case(path, signature, skipped=f"acknowledged: {reason}"))
    cases += [Case("smoke", line, error=f"no verdict: {line}") for line in result.blind]
    return reported, cases


def of_runs(results: Iterable["Result"]) -> tuple[list[Reported], list[Case]]:
    """Those of scenarios that were run: a case a run; findings are reported where nothing expects them."""
    from worldswitch.report.timeline import title

    reported = []
    cases = []
    for result in results:
        unmet = [str(failure) for failure in result.unmet]
        surplus = [finding for finding in result.verdict.findings if not result.expect]
        lines = unmet or [f"{finding.signature}: {finding.message}" for finding in surplus]
        details = "\n".join(lines)
        cases.append(Case(result.scenario.file, title(result), failure=lines[0] if lines else "", details=details))
        file = result.scenario.file
        reported += [Reported(f.signature, f.oracle, f.message, result.path, f.rules, file) for f in surplus]
        if unmet:
            message = f"{result.scenario.file} does not give what it expects: {'; '.join(unmet)}"
            reported.append(Reported("expect.not-met", "expect", message, result.path, file=file))
    return reported, cases


def of_campaign(
    directory: Path, paths: Sequence[str], records: Iterable["Record"], sorting: Sorted
) -> tuple[list[Reported], list[Case]]:
    """A campaign's: every finding on every path that shows it, and a case a path and a finding."""
    reported = []
    news = {path: [signature for signature, on in sorting.new if on == path] for path in paths}
    cases = [Case(path, "no new finding", failure=", ".join(found)) for path, found in news.items()]
    for record in records:
        folder = directory / "findings" / record.signature
        reduced = folder / "minimized.toml"
        file = str(reduced if reduced.exists() else folder / "scenario.toml")
        for path in record.paths:
            entry = sorting.acknowledged.get((record.signature, path))
            reason = str(entry) if entry else ""
            message, rules = record.message, tuple(record.rules)
            reported.append(Reported(record.signature, record.oracle, message, path, rules, file, acknowledged=reason))
            if reason:
                cases.append(Case(path, record.signature, skipped=f"acknowledged: {reason}"))
    return reported, cases


def of_records(records: Iterable["Record"]) -> list[tuple[str, str]]:
    """Every finding and the path that shows it, as ``acknowledged.sort`` takes them."""
    return [(record.signature, path) for record in records for path in record.paths]
