"""Results as JUnit XML, in the dialect of pytest (``xunit2``), which CI services and Jenkins read."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from xml.etree import ElementTree

_UNFIT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


class Case(NamedTuple):
    """One test case; at most one of ``failure``, ``error`` and ``skipped`` is given."""

    group: str  # what it belongs to: an entry path, a scenario file
    name: str
    failure: str = ""  # not as expected
    error: str = ""  # no verdict
    skipped: str = ""  # does not count, and why
    details: str = ""


def document(suite: str, cases: Iterable[Case]) -> str:
    """The XML as text. It holds no time, so that two runs write the same."""
    cases = list(cases)
    counts = {
        "tests": len(cases),
        "failures": sum(bool(case.failure) for case in cases),
        "errors": sum(bool(case.error) for case in cases),
        "skipped": sum(bool(case.skipped) for case in cases),
    }
    attributes = {"name": suite, **{name: str(count) for name, count in counts.items()}}
    root = ElementTree.Element("testsuites")
    parent = ElementTree.SubElement(root, "testsuite", attributes)
    for case in cases:
        element = ElementTree.SubElement(parent, "testcase", classname=_fit(case.group), name=_fit(case.name))
        for tag, message in (("failure", case.failure), ("error", case.error), ("skipped", case.skipped)):
            if message:
                ElementTree.SubElement(element, tag, message=_fit(message)).text = _fit(case.details or message)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
