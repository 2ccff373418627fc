import io
import json
import warnings
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from twisted.logger import LogBeginner, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from txaio import tx

from voicemedia.config import Log
from voicemedia.errors import ConfigError
from voicemedia.log import Journal, LineObserver, open_observer


@dataclass
class Speaker:
    number: str = field(default="+15550100", repr=False)


class Colour(Enum):
    RED = "red"


def lines(out: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def logger(out: io.BytesIO, config: Log | None = None, namespace: str = "voicemedia.call") -> Logger:
    return Logger(namespace, observer=LineObserver(config or Log(), out))


def only_line(out: io.BytesIO) -> dict[str, object]:
    (line,) = lines(out)
    return line


def test_an_event_is_one_json_line_with_its_fields_as_values() -> None:
    out = io.BytesIO()
    logger(out).info("turn of {call} took {reply_ms} ms", call="CA1", reply_ms=480)
    line = only_line(out)
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "info",
        "namespace": "voicemedia.call",
        "message": "turn of CA1 took 480 ms",
        "call": "CA1",
        "reply_ms": 480,
    }


def test_time_is_utc_with_milliseconds() -> None:
    out = io.BytesIO()
    observer = LineObserver(Log(), out)
    for at in (1_700_000_000.0, 1_700_000_000.0425, 1_700_000_001.999):
        observer({"log_time": at, "log_level": LogLevel.info, "log_format": "x"})
    assert [line["time"] for line in lines(out)] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.042Z",
        "2023-11-14T22:13:21.999Z",
    ]


def test_personal_fields_are_dropped_from_line_and_message() -> None:
    out = io.BytesIO()
    logger(out).info("{pii_said} by {pii_who.number} at {pii_list[0]:>9}", pii_said="eggs", pii_who=1, pii_list="eggs")
    line = only_line(out)
    assert line["message"] == "- by - at -"
    assert "eggs" not in out.getvalue().decode()
    assert not [key for key in line if key.startswith("pii_")]


@pytest.mark.parametrize("template", ["{caller.name}", "{pii_said.nothing()} {caller.name}", b"{caller.name}"])
def test_a_message_that_cannot_be_made_shows_nothing_personal(template: object) -> None:
    out = io.BytesIO()
    event = {"log_level": LogLevel.info, "log_format": template, "caller": 1, "pii_said": "eggs"}
    LineObserver(Log(), out)(event)
    assert "caller" in str(only_line(out)["message"])
    assert "eggs" not in out.getvalue().decode()


def test_personal_fields_are_written_when_allowed() -> None:
    out = io.BytesIO()
    logger(out, Log(personal=True)).info("heard {pii_said}", pii_said="eggs")
    assert only_line(out)["message"] == "heard eggs"
    assert only_line(out)["pii_said"] == "eggs"


def test_an_object_is_shown_by_its_repr_and_never_opened() -> None:
    out = io.BytesIO()
    logger(out).info("x", caller=Speaker(), colour=Colour.RED, sound=b"\x00")
    line = only_line(out)
    assert (line["caller"], line["colour"], line["sound"]) == ("Speaker()", "red", "b'\\x00'")


def test_levels_below_the_configured_one_are_dropped() -> None:
    out = io.BytesIO()
    log = logger(out, Log(level="warn"))
    log.info("a")
    log.debug("b")
    log.warn("c")
    log.critical("d")
    assert [line["message"] for line in lines(out)] == ["c", "d"]


def test_a_failure_carries_its_traceback_in_one_line() -> None:
    out = io.BytesIO()
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        logger(out).failure("call {call} failed", call="CA1")
    line = only_line(out)
    assert line["message"] == "call CA1 failed"
    assert line["level"] == "critical"
    assert "ZeroDivisionError: oh" in str(line["failure"])


def test_a_failure_without_a_message_is_named_by_its_type() -> None:
    out = io.BytesIO()
    failure = Failure(KeyError("k"))  # type: ignore[no-untyped-call]
    LineObserver(Log(), out)({"log_level": LogLevel.critical, "log_format": None, "log_failure": failure})
    assert only_line(out)["message"] == "KeyError"


def test_a_field_never_hides_a_key_of_the_line() -> None:
    out = io.BytesIO()
    logger(out).info("{time}", time="noon", message="high")
    line = only_line(out)
    assert (line["field_time"], line["message"], line["field_message"]) == ("noon", "noon", "high")


@pytest.mark.parametrize("value", ["\ud800", 1 << 80, float("nan"), "\n\x00\u2028"])
def test_no_value_costs_a_line(value: object) -> None:
    out = io.BytesIO()
    logger(out).info("x", value=value)
    assert len(lines(out)) == 1


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_value_that_cannot_show_itself_costs_no_line() -> None:
    out = io.BytesIO()
    logger(out).info("saw {value}", value=Rude())
    assert only_line(out)["value"] == "<Rude without repr>"


def test_a_format_with_a_call_is_left_to_twisted() -> None:
    out = io.BytesIO()
    logger(out).info("{count()} calls", count=lambda: 7)
    assert only_line(out)["message"] == "7 calls"


def test_prints_and_old_messages_become_lines() -> None:
    out = io.BytesIO()

    class Streams:
        stdout = io.StringIO()
        stderr = io.StringIO()

    publisher = LogPublisher()
    beginner = LogBeginner(publisher, io.StringIO(), Streams, warnings)
    keep = warnings.showwarning
    beginner.beginLoggingTo([LineObserver(Log(), out)])
    warnings.showwarning = keep
    print("printed", file=Streams.stdout)
    old = {"log_level": LogLevel.info, "log_namespace": "log_legacy", "log_format": "{log_text}", "log_text": "old"}
    publisher({**old, "system": "-", "message": ("old",), "time": 1.0, "isError": 0})
    assert [(line["namespace"], line["message"]) for line in lines(out)[-2:]] == [
        ("stdout", "printed"),
        ("log_legacy", "old"),
    ]
    assert set(lines(out)[-1]) == {"time", "level", "namespace", "message"}


def test_frames_never_come_from_autobahn_even_at_debug() -> None:
    out = io.BytesIO()
    logger(out, Log(level="debug"), "autobahn.websocket.protocol").debug("frame {octets}", octets="c291bmQ=")
    logger(out, Log(level="debug")).debug("ours")
    assert [line["message"] for line in lines(out)] == ["ours"]
    open_observer(Log(level="debug"), out)
    assert tx.make_logger().debug.__name__ == "_no_op"  # type: ignore[no-untyped-call]


def test_a_terminal_gets_text_for_people() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    logger(out).info("call {call} answered", call="CA1")
    assert out.getvalue().endswith(b" info     call CA1 answered\n")
    out = Terminal()
    logger(out, Log(format="json")).info("x")
    assert only_line(out)["message"] == "x"


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "voicemedia.log"
    file.write_text("kept\n")
    observer = open_observer(Log(file=str(file)))
    Logger("a", observer=observer).info("new")
    observer.close()
    kept, new = file.read_text().splitlines()
    assert kept == "kept"
    assert json.loads(new)["message"] == "new"


def test_a_file_that_was_moved_away_is_made_again_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    config = Log(file=str(file))
    observer = open_observer(config)
    journal = Journal(config, observer)
    observer({"log_format": "before"})
    file.rename(tmp_path / "x.log.1")
    assert journal.reopen() == str(file)
    observer({"log_format": "after"})
    observer.close()
    moved = (tmp_path / "x.log.1").read_text()
    assert ("before" in moved, "after" in moved, "after" in file.read_text()) == (True, False, True)


def test_a_file_that_cannot_be_opened_anew_leaves_the_log_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    config = Log(file=str(tmp_path / "logs" / "x.log"))
    observer = open_observer(config)
    (tmp_path / "logs").rename(tmp_path / "old")
    with pytest.raises(FileNotFoundError):
        Journal(config, observer).reopen()
    observer({"log_format": "goes on"})
    observer.close()
    assert "goes on" in (tmp_path / "old" / "x.log").read_text()


def test_a_file_that_cannot_be_written_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"log.file: /nowhere/x.log: No such file"):
        open_observer(Log(file="/nowhere/x.log"))
