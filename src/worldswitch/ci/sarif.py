"""Findings in SARIF 2.1.0, the format that code scanning services read.

A rule is a cause (``shadow-bleed.unexplained-shadow``); a result is a signature on a path, and its fingerprint is just
that, so that a service recognises it in the next run. Acknowledged findings are results with a suppression.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import worldswitch

VERSION: Final = "2.1.0"
SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT: Final = "worldswitchSignature/v1"


class Reported(NamedTuple):
    """A finding on a path, as far as CI is told of it."""

    signature: str
    oracle: str
    message: str
    path: str
    rules: tuple[str, ...] = ()
    file: str = ""  # where a person looks first: a scenario, or the file that expects otherwise
    line: int = 0
    acknowledged: str = ""  # the reason; "" for a finding that counts

    @property
    def cause(self) -> str:
        """``ORACLE.CAUSE``."""
        return ".".join(self.signature.split(".")[:2])


def document(found: Iterable[Reported], trouble: Sequence[str] = ()) -> str:
    """The SARIF log as text; ``trouble`` says why the run has no verdict, if it has none."""
    results = list(found)
    causes = list(dict.fromkeys(result.cause for result in results))
    invocation: dict[str, Any] = {"executionSuccessful": not trouble}
    if trouble:
        notes = [{"level": "error", "message": {"text": text}} for text in trouble]
        invocation["toolExecutionNotifications"] = notes
    driver = {
        "name": "worldswitch",
        "version": worldswitch.__version__,
        "rules": [_rule(cause, results) for cause in causes],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [_result(result, causes.index(result.cause)) for result in results],
    }
    return json.dumps({"$schema": SCHEMA, "version": VERSION, "runs": [run]}, indent=2) + "\n"


def _rule(cause: str, results: Sequence[Reported]) -> dict[str, Any]:
    oracle = next(result.oracle for result in results if result.cause == cause)
    facts = sorted({rule for result in results if result.cause == cause for rule in result.rules})
    rule: dict[str, Any] = {
        "id": cause,
        "shortDescription": {"text": f"{oracle}: {cause.partition('.')[2].replace('-', ' ')}"},
        "fullDescription": {"text": about(oracle)},
        "defaultConfiguration": {"level": "error"},
    }
    if facts:
        rule["help"] = {"text": "Rests on " + ", ".join(f"{fact} (worldswitch explain {fact})" for fact in facts)}
        rule["properties"] = {"facts": facts}
    return rule


def _result(result: Reported, index: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "ruleId": result.cause,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": f"{result.path}: {result.message}"},
        "locations": [_location(result)],
        "partialFingerprints": {FINGERPRINT: f"{result.signature}@{result.path}"},
        "properties": {"signature": result.signature, "path": result.path, "facts": list(result.rules)},
    }
    if result.acknowledged:
        entry["suppressions"] = [{"kind": "external", "justification": result.acknowledged}]
    return entry


def _location(result: Reported) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"name": result.path, "fullyQualifiedName": f"{result.path}/{result.signature}"}]
    }
    if result.file:
        physical: dict[str, Any] = {"artifactLocation": {"uri": uri(result.file)}}
        if result.line:
            physical["region"] = {"startLine": result.line}
        location["physicalLocation"] = physical
    return location


def uri(file: str) -> str:
    """A file as SARIF names it: relative to the working directory where it is below it, else a file URI."""
    from urllib.parse import quote

    path = Path(file).absolute()
    here = Path.cwd()
    return quote(path.relative_to(here).as_posix()) if path.is_relative_to(here) else path.as_uri()


def about(oracle: str) -> str:
    """What an oracle objects to, in the words of its module."""
    from worldswitch.nested.oracles import benign_claim, double_injection, l1_sanity, stuck_event, vmcb_transfer
    from worldswitch.oracles.judge import ORACLES
    from worldswitch.sources import docstring

    for module in (*ORACLES, benign_claim, double_injection, l1_sanity, stuck_event, vmcb_transfer):
        if oracle == module.NAME:
            first = docstring(module).strip().partition("\n")[0]
            return first.replace("``", "").removeprefix(f"{oracle}: ")
    return oracle
