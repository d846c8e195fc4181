"""What a finding stands on: the model options without whose present value it would not be there."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from worldswitch.core.options import BY_NAME, TABLE, get_option
from worldswitch.oracles.finding import Finding
from worldswitch.report.terminal import Screen
from worldswitch.report.timeline import title
from worldswitch.result import Result, Variant, execute
from worldswitch.rules.facts import Row, find
from worldswitch.scenario.model import Scenario


class Flip(NamedTuple):
    """One option set to another value than it has, and the findings of the run under it."""

    option: str
    value: str
    findings: Mapping[str, Finding]  # by signature


class Stance(NamedTuple):
    """A run, and the same run under every other value of every model option."""

    result: Result
    flips: list[Flip]

    def needed(self, signature: str) -> dict[str, list[str]]:
        """The options on which a finding of the run stands, each with the values under which it is gone."""
        values: dict[str, list[str]] = {}
        for flip in self.flips:
            if signature not in flip.findings:
                values.setdefault(flip.option, []).append(flip.value)
        return values

    def disputed(self, signature: str) -> list[str]:
        """The options on which a finding stands and whose rules the sources dispute or leave open."""
        return [name for name in self.needed(signature) if _is_disputed(name)]

    def hidden(self) -> dict[str, dict[str, list[str]]]:
        """Findings that the run does not have and a flip brings: by signature, option to values."""
        own = {finding.signature for finding in self.result.verdict.findings}
        found: dict[str, dict[str, list[str]]] = {}
        for flip in self.flips:
            for signature in flip.findings:
                if signature not in own:
                    found.setdefault(signature, {}).setdefault(flip.option, []).append(flip.value)
        return found

    def value(self, option: str) -> str:
        """The value that an option has in the run."""
        return get_option(self.result.run.plan.options, option)


def examine(scenario: Scenario, variant: Variant) -> Stance:
    """Run ``variant``, then again under every other value of every model option; raises ``InputError``."""
    result = execute(scenario, variant)
    flips = []
    for option in TABLE:
        for value in option.values:
            if value != get_option(result.run.plan.options, option.name):
                options = tuple({**dict(variant.options), option.name: value}.items())
                verdict = execute(scenario, variant._replace(options=options)).verdict
                flips.append(Flip(option.name, value, {finding.signature: finding for finding in verdict.findings}))
    return Stance(result, flips)


def stance_lines(stance: Stance, screen: Screen) -> Iterator[str]:
    """The stance as text: each finding with its rules and options, then what other values would bring."""
    result = stance.result
    yield f"{result.scenario.file} on {title(result)}"
    if not result.verdict.findings:
        yield "no finding"
    for finding in result.verdict.findings:
        yield ""
        yield screen.bad(finding.signature)
        yield from screen.wrapped(finding.message, "  ", "  ")
        yield "  rests on:"
        for rule in finding.rules:
            yield from _rule_lines(rule, screen, "    ")
        needed = stance.needed(finding.signature)
        if needed:
            yield screen.bold(f"  stands only on: {', '.join(needed)}")
            disputed = stance.disputed(finding.signature)
            if disputed:
                yield screen.bold(f"  disputed: {', '.join(disputed)}")
        else:
            yield f"  stands under every value of all {len(TABLE)} model options"
        for option, values in needed.items():
            yield from _option_lines(stance, option, f"gone with {' or '.join(values)}", screen)
        if needed:
            yield f"    the other {len(TABLE) - len(needed)} model options make no difference"
    for signature, options in stance.hidden().items():
        yield ""
        yield f"not here, but under other options: {signature}"
        for option, values in options.items():
            yield from _option_lines(stance, option, f"there with {' or '.join(values)}", screen)


def stance_as_json(stance: Stance) -> dict[str, Any]:
    """The stance for ``--json``."""
    result = stance.result
    return {
        "scenario": result.scenario.file,
        "path": result.path,
        "profile": result.profile,
        "options": result.options,
        "findings": [
            {
                "signature": finding.signature,
                "message": finding.message,
                "rules": [rule_as_json(rule) for rule in finding.rules],
                "stands_only_on": [
                    _option_as_json(stance, option, "gone_with", values)
                    for option, values in stance.needed(finding.signature).items()
                ],
                "disputed": stance.disputed(finding.signature),
            }
            for finding in result.verdict.findings
        ],
        "under_other_options": [
            {
                "signature": signature,
                "options": [
                    _option_as_json(stance, option, "there_with", values) for option, values in options.items()
                ],
            }
            for signature, options in stance.hidden().items()
        ],
    }


def _option_lines(stance: Stance, option: str, what: str, screen: Screen) -> Iterator[str]:
    yield from screen.wrapped(f"{option} = {stance.value(option)}; {what}", "    ", "      ")
    yield from screen.wrapped(BY_NAME[option].about, "      ", "      ")
    for rule in BY_NAME[option].rules:
        yield from _rule_lines(rule, screen, "      ")


def _option_as_json(stance: Stance, option: str, what: str, values: list[str]) -> dict[str, Any]:
    rules = [rule_as_json(rule) for rule in BY_NAME[option].rules]
    return {"option": option, "value": stance.value(option), what: values, "rules": rules}


def _is_disputed(option: str) -> bool:
    return any(rule_as_json(rule)["confidence"] in ("disputed", "uncertain") for rule in BY_NAME[option].rules)


def _rule_lines(name: str, screen: Screen, indent: str) -> list[str]:
    rule = rule_as_json(name)
    return screen.wrapped(f"{name} ({rule['confidence']}): {rule['text']}", indent, indent + "  ")


def rule_as_json(name: str) -> dict[str, str]:
    """A rule's id, confidence and text; raises ``InputError`` for one that does not exist."""
    fact = find(name)
    text = fact.expected if isinstance(fact, Row) else fact.text
    return {"id": fact.id, "confidence": fact.confidence, "text": text}
