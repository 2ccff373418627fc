"""The gRPC services for voice gateways: real servers, real clients, loopback."""
# Generated code has few types.
# mypy: disallow-untyped-calls=False

import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater

from tests.certificates import self_signed
from tests.gateway_door import LOUD, PATIENCE_S, Measuring, make_gateways, on_loop, open_door, segment, segments
from tests.hearing import Notes
from tests.in_reactor import in_reactor
from voicemedia.config import Grpc
from voicemedia.errors import ConfigError
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto import audio_stream_pb2_grpc as pb_grpc
from voicemedia.stt.grpc_remote import Options, make

SEGMENTS = 12
FORWARDED = "Segment received and forwarded to STT. STT Response: "


def plain(port: int) -> Any:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")


async def transcripts(stub: Any, count: int, name: str = "s1") -> list[Any]:
    return [await stub.TranscribeAudioSegment(each) async for each in segments(count, name)]


@in_reactor
async def test_speech_to_text_answers_guesses_then_the_final_words() -> None:
    async def client() -> list[Any]:
        async with plain(door.ports[1]) as channel:
            return await transcripts(pb_grpc.SpeechToTextStub(channel), SEGMENTS)

    ear = Measuring()
    async with open_door(ear) as door:
        told = await on_loop(client)
        assert ear.live == 0
    assert [each.sequence_number for each in told] == list(range(SEGMENTS))
    assert [each.transcript for each in told[4:10]] == ["100 ms so far"] * 5 + ["200 ms so far"]
    assert [each.is_final for each in told] == [False] * (SEGMENTS - 1) + [True]
    assert (told[-1].session_id, told[-1].transcript, told[-1].confidence) == ("s1", "240 ms", 0.75)


@in_reactor
async def test_ingest_forwards_and_answers_in_the_sentences_gateways_know() -> None:
    async def client() -> list[Any]:
        async with plain(door.ports[0]) as channel:
            stub = pb_grpc.StreamIngestStub(channel)
            told = [await stub.IngestAudioSegment(each) async for each in segments(SEGMENTS)]
            return [*told, await stub.IngestAudioSegment(pb.AudioSegment(session_id="s2", data=b"x"))]

    async with open_door() as door:
        *told, wrong = await on_loop(client)
    assert [each.status_message for each in told[3:6]] == [FORWARDED] + [f"{FORWARDED}100 ms so far"] * 2
    assert (told[-1].session_id, told[-1].sequence_number) == ("s1", SEGMENTS - 1)
    assert told[-1].status_message == f"{FORWARDED}240 ms"
    assert wrong.status_message == (
        "Segment received, but failed to forward to STT: "
        "audio_format: 0 is none of PCMU (1), PCMA (2), OPUS (3), LINEAR16 (4)"
    )


@in_reactor
async def test_a_speech_service_that_is_not_there_is_no_failure_of_ingest() -> None:
    async def client() -> Any:
        async with plain(door.ports[0]) as channel:
            return await pb_grpc.StreamIngestStub(channel).IngestAudioSegment(segment("s1", 1))

    with socket.create_server(("127.0.0.1", 0)) as other:
        nobody = other.getsockname()[1]
    async with open_door(speech_target=f"127.0.0.1:{nobody}") as door:
        told = await on_loop(client)
    assert told.status_message.startswith("Segment received, but failed to forward to STT: ")
    assert "refused" in told.status_message.lower()


@in_reactor
async def test_one_channel_serves_all_segments() -> None:
    peers = set()

    class Remembering(pb_grpc.SpeechToTextServicer):
        async def TranscribeAudioSegment(self, request: Any, context: Any) -> Any:
            peers.add(context.peer())
            return pb.TranscriptionResponse(session_id=request.session_id, transcript="elsewhere")

    async def elsewhere() -> tuple[Any, int]:
        server = grpc.aio.server()
        pb_grpc.add_SpeechToTextServicer_to_server(Remembering(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    async def client() -> list[str]:
        async with plain(door.ports[0]) as channel:
            stub = pb_grpc.StreamIngestStub(channel)
            calls = [stub.IngestAudioSegment(segment(f"s{number}", 0)) for number in range(20)]
            return [(await call).status_message for call in calls]

    async with open_door() as around:
        assert around.ports != (0, 0)
        server, port = await on_loop(elsewhere)
        async with open_door(speech_target=f"127.0.0.1:{port}") as door:
            assert await on_loop(client) == [f"{FORWARDED}elsewhere"] * 20
        await on_loop(lambda: server.stop(0))
    assert len(peers) == 1


# --- a session as one stream ---


@in_reactor
async def test_a_stream_tells_words_as_they_are_understood_and_ends_with_the_session() -> None:
    async def client() -> list[Any]:
        async with plain(door.ports[0]) as channel:
            return [reply async for reply in pb_grpc.StreamIngestStub(channel).IngestAudio(segments(SEGMENTS))]

    ear = Measuring()
    async with open_door(ear) as door:
        told = await on_loop(client)
        assert ear.live == 0
    assert (told[-1].transcript, told[-1].is_final, told[-1].sequence_number) == ("240 ms", True, SEGMENTS - 1)
    assert all(not each.is_final for each in told[:-1])


@in_reactor
async def test_a_stream_that_is_half_closed_ends_the_session_too() -> None:
    async def sound() -> AsyncIterator[pb.AudioSegment]:
        for number in range(5):
            yield segment("s1", number)
        yield segment("s1", 5, data=bytes(16000))
        for number in range(6, 9):
            yield segment("s1", number)

    async def client() -> list[Any]:
        async with plain(door.ports[0]) as channel:
            return [reply async for reply in pb_grpc.StreamIngestStub(channel).IngestAudio(sound())]

    async with open_door() as door:
        told = await on_loop(client)
    assert [each.transcript for each in told if each.is_final] == ["100 ms", "60 ms"]


@in_reactor
async def test_a_client_that_goes_away_leaves_nothing() -> None:
    async def client() -> None:
        async with plain(door.ports[0]) as channel:
            call = pb_grpc.StreamIngestStub(channel).IngestAudio()
            for number in range(5):
                await call.write(segment("s1", number))
            assert (await call.read()).transcript == "100 ms so far"
            call.cancel()

    ear = Measuring()
    async with open_door(ear) as door:
        await on_loop(client)
        await ear.closed.get().addTimeout(PATIENCE_S, reactor)
        # The ear is closed before the session is forgotten, in the same turn of the reactor.
        await deferLater(reactor, 0)
        assert (len(door.sessions), ear.live) == (0, 0)


@in_reactor
async def test_sound_ahead_of_time_waits_in_the_stream() -> None:
    taken = 0

    async def sound() -> AsyncIterator[pb.AudioSegment]:
        nonlocal taken
        for number in range(600):
            taken += 1
            yield segment("s1", number, data=LOUD * 10)

    async def client() -> int:
        async with plain(door.ports[0]) as channel:
            call = pb_grpc.StreamIngestStub(channel).IngestAudio(sound())
            async for reply in call:
                # The second that may be ahead is heard at once, what is behind it as time passes.
                if int(reply.transcript.split()[0]) >= 1400:
                    break
            call.cancel()
            return taken

    # 120 s of sound, of which one second may be ahead of time.
    async with open_door(stream={"max_ahead_s": 1}) as door:
        assert await on_loop(client) < 300


@in_reactor
async def test_a_stream_has_one_session() -> None:
    async def sound() -> AsyncIterator[pb.AudioSegment]:
        yield segment("s1", 0)
        yield segment("s2", 1)

    async def client() -> str:
        async with plain(door.ports[0]) as channel:
            call = pb_grpc.StreamIngestStub(channel).IngestAudio(sound())
            with pytest.raises(grpc.RpcError) as caught:
                async for _ in call:
                    pass
            return f"{caught.value.code().name} {caught.value.details()}"

    async with open_door() as door:
        assert await on_loop(client) == "INVALID_ARGUMENT session_id: s2 in the stream of s1"
        assert len(door.sessions) == 0


# --- who may come, and how much ---


async def failure_of(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return f"{caught.value.code().name} {caught.value.details()}"


@in_reactor
async def test_bad_segments_and_long_messages_are_refused_in_words() -> None:
    async def client() -> list[str]:
        async with plain(door.ports[1]) as channel:
            call = pb_grpc.SpeechToTextStub(channel).TranscribeAudioSegment
            return [
                await failure_of(call(segment("", 0))),
                await failure_of(call(segment("s1", 0, sample_rate_hertz=7))),
                await failure_of(call(segment("s1", 0, data=bytes(3000)))),
            ]

    async with open_door(max_message_bytes=2048) as door:
        empty, rate, long = await on_loop(client)
    assert empty == "INVALID_ARGUMENT session_id: expected 1 to 256 printable characters"
    assert rate.startswith("INVALID_ARGUMENT sample_rate_hertz: LINEAR16 at 7 Hz is not taken, but 16000, 8000")
    assert long.startswith("RESOURCE_EXHAUSTED")
    assert "larger than max" in long


@in_reactor
async def test_one_session_or_stream_too_many_is_refused() -> None:
    async def client() -> list[str]:
        async with plain(door.ports[1]) as speech, plain(door.ports[0]) as ingest:
            first = pb_grpc.StreamIngestStub(ingest).IngestAudio()
            for number in range(5):
                await first.write(segment("s1", number))
            await first.read()
            second = pb_grpc.StreamIngestStub(ingest).IngestAudio(segments(1, "s2"))
            call = pb_grpc.SpeechToTextStub(speech).TranscribeAudioSegment
            told = [
                await failure_of(second.read()),
                await failure_of(call(segment("s3", 0))),
                await failure_of(call(segment("s1", 0))),
            ]
            first.cancel()
            return told

    async with open_door(max_streams=1, max_sessions=1) as door:
        assert await on_loop(client) == [
            "RESOURCE_EXHAUSTED 1 streams are open; grpc.max_streams is 1",
            "RESOURCE_EXHAUSTED 1 sessions are open; grpc.max_sessions allows no more",
            "ALREADY_EXISTS session_id: s1 is being streamed",
        ]


@in_reactor
async def test_without_the_token_only_health_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def bearing(token: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token}"),)

    async def client() -> list[Any]:
        async with plain(door.ports[0]) as channel:
            stub = pb_grpc.StreamIngestStub(channel)
            call = stub.IngestAudioSegment
            check = health_pb2_grpc.HealthStub(channel).Check
            return [
                await failure_of(call(segment("s1", 0))),
                await failure_of(call(segment("s1", 0), metadata=bearing("wrong"))),
                await failure_of(stub.IngestAudio(segments(1)).read()),
                (await check(health_pb2.HealthCheckRequest())).status,
                (await call(segment("s1", 0), metadata=bearing("sesame"))).status_message,
            ]

    monkeypatch.setenv("GATEWAY_TOKEN", "sesame")
    async with open_door(token_env="GATEWAY_TOKEN") as door:
        *refused, status, right = await on_loop(client)
    message = "UNAUTHENTICATED the metadata lacks authorization: Bearer, with the right token"
    assert refused == [message] * 3
    assert status == health_pb2.HealthCheckResponse.SERVING
    assert right == FORWARDED


@pytest.mark.parametrize("mutual", [False, True], ids=["server only", "both sides"])
@in_reactor
async def test_tls_holds_from_gateway_to_recognizer(mutual: bool, tmp_path: Path) -> None:
    made = self_signed(tmp_path, "DNS:voice.example.com")
    key, certificate = made.private_key, made.certificate

    async def client() -> Any:
        mine = (key.read_bytes(), certificate.read_bytes()) if mutual else ()
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes(), *mine)
        options = [("grpc.ssl_target_name_override", "voice.example.com")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{door.ports[0]}", credentials, options) as channel:
            stub = pb_grpc.StreamIngestStub(channel)
            return [await stub.IngestAudioSegment(each) async for each in segments(5)]

    async def stranger() -> str:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        options = [("grpc.ssl_target_name_override", "voice.example.com")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{door.ports[1]}", credentials, options) as channel:
            return await failure_of(pb_grpc.SpeechToTextStub(channel).TranscribeAudioSegment(segment("s2", 0)))

    client_ca = str(certificate) if mutual else ""
    async with open_door(certificate=str(certificate), private_key=str(key), client_ca=client_ca) as door:
        told = await on_loop(client)
        if mutual:
            assert (await on_loop(stranger)).startswith("UNAVAILABLE")
    assert told[-1].status_message == f"{FORWARDED}100 ms"


# --- health, reflection, starting and stopping ---


@in_reactor
async def test_health_and_reflection_are_as_tools_expect_them() -> None:
    async def client() -> tuple[list[int], list[list[str]]]:
        statuses, services = [], []
        for port, name in zip(door.ports, ("StreamIngest", "SpeechToText"), strict=True):
            async with plain(port) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                for service in ("", f"real_time_processing.{name}"):
                    statuses.append((await check(health_pb2.HealthCheckRequest(service=service))).status)
                asked = reflection_pb2.ServerReflectionRequest(list_services="")
                reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
                async for reply in reflect(iter([asked])):
                    services.append([each.name for each in reply.list_services_response.service])
        return statuses, services

    async with open_door() as door:
        statuses, services = await on_loop(client)
    assert statuses == [health_pb2.HealthCheckResponse.SERVING] * 4
    others = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    assert services == [
        sorted([*others, "real_time_processing.StreamIngest"]),
        sorted([*others, "real_time_processing.SpeechToText"]),
    ]


@in_reactor
async def test_a_session_that_is_on_ends_well_while_the_server_drains() -> None:
    async def begin() -> None:
        async with plain(door.ports[1]) as channel:
            await pb_grpc.SpeechToTextStub(channel).TranscribeAudioSegment(segment("s1", 0))

    async def go_on() -> tuple[str, int, str]:
        async with plain(door.ports[1]) as channel:
            call = pb_grpc.SpeechToTextStub(channel).TranscribeAudioSegment
            refused = await failure_of(call(segment("s2", 0)))
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            return refused, health.status, (await call(segment("s1", 1, is_final=True))).transcript

    async with open_door() as door:
        await on_loop(begin)
        draining = Deferred.fromCoroutine(door.drain())
        refused, status, transcript = await on_loop(go_on)
        await draining
    assert refused == "UNAVAILABLE this server is about to stop"
    assert status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert transcript == "40 ms"


@in_reactor
async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            make_gateways(Grpc(enabled=True, ingest_port=0, speech_port=port)).start()
        assert str(caught.value) == (
            f"grpc.speech_port: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "free it, take another, or set grpc.enabled = false"
        )
        # Nobody has asked for gRPC: calls are taken all the same.
        door = make_gateways(Grpc(ingest_port=0, speech_port=port))
        door.start()
        assert door.ports == (0, 0)
        await door.drain()
        await door.stop()


def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    none = tmp_path / "none.pem"
    with pytest.raises(ConfigError, match=r"grpc.certificate: .*none.pem: No such file"):
        make_gateways(Grpc(certificate=str(none), private_key=str(none)))
    none.write_text("not PEM")
    with pytest.raises(ConfigError, match=r"grpc.certificate: .*none.pem: is no PEM file"):
        make_gateways(Grpc(certificate=str(none), private_key=str(none)))


@in_reactor
async def test_the_recognizer_grpc_hears_through_another_voicemedia() -> None:
    async with open_door() as door:
        options = Options(target=f"127.0.0.1:{door.ports[1]}", segment_ms=100)
        recognizer, notes = make(options, reactor), Notes()
        await recognizer.start()
        recognition = recognizer.listen(16000, notes)
        for _ in range(2):
            recognition.onset()
            for _ in range(20):
                recognition.feed(LOUD)
            recognition.endpoint()
        await notes.until_finals(2, reactor)
        recognition.close()
        await maybeDeferred(recognizer.stop)
        assert notes.finals == ["400 ms", "400 ms"]
        assert len(door.sessions) == 0


@in_reactor
async def test_without_grpc_calls_are_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "voicemedia.gateway.servers", None)
    with pytest.raises(ConfigError, match=r"^grpc.enabled: voicemedia.gateway.servers is not installed; pip install"):
        make_gateways(Grpc(enabled=True)).start()
    door = make_gateways(Grpc())
    door.start()
    assert door.ports == (0, 0)
    await door.drain()
    await door.stop()
