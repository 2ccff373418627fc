"""The conformance table of docs/sip.md names tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "sip.md").read_text()


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE)) | set(re.findall(r"`tests/(test_[a-z0-9_]+)\.py`", PAGE))
    functions = {name for file in HERE.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    files = {file.stem for file in HERE.glob("test_*.py")}
    assert len(named) > 30 and named - functions - files == set()


def test_every_scenario_of_sipp_that_is_named_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "SIPp `" in line]
    named = {
        name for row in rows for name in re.findall(r"`([a-z_]+)`", row.partition("SIPp ")[2]) if name[:5] != "test_"
    }
    scenarios = {path.stem for path in (HERE / "peers").rglob("*.xml")}
    written = (HERE / "peers" / "moments.py").read_text()
    assert named and {name for name in named - scenarios if name not in written} == set()
