import json
import socket
import sys
from pathlib import Path

import pytest

from voicemedia import __version__
from voicemedia.cli import main
from voicemedia.doctor import Finding, examine

ROUTE = '[[routes]]\npath = "/echo"\nagent = "echo"\nstt = "none"\ntts = "none"\n'
ANY_PORT = "[server]\nport = 0\n"


def look(folder: Path, text: str) -> dict[str, Finding]:
    file = folder / "voicemedia.toml"
    file.write_text(text)
    return {finding.name: finding for finding in examine(str(file))}


def test_a_configuration_that_works_has_no_failure(tmp_path: Path) -> None:
    found = look(tmp_path, ANY_PORT + ROUTE)
    assert [finding for finding in found.values() if finding.state == "fail"] == []
    assert found["agents.echo"].text == "works; used by /echo"
    assert found["python"].text.startswith(f"{sys.version_info.major}.")


def test_a_fault_of_the_configuration_is_told_in_its_own_words(tmp_path: Path) -> None:
    fault = look(tmp_path, "[server]\nprot = 1")["configuration"]
    assert (fault.state, fault.text) == ("fail", "server.prot: unknown key; did you mean port?")


def test_a_secret_is_looked_for_but_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ANY_PORT + ROUTE + 'secret_env = "A_SECRET"\n'
    monkeypatch.delenv("A_SECRET", raising=False)
    missing = look(tmp_path, text)["routes[0].secret_env"]
    assert (missing.state, missing.cure) == ("fail", "export A_SECRET=..., or remove the key")
    monkeypatch.setenv("A_SECRET", "hush")
    found = look(tmp_path, text)
    assert found["routes[0].secret_env"].state == "ok"
    assert "hush" not in str(found)


def test_a_provider_that_misses_something_says_what_and_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faraway").mkdir()
    (tmp_path / "faraway" / "ears.py").write_text(
        "import msgspec\n"
        "class Options(msgspec.Struct): pass\n"
        "def missing(options): return 'no model here: fetch it'\n"
        "def make(options, reactor): return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = ANY_PORT + ROUTE.replace('stt = "none"', 'stt = "far"') + '[stt.far]\nprovider = "faraway.ears"\n'
    found = look(tmp_path, text)["stt.far"]
    assert (found.state, found.text) == ("fail", "no model here: fetch it (used by /echo)")


def test_a_provider_nobody_asks_for_is_a_note(tmp_path: Path) -> None:
    assert look(tmp_path, ANY_PORT + ROUTE)["agents.repeat"].state == "note"


def test_an_unknown_provider_fails_alone(tmp_path: Path) -> None:
    found = look(tmp_path, ANY_PORT + ROUTE + ROUTE.replace("/echo", "/b").replace('"echo"', '"ehco"'))
    assert found["agents.ehco"].state == "fail"
    assert found["agents.echo"].state == "ok"


def test_a_port_taken_by_somebody_else_fails(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = look(tmp_path, f"[server]\nport = {taken.getsockname()[1]}\n{ROUTE}")["server.port"]
    assert (found.state, found.cure) == ("fail", "free it, or take another")


def test_an_address_that_is_not_ours_fails(tmp_path: Path) -> None:
    found = look(tmp_path, f'[server]\nhost = "192.0.2.1"\nport = 0\n{ROUTE}')["server.port"]
    assert (found.state, found.cure) == ("fail", "name an address of this machine in server.host")


def test_an_open_address_without_a_rule_is_a_warning(tmp_path: Path) -> None:
    found = look(tmp_path, f'[server]\nhost = "0.0.0.0"\nport = 0\n{ROUTE}')
    assert found["server.host"].state == "warn"


def test_more_calls_than_open_files_are_a_warning(tmp_path: Path) -> None:
    found = look(tmp_path, f"{ANY_PORT}[limits]\nmax_calls = 100000000\n{ROUTE}")["limits.max_calls"]
    assert (found.state, "LimitNOFILE=" in found.cure) == ("warn", True)


def test_a_log_that_cannot_be_written_fails_and_a_personal_one_warns(tmp_path: Path) -> None:
    found = look(tmp_path, f'{ANY_PORT}[log]\nfile = "/nowhere/x.log"\npersonal = true\n{ROUTE}')
    assert found["log.file"].state == "fail"
    assert found["log.personal"].state == "warn"


def test_the_command_prints_marks_and_exits_by_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "voicemedia.toml"
    file.write_text(ANY_PORT + ROUTE)
    assert main(["doctor", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"voicemedia {__version__}\nok    python")
    file.write_text("[server]\nprot = 1")
    assert main(["doctor", "--config", str(file)]) == 1
    assert "fail  configuration" in capsys.readouterr().out


def test_the_command_prints_json_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "voicemedia.toml"
    file.write_text("[server]\nprot = 1")
    assert main(["doctor", "--config", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["findings"][-1]["state"] == "fail"


def test_the_doors_of_trunks_are_looked_at(tmp_path: Path) -> None:
    assert look(tmp_path, ANY_PORT + ROUTE)["sip"].state == "note"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        text = f"{ANY_PORT}[sip]\nenabled = true\nport = {port}\ntls_port = 0\n"
        found = look(tmp_path, f"{text}{ROUTE}")
        assert found["sip.port (UDP)"].state == "fail"
        assert "Address already in use" in found["sip.port (UDP)"].text
        assert "certificate" in found["sip.tls_port"].text
    found = look(tmp_path, f'{text}certificate = "no.pem"\nprivate_key = "no.key"\n{ROUTE}')
    assert found["sip.tls_port"].state == "ok"
    assert (found["sip.certificate"].state, found["sip.private_key"].state) == ("fail", "fail")


def test_the_door_of_voice_gateways_is_looked_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = look(tmp_path, ANY_PORT + ROUTE + f"[grpc]\nenabled = true\ningest_port = {port}\nspeech_port = 0\n")
    assert (found["grpc.ingest_port"].state, found["grpc.ingest_port"].cure) == ("fail", "free it, or take another")
    assert found["grpc.speech_port"].state == "ok"
    assert look(tmp_path, ANY_PORT + ROUTE + "[grpc]\nenabled = false\n")["grpc"].state == "note"
    assert found["opus"].state in ("ok", "note")


def test_a_folder_for_recordings_that_can_be_written_or_not_is_told(tmp_path: Path) -> None:
    def recording(more: str) -> Finding:
        found = look(tmp_path, ANY_PORT + ROUTE + "[recording]\nenabled = true\n" + more)
        (finding,) = [finding for name, finding in found.items() if name.startswith("recording")]
        return finding

    good = recording(f'folder = "{tmp_path}/not/yet/there"')
    assert (good.state, good.text.split(";")[0]) == ("ok", f"{tmp_path}/not/yet/there")
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("")
    assert recording(f'folder = "{tmp_path}/file/folder"').state == "fail"
    full = recording(f'folder = "{tmp_path}"\nmin_free_mb = 1000000000')
    assert (full.state, full.name) == ("fail", "recording.min_free_mb")
    assert look(tmp_path, ANY_PORT + ROUTE)["recording"].state == "note"
