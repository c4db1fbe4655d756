"""Findings as text, and in the formats that continuous integration reads."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from kubelet_plugin import cdi
from kubelet_plugin.cli.cdi import output

# What no XML document may hold.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(findings: Sequence[cdi.Finding], files: Sequence[str]) -> str:
    """For people: the findings, each with whom it hurts and how to mend it, and how many there are."""
    counts = Counter(finding.severity for finding in findings)
    found = [_count(counts[severity], severity) for severity in cdi.Severity if counts[severity]]
    total = f"{_count(len(files), 'file')}: {', '.join(found) or 'all is well'}"
    return "\n".join([*map(_paragraph, findings), total])


def document(findings: Sequence[cdi.Finding], files: Sequence[str]) -> dict[str, Any]:
    """For programs."""
    fields = ("rule", "severity", "path", "line", "place", "message", "runtimes", "remedy")
    return {
        "files": list(files),
        "findings": [
            {
                field: _plain(getattr(finding, field))
                for field in fields
                if getattr(finding, field) not in (None, "", ())
            }
            for finding in findings
        ],
    }


def junit(findings: Sequence[cdi.Finding], files: Sequence[str]) -> str:
    """JUnit XML: a test for each finding, failed unless it is a warning; and one, passed, for each other file."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415  # its customary name; heavy

    failed = [finding for finding in findings if finding.severity != cdi.Severity.WARNING]
    clean = [path for path in files if path not in {finding.path for finding in findings}]
    tests = str(len(findings) + len(clean))
    suite = ET.Element(
        "testsuite", name="kubelet-plugin cdi validate", tests=tests, failures=str(len(failed)), errors="0"
    )
    for path in clean:
        ET.SubElement(suite, "testcase", classname=_xml(path), name="valid")
    for finding in findings:
        name = " ".join(filter(None, (finding.rule, finding.place)))
        case = ET.SubElement(suite, "testcase", classname=_xml(finding.path), name=_xml(name), file=_xml(finding.path))
        if finding.line:
            case.set("line", str(finding.line))
        if finding in failed:
            part = ET.SubElement(case, "failure", type=finding.rule, message=_xml(finding.message))
        else:
            part = ET.SubElement(case, "system-out")
        part.text = _xml(_paragraph(finding, coloured=False))
    ET.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode")


def sarif(findings: Sequence[cdi.Finding], files: Sequence[str]) -> str:
    """SARIF 2.1.0."""
    del files
    used = sorted({finding.rule for finding in findings})
    rules = [
        {
            "id": name,
            "shortDescription": {"text": cdi.RULES[name].title},
            "help": {"text": cdi.RULES[name].remedy},
            "defaultConfiguration": {"level": _level(cdi.RULES[name].severity)},
        }
        for name in used
    ]
    driver = {"name": "kubelet-plugin cdi validate", "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(finding, used) for finding in findings]}
    log = {"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "runs": [run]}
    return json.dumps(log, indent=2)


def _result(finding: cdi.Finding, rules: Sequence[str]) -> dict[str, Any]:
    uri = quote(finding.path, errors="surrogateescape")
    location: dict[str, Any] = {"artifactLocation": {"uri": f"file://{uri}" if uri.startswith("/") else uri}}
    if finding.line:
        location["region"] = {"startLine": finding.line}
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": _level(finding.severity),
        "message": {"text": _xml(f"{_place(finding)}{finding.message}. {finding.remedy}")},
        "locations": [{"physicalLocation": location}],
        "properties": {"severity": str(finding.severity), "runtimes": list(finding.runtimes)},
    }


def _level(severity: cdi.Severity) -> str:
    return "warning" if severity == cdi.Severity.WARNING else "error"


def _paragraph(finding: cdi.Finding, *, coloured: bool = True) -> str:
    where = f"{finding.path}:{finding.line}" if finding.line else finding.path
    severity = output.label(finding.severity) if coloured else f"{finding.severity}:"
    what = output.visible(f"{_place(finding)}{finding.message}")
    lines = [f"{output.visible(where)}: {severity} {what} [{finding.rule}]"]
    if finding.runtimes:
        every = len(finding.runtimes) == len(cdi.RUNTIMES)
        lines.append(f"    hurts: {'every runtime' if every else ', '.join(finding.runtimes)}")
    return "\n".join([*lines, f"    mend:  {finding.remedy}"])


def _place(finding: cdi.Finding) -> str:
    return f"{finding.place}: " if finding.place else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 or what == 'fatal' else 's'}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, str) else value


def _xml(value: str) -> str:
    return _NO_XML.sub("\ufffd", value)
