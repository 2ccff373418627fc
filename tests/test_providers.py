import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voicemedia.agent import repeat
from voicemedia.config import Config, Route
from voicemedia.errors import ConfigError
from voicemedia.providers import Chosen, load, load_all, load_plugins

OUT_OF_TREE = """
import msgspec

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    speed: int = 1

def missing(options):
    return f"{options.model} is not here; fetch it"

def make(options, reactor):
    from voicemedia.errors import ConfigError
    raise ConfigError("no model m1")
"""


@pytest.fixture
def out_of_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mind.py").write_text(OUT_OF_TREE)
    (tmp_path / "elsewhere" / "half.py").write_text("Options = None")
    (tmp_path / "elsewhere" / "broken.py").write_text("import not_installed_here")
    monkeypatch.syspath_prepend(tmp_path)
    yield "elsewhere.mind"
    for name in [name for name in sys.modules if name.startswith("elsewhere")]:
        del sys.modules[name]


def fault(name: str, table: dict[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load("agents", name, table)
    return str(caught.value)


def test_a_provider_is_named_by_its_table() -> None:
    module, options = load("agents", "repeat")
    assert module.make is repeat.make
    assert options == repeat.Options()


def test_a_table_of_any_name_says_its_provider() -> None:
    module, options = load("agents", "polite", {"provider": "repeat", "greeting": "Good day."})
    assert module.make is repeat.make
    assert options == repeat.Options(greeting="Good day.")


def test_a_dotted_name_is_a_module_out_of_tree(out_of_tree: str) -> None:
    module, options = load("agents", "mine", {"provider": out_of_tree, "model": "m1"})
    chosen = Chosen("agents", "mine", module, options)
    assert chosen.missing() == "m1 is not here; fetch it"
    with pytest.raises(ConfigError, match=r"^agents.mine: no model m1$"):
        chosen.make(None)  # type: ignore[arg-type]


def test_faults_name_the_key_and_the_cure(out_of_tree: str) -> None:
    assert fault("nobody").startswith("agents.nobody: unknown provider nobody; known are ")
    assert fault("repeat", {"greting": ""}) == "agents.repeat.greting: unknown key; did you mean greeting?"
    assert fault("repeat", {"greeting": 3}) == "agents.repeat.greeting: expected str, got int"
    assert fault("mine", {"provider": out_of_tree}) == "agents.mine.model: missing; add it"
    assert fault("mine", {"provider": 7}) == "agents.mine.provider: expected str, got int"
    assert fault("mine", {"provider": "elsewhere.half"}).startswith(
        "agents.mine.provider: elsewhere.half has no missing, make;"
    )
    assert "No module named 'not_installed_here'" in fault("mine", {"provider": "elsewhere.broken"})
    assert "cannot import elsewhere.nowhere" in fault("mine", {"provider": "elsewhere.nowhere"})


def test_every_provider_is_loaded_once_and_none_is_nobody() -> None:
    config = Config(
        routes=(
            Route("/a", agent="echo", stt="none", tts="none"),
            Route("/b", agent="polite", stt="none", tts="none"),
            Route("/c", agent="polite", stt="none", tts="none"),
        ),
        agents={"polite": {"provider": "repeat"}},
    )
    assert [(chosen.kind, chosen.name) for chosen in load_all(config)] == [("agents", "polite"), ("agents", "echo")]


def test_a_route_that_names_nobody_is_named() -> None:
    config = Config(routes=(Route("/a", agent="ehco", stt="none", tts="none"),))
    with pytest.raises(ConfigError, match=r"routes\[0\].agent: agents.ehco: unknown provider ehco"):
        load_all(config)


def test_an_agent_cannot_be_none() -> None:
    with pytest.raises(ConfigError, match=r"agents.none: unknown provider none"):
        load_all(Config(routes=(Route("/a", agent="none", stt="none", tts="none"),)))


def test_a_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigError, match=r"server.plugins\[1\]: cannot import no_such_module"):
        load_plugins(("json", "no_such_module"))
