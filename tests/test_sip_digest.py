"""Digest authentication against the vectors of its RFCs, and against itself."""

from hashlib import md5

import pytest

from voicemedia.errors import WireError
from voicemedia.sip_bridge.digest_wire import Credentials, Digest, Guard, Proof, realm_of, refused_realms, secret

NONCE_7616 = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE_7616 = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def credentials(password: str = "secret") -> Credentials:
    return Credentials("alice", password, lambda: "0a4f113b")


def guard() -> Guard:
    def ha1_of(algorithm: str, user: str) -> str | None:
        return secret(algorithm, user, "test.local", "secret") if user == "alice" else None

    return Guard("test.local", b"signing key", ha1_of)


def test_rfc_2617_section_3_5() -> None:
    proof = Proof("GET", "/dir/index.html", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "00000001", "0a4f113b", "auth")
    ha1 = secret("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    assert proof.response("MD5", ha1) == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    proof = Proof("GET", "/dir/index.html", NONCE_7616, "00000001", CNONCE_7616, "auth")
    ha1 = secret(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    assert proof.response(algorithm, ha1) == response


def test_rfc_2069_without_qop() -> None:
    proof = Proof("GET", "/dir/index.html", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    assert proof.response("MD5", secret("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")) == (
        "670fd8c2df070c60b045671b8b24ff02"
    )


def test_commas_in_quotes_do_not_split_a_challenge() -> None:
    challenge = Digest.parse('Digest realm="a, \\"b\\"", nonce="x", qop="auth,auth-int",stale=FALSE, algorithm=MD5')
    assert challenge and challenge.usable
    assert (challenge.get("realm"), challenge.get("qop")) == ('a, "b"', "auth,auth-int")
    assert Digest.parse(str(challenge)) == challenge


@pytest.mark.parametrize("text", ["Digest realm", 'Digest realm="open', 'Digest a="1", a="2"', 'Digest ="x"'])
def test_a_bad_challenge_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Digest.parse(text)


def test_another_scheme_is_not_digest() -> None:
    assert Digest.parse("NoOneKnowsThisScheme opaque-data=here") is None


def test_the_first_challenge_we_understand_is_answered() -> None:
    answer = credentials().answer(
        [
            "Basic x",
            'Digest realm="open',
            'Digest realm="r", nonce="n", algorithm=SHA-3',
            'Digest realm="r", nonce="n", qop="auth-int"',
            'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth-int, auth", opaque="o"',
            'Digest realm="r", nonce="n", algorithm=MD5, qop="auth"',
        ],
        "INVITE",
        "sip:b@c",
    )
    found = Digest.parse(answer or "")
    assert found and (found.get("algorithm"), found.get("qop"), found.get("opaque")) == ("SHA-256", "auth", "o")
    assert "qop=auth, nc=00000001" in (answer or "")
    assert credentials().answer(["Basic x"], "INVITE", "sip:b@c") is None


def test_every_realm_that_asks_is_answered() -> None:
    challenges = [
        'Digest realm="a", nonce="1", algorithm=SHA-256, qop="auth"',
        'Digest realm="b", nonce="2"',
        'Digest realm="a", nonce="1", algorithm=MD5, qop="auth"',
    ]
    answers = credentials().answers(challenges, "INVITE", "sip:b@c")
    assert {realm: realm_of(answer) for realm, answer in answers.items()} == {"a": "a", "b": "b"}
    assert "algorithm=SHA-256" in answers["a"]


def test_a_body_is_proved_where_nothing_else_is_offered() -> None:
    challenge = 'Digest realm="http-auth@example.org", nonce="n", algorithm=MD5, qop="auth-int"'
    answer = credentials().answer([challenge], "INVITE", "sip:b@c", b"v=0\r\n") or ""
    found = Digest.parse(answer)
    assert found is not None and found.get("qop") == "auth-int"
    a1 = md5(f"{found.get('username')}:http-auth@example.org:secret".encode()).hexdigest()
    a2 = md5(b"INVITE:sip:b@c:" + md5(b"v=0\r\n").hexdigest().encode()).hexdigest()
    proof = f"{a1}:n:00000001:{found.get('cnonce')}:auth-int:{a2}"
    assert found.get("response") == md5(proof.encode()).hexdigest()


def test_each_use_of_a_nonce_is_counted() -> None:
    ours = credentials()
    answers = [ours.answer([f'Digest realm="r", nonce="{nonce}", qop="auth"'], "BYE", "sip:b") for nonce in "aabab"]
    counts = [found.get("nc") for answer in answers if answer and (found := Digest.parse(answer))]
    assert counts == ["00000001", "00000002", "00000001", "00000003", "00000002"]


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
def test_client_and_server_agree(algorithm: str) -> None:
    server = guard()
    server.algorithms = (algorithm,)
    answer = credentials().answer(server.challenges(1000), "INVITE", "sip:bot@test.local") or ""
    assert server.check(answer, "INVITE", 2000, "sip:bot@test.local") == "ok"
    assert server.check(answer, "INVITE", 2000) == "stale", "a replay"
    assert server.check(answer, "BYE", 2000) == "denied"
    assert server.check(answer, "INVITE", 2000, "sip:other@test.local") == "denied"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("alice", "mallory"), "denied"),
        (("test.local", "else.where"), "denied"),
        (('response="', 'response="0'), "denied"),
        (("nc=00000001", "nc=xyz"), "denied"),
        (("algorithm=SHA-256", "algorithm=SHA-512"), "denied"),
        (("qop=auth", "qop=auth-int"), "denied"),
    ],
)
def test_changed_credentials_are_denied(change: tuple[str, str], verdict: str) -> None:
    server = guard()
    answer = credentials().answer(server.challenges(1000), "INVITE", "sip:b@test.local") or ""
    assert change[0] in answer
    assert server.check(answer.replace(*change), "INVITE", 2000) == verdict


def test_a_wrong_password_is_denied() -> None:
    server = guard()
    answer = credentials("guess").answer(server.challenges(1000), "INVITE", "sip:b@c") or ""
    assert server.check(answer, "INVITE", 2000) == "denied"


def test_a_nonce_of_somebody_elses_making_is_denied() -> None:
    answer = credentials().answer(['Digest realm="test.local", nonce="3e8-1.00", qop="auth"'], "INVITE", "sip:b") or ""
    assert guard().check(answer, "INVITE", 2000) == "denied"


def test_an_old_nonce_is_stale_and_the_new_challenge_says_so() -> None:
    server, ours = guard(), credentials()
    answer = ours.answer(server.challenges(0), "INVITE", "sip:b@c") or ""
    assert server.check(answer, "INVITE", 300_001) == "stale"
    fresh = server.challenges(300_001, stale=True)
    assert refused_realms(fresh) == set() and refused_realms(["Basic", 'Digest a="']) == set()
    assert refused_realms(server.challenges(300_001)) == {"test.local"}
    assert server.check(ours.answer(fresh, "INVITE", "sip:b@c") or "", "INVITE", 300_002) == "ok"


def test_another_process_with_the_same_key_takes_the_nonce() -> None:
    answer = credentials().answer(guard().challenges(1000), "INVITE", "sip:b@c") or ""
    assert guard().check(answer, "INVITE", 1500) == "ok"


def test_two_callers_of_one_millisecond_get_two_nonces() -> None:
    server = guard()
    assert server.challenges(5) != server.challenges(5)


def test_a_secret_is_not_shown_in_logs() -> None:
    assert "secret" not in repr(credentials()) and "signing" not in repr(guard())
