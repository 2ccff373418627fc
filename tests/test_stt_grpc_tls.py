"""Recognizer `grpc` against our own speech service over TLS, with a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.certificates import self_signed
from tests.gateway_door import LOUD, open_door
from tests.hearing import Notes, speak
from tests.in_reactor import in_reactor
from voicemedia.stt.grpc_remote import GrpcRecognizer, Options
from voicemedia.threads import loop_thread

UTTERANCE = [LOUD] * 50
"A second at 16 kHz."


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "sesame")
    monkeypatch.setenv("WRONG_TOKEN", "barley")


@asynccontextmanager
async def said(folder: Path, *, ca_file: str, token_env: str = "SERVICE_TOKEN") -> AsyncIterator[Notes]:
    """Serve, speak one utterance, and give what was told."""
    mine = self_signed(folder, "DNS:localhost", "IP:127.0.0.1")
    files: dict[str, Any] = {"certificate": str(mine.certificate), "private_key": str(mine.private_key)}
    notes = Notes()
    async with open_door(token_env="SERVICE_TOKEN", **files) as door:
        options = Options(
            target=f"127.0.0.1:{door.ports[1]}", tls=True, ca_file=ca_file, token_env=token_env, patience_s=0.2
        )
        recognizer = GrpcRecognizer(options, reactor, loop_thread(reactor), lambda: 0.0)
        await recognizer.start()
        recognition = recognizer.listen(16_000, notes)
        try:
            speak(recognition, UTTERANCE)
            await notes.until_finals(1, reactor)
            yield notes
        finally:
            recognition.close()
            await recognizer.stop()


@in_reactor
async def test_every_sample_goes_over_tls_to_a_server_that_trusts_the_token(tmp_path: Path) -> None:
    async with said(tmp_path, ca_file=str(tmp_path / "certificate.pem")) as notes:
        assert notes.error is None
        assert notes.finals == ["1000 ms"]


@in_reactor
async def test_a_wrong_token_is_the_operators_to_mend(tmp_path: Path) -> None:
    async with said(tmp_path, ca_file=str(tmp_path / "certificate.pem"), token_env="WRONG_TOKEN") as notes:
        assert notes.error is not None
        assert (notes.error.code, notes.error.retryable) == ("unauthenticated", False)
        assert notes.finals == []


@pytest.mark.parametrize("authority", ["", "another"])
@in_reactor
async def test_a_server_whose_certificate_nobody_trusts_hears_nothing(authority: str, tmp_path: Path) -> None:
    if authority:
        (tmp_path / authority).mkdir()
        authority = str(self_signed(tmp_path / authority, "IP:127.0.0.1").certificate)
    async with said(tmp_path, ca_file=authority) as notes:
        assert notes.error is not None
        assert notes.error.code == "unavailable"
        assert notes.finals == []
