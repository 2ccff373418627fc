"""The playground, in a real browser on the real server: every state is looked at, and kept as a picture.

The pictures are in `artifacts/playground`.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browsers import make_house
from tests.chromium import KEEP_WHAT_SOUNDS, MISSING, chromium, fresh_context, likeness, record, sounded
from tests.test_start import TWISTD, Started
from tests.test_whole import MISSING as NO_SPEECH
from tests.test_whole import Server
from voicemedia.config import Browser

CHECKOUT = Path(__file__).parent.parent
EXAMPLES = CHECKOUT / "examples"
PICTURES = CHECKOUT / "artifacts" / "playground"
EGGS = "i had two eggs and a slice of toast"

in_a_browser = pytest.mark.skipif(bool(MISSING or NO_SPEECH), reason=MISSING or NO_SPEECH or "there")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # The greeting passes, then the caller speaks, hears the answer begin, and speaks into it, and says it again for
    # when browser and server did not have the machine for long enough to understand it at first.
    spoken = record(
        tmp_path_factory.mktemp("sound") / "microphone.wav",
        *(7.0, EXAMPLES / "breakfast.wav", 3.2, EXAMPLES / "yes.wav", 25.0, EXAMPLES / "breakfast.wav", 20.0),
    )
    with chromium(spoken) as browser:
        yield browser


class Tab:
    """One page, what came to it, and what it complained of."""

    def __init__(self, browser: Any, server: Server, *scripts: str, **context: Any) -> None:
        self.context = fresh_context(browser, viewport={"width": 900, "height": 1000}, **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.received = bytearray()
        for script in (KEEP_WHAT_SOUNDS, *scripts):
            self.page.add_init_script(script)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._frame))
        self.page.goto(f"http://127.0.0.1:{server.at}/")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _frame(self, payload: Any) -> None:
        if isinstance(payload, bytes):
            self.received += payload

    def see(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def wait_for_state(self, state: str) -> None:
        self.page.wait_for_selector(f'#state[data-state="{state}"]')

    def turns(self) -> list[str]:
        return [node.inner_text() for node in self.page.query_selector_all(".turn > div:first-child p:first-of-type")]

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []


@in_a_browser
def test_speak_read_hear_interrupt_reload_and_resume(server: Server, browser: Any) -> None:
    tab = Tab(browser, server)
    page = tab.page
    page.wait_for_selector("#stt option:checked", state="attached")
    tab.see("1-idle")
    assert page.is_hidden("#picture")
    page.click("#settings summary")
    tab.see("2-choices")
    page.click("#settings summary")

    page.click("#start")
    tab.wait_for_state("speaking")
    page.wait_for_selector(".turn.agent")
    tab.see("3-greeting")
    page.wait_for_selector("#guess:not([hidden])")
    tab.see("4-guess")
    page.wait_for_selector(".turn.caller")
    assert tab.turns()[1] == EGGS
    page.wait_for_selector(".stages .play")
    tab.see("5-answer")
    page.wait_for_selector(".turn .unheard")
    page.wait_for_selector(".turn.caller >> nth=1")
    tab.see("6-interrupted")
    assert tab.turns()[3] == "yes"
    cut = page.inner_text(".turn:has(.unheard) .unheard")
    assert 0 < len(cut) < len(tab.turns()[2])

    # What was sent sounded, sample by sample; a machine that is busy may have kept a piece from our ears.
    greeting = np.frombuffer(bytes(tab.received[16_000:80_000]), "<i2").astype(float)
    heard = sounded(page)
    assert np.median([likeness(heard, piece) for piece in np.split(greeting, 8)]) > 0.99

    before = tab.turns()[:4]
    page.reload()
    page.wait_for_selector("#start:has-text('Go on talking')")
    tab.see("7-reloaded")
    page.fill("#words", "and a coffee")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn:has-text('and a coffee')")
    page.wait_for_selector(".turn.agent:has-text('coffee')")
    assert tab.turns()[:4] == before
    assert "your message" in page.inner_text(".turn.agent >> nth=-1")
    assert "turns: you 1, agent 1" in (page.get_attribute("#picture", "aria-label") or "")
    tab.see("8-resumed")
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    tab.see("9-phone-dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#end")
    tab.wait_for_state("over")
    tab.close()


@in_a_browser
def test_opus_of_the_recorder_is_understood(server: Server, browser: Any) -> None:
    tab = Tab(browser, server)
    tab.page.click("#settings summary")
    tab.page.select_option("#format", "opus")
    tab.page.click("#settings summary")
    tab.page.click("#start")
    tab.page.wait_for_selector(".turn.caller")
    assert tab.turns()[1] == EGGS
    tab.page.keyboard.press("Escape")
    tab.close()


@in_a_browser
def test_a_refused_microphone_is_explained_and_typing_goes_on_by_keyboard(server: Server, browser: Any) -> None:
    refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); };"
    tab = Tab(browser, server, refuse)
    page = tab.page
    page.focus("#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem:not([hidden])")
    assert "Allow it for this site" in page.inner_text("#problem")
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.type("two eggs")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn.caller:has-text('two eggs')")
    page.wait_for_selector(".turn.agent:has-text('eggs')")
    tab.see("10-no-microphone")
    assert "pause awaited" not in page.inner_text(".turn.agent:has(.stages)")
    tab.close()


@in_a_browser
def test_a_full_server_says_so_and_the_page_gets_in_when_there_is_room(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full")
    with Server(folder, "[limits]\nmax_calls = 1\n") as server:
        first, second = Tab(browser, server), Tab(browser, server)
        first.page.fill("#words", "hello")
        first.page.keyboard.press("Enter")
        first.page.wait_for_selector(".turn.agent")
        second.page.fill("#words", "hello")
        second.page.keyboard.press("Enter")
        second.page.wait_for_selector("#problem:has-text('takes no more conversations')")
        second.see("11-full")
        first.page.click("#end")
        first.close()
        second.page.wait_for_selector(".turn.agent")
        second.context.close()


@contextmanager
def elsewhere(folder: Path) -> Iterator[str]:
    """Serve a folder from another origin; give it."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            port = re.search(r"port (\d+)", process.stdout.readline())
            assert port
            yield f"http://127.0.0.1:{port[1]}"
        finally:
            process.terminate()


@in_a_browser
def test_the_page_in_thirty_lines_of_the_docs_holds_a_conversation_from_another_origin(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    html = (CHECKOUT / "docs" / "browser.md").read_text().split("```html\n")[1].split("```")[0]
    assert len(html.splitlines()) <= 30
    folder = tmp_path_factory.mktemp("thirty")
    with elsewhere(folder) as origin, Server(folder, f'[browser]\norigins = ["{origin}"]\n') as server:
        (folder / "thirty.html").write_text(html.replace("${location.host}", f"127.0.0.1:{server.at}"))
        context = fresh_context(browser)
        page = context.new_page()
        page.goto(f"{origin}/thirty.html")
        page.click("button")
        page.wait_for_selector("pre:has-text('status: Session started')")
        page.wait_for_selector("pre:has-text('audio: Good')")
        page.wait_for_selector("pre:has-text('two eggs and a slice of toast')")
        context.close()


class Tomorrow(Server):
    """A server that remembers; it may be started again in the same folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "voicemedia.toml").write_text("[server]\nport = 0\n[grpc]\nenabled = false\n")
        Started.__init__(self, Path(sys.executable), (*TWISTD, "-ny", str(CHECKOUT / "voicemedia.tac")), folder)
        self.at = self.port()


@in_a_browser
def test_who_comes_back_tomorrow_reads_what_was_said_and_goes_on(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tomorrow")
    with Tomorrow(folder) as server:
        line = [sys.executable, "-m", "voicemedia.cli", "call", "browser", "--text", "two boiled eggs", "--raw"]
        line += ["--url", f"ws://127.0.0.1:{server.at}", "--session", "mine", "--record", str(folder / "heard.wav")]
        subprocess.run(line, cwd=CHECKOUT, timeout=60, check=True, capture_output=True)
    with Tomorrow(folder) as server:
        tab = Tab(browser, server, "localStorage.setItem('voicemedia.session', 'mine');")
        page = tab.page
        page.fill("#words", "what did I eat today")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.earlier.caller:has-text('two boiled eggs')")
        page.wait_for_selector(".turn.agent:not(.earlier):has-text('you had two boiled eggs')")
        tab.see("13-tomorrow")
        first = page.inner_text("#conversation li >> nth=0")
        assert first.startswith("Agent, earlier") and "food diary" in first
        page.reload()
        page.fill("#words", "no")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.earlier.caller:has-text('two boiled eggs')")
        tab.close()


ROUTE = """[tts.elevenlabs]
key_env = "NO_SUCH_KEY"
[[routes]]
path = "/audio-stream"
carrier = "browser"
agent = "repeat"
"""


@in_a_browser
@pytest.mark.parametrize("voices", ['"elevenlabs"', '["elevenlabs", "espeak"]'])
def test_a_missing_key_is_told_with_its_cure_and_who_speaks_instead(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, voices: str
) -> None:
    alone = voices == '"elevenlabs"'
    more = "[tts.espeak]\n" if alone else ""
    with Server(tmp_path_factory.mktemp("key"), f"{more}{ROUTE}tts = {voices}\n") as server:
        tab = Tab(browser, server)
        page = tab.page
        # The others may still be starting.
        page.wait_for_selector("#tts option[value=espeak]:enabled", state="attached")
        told = "Answers come in writing only: elevenlabs does not work here. key_env: environment variable NO_SUCH_KEY"
        page.wait_for_selector(
            f"#problem:has-text('{told}')" if alone else "#problem", state=None if alone else "hidden"
        )
        offered = "elevenlabs (not available)" + ("" if alone else ", then espeak")
        assert page.text_content("#tts option >> nth=0") == offered
        page.click("#settings summary")
        assert "Voice elevenlabs: key_env: environment variable NO_SUCH_KEY is not set; export it" in page.inner_text(
            "#reasons"
        )
        assert "configuration: elevenlabs_socket, google, openai. Each wants a table, such as [tts" in page.inner_text(
            "#reasons"
        )
        tab.see(f"12-key-missing-{'alone' if alone else 'replaced'}")
        if alone:
            page.select_option("#tts", "espeak")
        page.fill("#words", "hello")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.agent:has-text('You said: hello.') .stages .play")
        assert "espeak" in page.inner_text("#chosen")
        tab.close()


def test_the_page_takes_nothing_from_elsewhere() -> None:
    house = make_house()
    for path in ("/", "/playground/playground.js", "/playground/playground.css", "/playground/icon.svg"):
        status, body = house.get(path)
        assert status == 200
        # The name of SVG's language is no address, and one sentence speaks of https://.
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg| or on localhost)", body)
    for path in ("/playground", "/playground/nothing.js", "/playground/../config.py", "/playground/a/b"):
        assert house.get(path)[0] == 404


def test_the_page_may_load_and_connect_to_nothing_but_its_own_server() -> None:
    peer = make_house().connect("/", Upgrade="", Connection="close")
    policy = peer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ")
    assert "connect-src 'self' ws://127.0.0.1:8000 wss://127.0.0.1:8000;" in policy
    assert peer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_page_can_be_turned_off() -> None:
    assert make_house(browser=Browser(playground=False)).get("/")[0] == 404


@pytest.mark.skipif(bool(NO_SPEECH), reason=NO_SPEECH or "there")
def test_the_example_in_python_holds_a_conversation(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.at}"
    command = [sys.executable, "examples/browser_session.py", "examples/breakfast.wav", "boiled", "--url", url]
    said = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=True).stdout
    assert "two eggs and a slice of toast" in said
    assert "two boiled eggs" in said
    assert said.endswith("over: caller_hung_up\n")


@pytest.mark.skipif(bool(NO_SPEECH), reason=NO_SPEECH or "there")
def test_the_call_of_the_docs_is_the_conversation_they_show(server: Server, tmp_path: Path) -> None:
    shown = (CHECKOUT / "docs" / "callers.md").read_text().split("### As a browser")[1].split("\n\n| option")[0]
    command = re.search(r"\$ voicemedia (call browser .*)", shown)
    assert command
    url = f"ws://127.0.0.1:{server.at}"
    line = [sys.executable, "-m", "voicemedia.cli", *shlex.split(command[1]), "--url", url]
    line += ["--record", str(tmp_path / "heard.wav")]
    done = subprocess.run(line, capture_output=True, text=True, cwd=CHECKOUT, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    turns = re.findall(r"  (caller|agent)   ?(.*?)   \[", done.stdout)
    expected = re.findall(r"  (caller|agent)   ?(.*?)   \[", shown)
    # The greeting depends on the hour, and so does the meal.
    assert [turn for turn in turns if turn[0] == "caller"] == [turn for turn in expected if turn[0] == "caller"]
    assert [who for who, _ in turns] == [who for who, _ in expected]
    assert "two boiled eggs" in turns[-1][1]
    assert "2 of 2 answered, latency" in done.stdout
