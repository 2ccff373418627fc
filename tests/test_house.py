"""The plan of the house, as a test: who may import whom, what stays free of I/O, how long a file may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "voicemedia"
MODULES = sorted(HOUSE.rglob("*.py"))

SHARED = {
    "interfaces",
    "proto",
    "errors",
    "audio",
    "config",
    "metrics",
    "threads",
    "codecs",
    "child",
    "children",
    "diary",
    "web",
    "account",
    "past",
    "switching",
    "aside",
    "keyed",
    "between",
    "one_shot",
    "taping",
    "untold",
}
"What every room may use."

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "interfaces": {"errors", "diary", "switching"},
    "following": {"interfaces", "diary", "past"},
    "switching": {"interfaces", "errors"},
    "taping": {"interfaces"},
    "setting": {*SHARED},
    "audio": {"interfaces", "errors", "audio"},
    "faults": set(),
    "sections": set(),
    "secret": set(),
    "config": {"errors", "interfaces", "faults", "sections", "secret"},
    "metrics": {"interfaces", "errors"},
    "threads": {"interfaces", "errors"},
    "child": set(),
    "children": {"errors", "child"},
    "turns": set(),
    "untold": set(),
    "utterance": {"interfaces"},
    "reply": {*SHARED},
    "account": set(),
    "aside": set(),
    "keyed": {"config", "errors"},
    "between": {"interfaces"},
    "one_shot": set(),
    "diary": {"account"},
    "past": set(),
    "speaker": {*SHARED, "turns", "reply", "following"},
    "call": {*SHARED, "turns", "utterance", "speaker", "following", "setting"},
    "ticker": set(),
    "guards": {"interfaces", "errors", "account"},
    "last_words": {*SHARED, "call"},
    "switchboard": {*SHARED, "following", "call", "last_words", "guards", "ticker", "setting"},
    "transcribing": {*SHARED, "transcribing"},
    # The streaming API is two doors, WebSocket and HTTP, to the same sessions.
    "protocols": {*SHARED, "protocols", "transcribing"},
    # The gRPC door to the same sessions.
    "gateway": {*SHARED, "gateway", "transcribing"},
    "sip_bridge": {*SHARED, "sip_bridge", "guards"},
    "web": {"interfaces", "errors", "web"},
    "stt": {*SHARED, "stt"},
    "tts": {*SHARED, "tts"},
    "agent": {*SHARED, "agent"},
    "recording": {*SHARED, "recording"},
    "history": {*SHARED, "history", "random_bytes"},
    # A simulated caller speaks the carrier's wire format from the other end.
    "callers": {*SHARED, "callers", "protocols", "sip_bridge", "web"},
}
"Rooms not named here (service, tap, cli, doctor, __init__) build the house and may know every name."

PURE = {
    "agent/sentences.py",
    "tts/unsaid.py",
    "stt/continuity.py",
    "stt/stretches.py",
    "web/breaker.py",
    "gateway/order.py",
}
"Sans-IO as well, without a wire."

IMPURE = {
    "agent/sentences.py",
    "tts/unsaid.py",
    "twisted",
    "asyncio",
    "threading",
    "queue",
    "socket",
    "time",
    "random",
    "os",
    "subprocess",
    "autobahn",
}


def name_of(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            if node.module == "voicemedia":
                yield from (f"voicemedia.{alias.name}" for alias in node.names)


def sans_io(path: Path) -> bool:
    return room_of(path) in ("audio", "turns", "utterance") or path.stem.endswith("_wire")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_the_plan_allows(path: Path) -> None:
    allowed = MAY_IMPORT.get(room_of(path))
    if allowed is None:
        return
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("voicemedia.")}
    assert ours - {"__version__"} <= allowed


@pytest.mark.parametrize("path", [path for path in MODULES if sans_io(path)], ids=name_of)
def test_sans_io_files_import_no_io(path: Path) -> None:
    assert {name.split(".")[0] for name in imports_of(path)} & IMPURE == set()


def test_the_kernels_for_sound_are_imported_in_one_place() -> None:
    importing = [name_of(path) for path in MODULES if "audioop" in imports_of(path)]
    assert importing == ["audio/pcm.py"], "their warning that they are deprecated is kept quiet there only"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_can_be_held_in_the_head(path: Path) -> None:
    if path.stem.endswith(("_pb2", "_pb2_grpc")):
        return
    assert len(path.read_text().splitlines()) <= (250 if path.stem == "call" else 400)


@pytest.mark.parametrize("room", sorted(path.name for path in HOUSE.iterdir() if any(path.glob("[!_]*.*"))))
def test_every_room_is_on_both_maps(room: str) -> None:
    document = (HOUSE.parent / "docs" / "architecture.md").read_text()
    assert f"`{room}`" in (ast.get_docstring(ast.parse((HOUSE / "__init__.py").read_text())) or "")
    assert f"`{room}/`" in document
