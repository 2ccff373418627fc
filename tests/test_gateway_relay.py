"""`IngestAudio` of a server that hands segments to another one: real servers, loopback."""
# Generated code has few types.
# mypy: disallow-untyped-calls=False

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from twisted.internet import reactor

from tests.gateway_door import PATIENCE_S, Measuring, on_loop, open_door, segment, segments
from tests.in_reactor import in_reactor
from voicemedia.gateway.joining import Joiner
from voicemedia.gateway.relay import WAITING
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto import audio_stream_pb2_grpc as pb_grpc


@asynccontextmanager
async def stream(port: int, sound: AsyncIterator[Any] | None = None) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.StreamIngestStub(channel).IngestAudio(sound)


class Elsewhere(pb_grpc.SpeechToTextServicer):
    """Somebody else's speech service."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer
        self.seen: list[Any] = []
        self.metadata: list[dict[str, str]] = []

    async def TranscribeAudioSegment(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        answer = await self._answer(request)
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "as told")
        return answer


@asynccontextmanager
async def behind(elsewhere: Elsewhere, **options: Any) -> AsyncIterator[Any]:
    async def serve() -> tuple[Any, int]:
        server = grpc.aio.server()
        pb_grpc.add_SpeechToTextServicer_to_server(elsewhere, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async with open_door():
        server, port = await on_loop(serve)
        async with open_door(speech_target=f"127.0.0.1:{port}", **options) as door:
            yield door
        await on_loop(lambda: server.stop(0))


@pytest.mark.parametrize(("says_so", "last"), [(True, 11), (False, 12)], ids=["a last segment", "a half-close"])
@in_reactor
async def test_a_stream_is_understood_by_the_other_server(says_so: bool, last: int) -> None:
    async def sound() -> AsyncIterator[Any]:
        async for each in segments(12):
            each.is_final = each.is_final and says_so
            yield each

    async def client() -> list[Any]:
        async with stream(door.ports[0], sound()) as call:
            return [reply async for reply in call]

    ear = Measuring()
    async with open_door(ear) as other, open_door(speech_target=f"127.0.0.1:{other.ports[1]}") as door:
        told = await on_loop(client)
        assert len(other.sessions) == len(door.sessions) == 0
        assert ear.live == 0
    # How many guesses come between depends on how much was joined.
    assert [(each.transcript, each.sequence_number) for each in told if each.is_final] == [("240 ms", last)]
    assert told[-1].is_final
    assert {each.session_id for each in told} == {"s1"}


@in_reactor
async def test_a_gateway_that_goes_away_ends_the_session_there() -> None:
    async def client() -> None:
        async with stream(door.ports[0]) as call:
            for number in range(5):
                await call.write(segment("s1", number))
            assert (await call.read()).transcript == "100 ms so far"
            call.cancel()

    ear = Measuring()
    async with open_door(ear) as other, open_door(speech_target=f"127.0.0.1:{other.ports[1]}") as door:
        await on_loop(client)
        await ear.closed.get().addTimeout(PATIENCE_S, reactor)


@in_reactor
async def test_what_waits_for_a_slow_server_goes_on_as_one_segment_and_the_rest_waits_in_the_gateway() -> None:
    # Less than comes ahead of time (EARLY_S): the rest of a longer one would come at its own pace, one by one.
    sent, count = 0, 900
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: Any) -> Any:
        asked.set()
        await go_on.wait()
        return pb.TranscriptionResponse(session_id=request.session_id, transcript="x", is_final=request.is_final)

    def sound(number: int) -> bytes:
        return number.to_bytes(2, "little") * 1000

    async def gateway() -> AsyncIterator[Any]:
        nonlocal sent
        for number in range(count):
            sent += 1
            yield segment("s1", number, audio_format=pb.PCMU, data=sound(number)[:8], is_final=number == count - 1)

    async def client() -> list[Any]:
        async with stream(door.ports[0], gateway()) as call:
            await asked.wait()
            before = len(elsewhere.seen)
            go_on.set()
            replies = [reply async for reply in call]
            return [before, len(replies), replies[-1].sequence_number, replies[-1].is_final]

    elsewhere = Elsewhere(answer)
    async with behind(elsewhere) as door:
        assert await on_loop(client) == [1, 2, count - 1, True]
    assert b"".join(each.data for each in elsewhere.seen) == b"".join(sound(number)[:8] for number in range(count))
    assert [each.sequence_number for each in elsewhere.seen] == list(range(len(elsewhere.seen)))
    assert len(elsewhere.seen) < count / 2
    assert max(len(each.data) for each in elsewhere.seen) <= 8 * WAITING


def numbers(joiner: Joiner) -> list[str]:
    """Take everything out: the numbers, as `given=made of`, `!` after a last one."""
    taken = []
    while len(joiner):
        joined, made_of = joiner.take()
        ours = "+".join(str(each.sequence_number) for each in made_of)
        taken.append(f"{joined.sequence_number}={ours}{'!' * joined.is_final}")
    return taken


@pytest.mark.parametrize(
    ("came", "goes_on"),
    [
        ("0 1 2 3!", "0=0+1+2+3!"),
        ("1 2 | 3 4 | 5", "1=1+2 2=3+4 3=5"),
        # Whoever is given 5 before 4 puts it right, and hears the second 4 as a duplicate.
        ("1 2 3 | 5 4 6 7 4", "1=1+2+3 3=5 2=4 4=6+7 1=4"),
        # Unnumbered.
        ("0 0 0!", "0=0 0=0 0=0!"),
    ],
)
def test_what_follows_one_another_is_joined_and_numbered_anew(came: str, goes_on: str) -> None:
    joiner, told = Joiner(), []
    for batch in came.split("|"):
        for each in batch.split():
            joiner.put(segment("s1", int(each.rstrip("!")), is_final=each.endswith("!")), 20)
        told += numbers(joiner)
    assert " ".join(told) == goes_on


def test_packets_of_opus_and_unlike_sounds_are_not_joined() -> None:
    kinds = [(pb.OPUS, 0, 20), (pb.OPUS, 0, 20), (pb.PCMU, 0, 20), (pb.PCMA, 0, 20), (pb.LINEAR16, 8000, 20)]
    joiner = Joiner()
    for number, (written, rate_hz, ms) in enumerate([*kinds, (pb.LINEAR16, 16000, 990), (pb.LINEAR16, 16000, 20)]):
        joiner.put(segment("s1", number, audio_format=written, sample_rate_hertz=rate_hz), ms)
    assert numbers(joiner) == [f"{number}={number}" for number in range(7)]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
        # The gateway's own token is right.
        (grpc.StatusCode.UNAUTHENTICATED, "UNAVAILABLE"),
    ],
)
@in_reactor
async def test_the_failure_of_the_other_server_ends_the_stream(code: Any, told: str) -> None:
    async def answer(_request: Any) -> Any:
        return code

    async def client() -> tuple[str, str]:
        async with stream(door.ports[0], segments(3)) as call:
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details() or ""
            return "", ""

    async with behind(Elsewhere(answer)) as door:
        assert await on_loop(client) == (told, "the speech service: as told")


@in_reactor
async def test_a_stream_has_one_session_and_sound_that_can_be_read() -> None:
    async def answer(request: Any) -> Any:
        return pb.TranscriptionResponse(session_id=request.session_id)

    async def client(number: int) -> str:
        wrong = [segment("s2", 1), segment("s1", 1, audio_format=99)][number]
        async with stream(door.ports[0]) as call:
            await call.write(segment("s1", 0))
            await call.write(wrong)
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name} {error.details()}"
            return ""

    elsewhere = Elsewhere(answer)
    async with behind(elsewhere) as door:
        assert await on_loop(lambda: client(0)) == "INVALID_ARGUMENT session_id: s2 in the stream of s1"
        assert (await on_loop(lambda: client(1))).startswith("INVALID_ARGUMENT audio_format: 99 is none of")
    assert {each.session_id for each in elsewhere.seen} == {"s1"}


@in_reactor
async def test_the_other_server_gets_its_own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: Any) -> Any:
        return pb.TranscriptionResponse(session_id=request.session_id, transcript="x", is_final=request.is_final)

    async def client() -> list[str]:
        async with stream(door.ports[0], segments(3)) as call:
            return [reply.transcript async for reply in call]

    monkeypatch.setenv("SPEECH_TOKEN", "sesame")
    elsewhere = Elsewhere(answer)
    async with behind(elsewhere, speech_token_env="SPEECH_TOKEN") as door:
        assert await on_loop(client) == ["x", "x"]
    assert {each["authorization"] for each in elsewhere.metadata} == {"Bearer sesame"}
