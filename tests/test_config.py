import ast
import inspect
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicemedia import config as module
from voicemedia import sections
from voicemedia.config import (
    Config,
    Route,
    Section,
    Server,
    Stream,
    config_path,
    convert,
    decode,
    decode_config,
    exposure_warnings,
    networks,
    read_config,
    secret,
)
from voicemedia.errors import ConfigError
from voicemedia.providers import ROOMS, Kind, load

EXAMPLE = Path(__file__).parent.parent / "voicemedia.example.toml"


def fault(text: str, folder: Path) -> str:
    file = folder / "faulty.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_config(str(file))
    return str(caught.value)


def test_without_a_file_everything_has_its_default() -> None:
    config = read_config(None)
    assert config == Config()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8000)
    assert [route.path for route in config.routes][:2] == ["/vendor-stream", "/vendor-stream/echo"]


def test_the_example_lists_every_key_with_its_default() -> None:
    raw = msgspec.toml.decode(EXAMPLE.read_bytes())
    written = read_config(str(EXAMPLE))
    for name in (
        "server",
        "limits",
        "voice",
        "turns",
        "playout",
        "jitter",
        "stream",
        "browser",
        "grpc",
        "history",
        "log",
    ):
        assert set(raw[name]) == set(getattr(Config(), name).__struct_fields__)
        assert getattr(written, name) == getattr(Config(), name)
    assert set(raw["routes"][0]) == set(Route.__struct_fields__)
    assert written.routes == Config().routes


@pytest.mark.parametrize("kind", ROOMS)
def test_the_example_lists_every_option_of_every_provider(kind: Kind) -> None:
    tables = getattr(read_config(str(EXAMPLE)), kind)
    for name in import_module(ROOMS[kind]).PROVIDERS:
        module, defaults = load(kind, name)
        if module.Options.__struct_fields__:
            assert set(tables[name]) == {"provider", *module.Options.__struct_fields__}
            assert load(kind, name, tables[name]) == (module, defaults)


def test_every_key_of_the_example_says_what_it_is() -> None:
    first_route = EXAMPLE.read_text().split("[[routes]]\n")
    for line in (first_route[0] + first_route[1]).splitlines():
        if " = " in line and not line.startswith("#"):
            assert line.partition("#")[2].strip(), line


def test_every_field_is_explained_where_it_is_declared() -> None:
    source = inspect.getsource(module) + inspect.getsource(sections)
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for section in classes:
        for field, following in zip(section.body, section.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and section.name != "Config":
                assert isinstance(following, ast.Expr), f"{section.name}: {ast.unparse(field)}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sever = 1", "sever: unknown key; did you mean server?"),
        ("[server]\nprot = 1", "server.prot: unknown key; did you mean port?"),
        ('[server]\nport = "8000"', "server.port: expected int, got str"),
        ("[server]\nport = 70000", "server.port: expected int <= 65535"),
        ("[limits]\nmax_call_s = 0", "limits.max_call_s: expected int >= 1"),
        ("[server]\nping_s = 1", "server.ping_s: expected int >= 5"),
        ("[playout]\npacket_ms = 30", "playout.packet_ms: expected int that's a multiple of 20"),
        ('[voice]\ndetector = "ear"', "choose one of webrtc, energy, silero"),
        ("[jitter]\ndeadline_min_ms = 500", "jitter.deadline_min_ms: must not exceed deadline_max_ms"),
        ('[server]\npublic_url = "voice.example.com"', "server.public_url: expected scheme and host only"),
        ('[server]\ntrusted_proxies = ["ten"]', "server.trusted_proxies: 'ten' does not appear to be an IPv4 or IPv6"),
        ('[[routes]]\ncarrier = "twilio"', "routes[0].path: missing; add it"),
        ('[[routes]]\npath = "/a"\ntts = []', 'routes[0].tts: name at least one, or "none"'),
        ('[[routes]]\npath = "x"', "routes[0].path: expected plain segments"),
        ('[[routes]]\npath = "/a/"', "routes[0].path: expected plain segments"),
        ('[[routes]]\npath = "/metrics"', "routes[0].path: /metrics is a page of the server itself"),
        ('[[routes]]\npath = "/a"\n[[routes]]\npath = "/a"', "routes[1].path: /a is already routes[0]; remove one"),
        ('[[routes]]\npath = "/a"\ncarrier = "pigeon"', "routes[0].carrier: invalid enum value 'pigeon'; choose one"),
        ('[[routes]]\npath = "/a"\nallow = ["10.0.0.0/33"]', "routes[0].allow: '10.0.0.0/33' does not appear"),
        ('[[routes]]\npath = "/a"\ntoken_env = "T"', "routes[0].token_env: only carrier twilio"),
        ("[stt]\ngoogle = 3", "stt.NAME: expected table, got int"),
        ("server =", "not TOML"),
        ("\xff = 1", "not TOML"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(text: str, line: str, tmp_path: Path) -> None:
    said = fault(text, tmp_path)
    assert line in said
    assert "\n" not in said


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/voicemedia.toml: No such file"):
        read_config("/nowhere/voicemedia.toml")


def test_a_secret_that_is_named_but_not_set_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[routes]]\npath = "/a"\nsecret_env = "A_SECRET"'
    monkeypatch.delenv("A_SECRET", raising=False)
    said = fault(text, tmp_path)
    assert said == "routes[0].secret_env: environment variable A_SECRET is not set; export it, or remove the key"
    assert decode_config(str(tmp_path / "faulty.toml")).routes[0].secret_env == "A_SECRET"
    monkeypatch.setenv("A_SECRET", "hush")
    assert "hush" not in repr(read_config(str(tmp_path / "faulty.toml")))


def test_a_secret_hides_in_every_text_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hush")
    hidden = secret("A_SECRET")
    assert hidden.reveal() == "hush"
    assert "hush" not in f"{hidden} {hidden!r} {[hidden]}"
    assert hidden.matches("hush")
    assert not hidden.matches("hus")
    assert not hidden.matches("\u00fc")


def test_the_path_comes_from_the_environment_then_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOICEMEDIA_CONFIG", raising=False)
    assert config_path() is None
    (tmp_path / "voicemedia.toml").write_text("")
    assert config_path() == "voicemedia.toml"
    monkeypatch.setenv("VOICEMEDIA_CONFIG", "other.toml")
    assert config_path() == "other.toml"


def test_a_network_may_be_a_single_address() -> None:
    assert [str(network) for network in networks(("192.0.2.7", "10.1.2.3/8", "2001:db8::/32"))] == [
        "192.0.2.7/32",
        "10.0.0.0/8",
        "2001:db8::/32",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_exposes_nothing(host: str) -> None:
    assert exposure_warnings(Config(server=Server(host=host))) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "voice.example.com"])
def test_other_addresses_expose_routes_without_a_rule(host: str) -> None:
    guarded = Route("/b", allow=("10.0.0.0/8",))
    stream, route = exposure_warnings(Config(server=Server(host=host), routes=(Route("/a"), guarded)))
    assert stream.startswith("/stt/stream hears anybody")
    assert route.startswith("/a takes calls from anybody")
    closed = Config(server=Server(host=host), routes=(guarded,), stream=Stream(allow=("10.0.0.0/8",)))
    assert exposure_warnings(closed) == []


def test_sections_cannot_be_changed() -> None:
    section: Section = Config().server
    with pytest.raises(AttributeError):
        section.port = 1  # type: ignore[attr-defined]


VALUES = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.lists(st.text(), max_size=2), st.just({}))
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"A busy machine is no fault of the code."
SECTIONS = st.sampled_from(Config.__struct_fields__)


@PATIENT
@given(SECTIONS, st.data())
def test_no_value_gives_anything_but_a_config_or_one_line(section: str, drawn: st.DataObject) -> None:
    default = getattr(Config(), section)
    names = Route.__struct_fields__ if section == "routes" else getattr(default, "__struct_fields__", ("x", "y"))
    table = drawn.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    try:
        convert({section: [table] if section == "routes" else table}, Config, key="")
    except ConfigError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(section)


@PATIENT
@given(st.text())
def test_no_text_gives_anything_but_a_config_or_one_line(text: str) -> None:
    try:
        decode(text.encode("utf-8", "surrogatepass"), Config, source="voicemedia.toml")
    except ConfigError as error:
        assert "\n" not in str(error)
