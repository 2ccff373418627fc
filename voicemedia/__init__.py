"""voicemedia: a telephony media server on one Twisted reactor.

The call stands in the middle (`call`, `turns`, `switchboard`) and knows its neighbors only by the seams in
`interfaces`. Around it lie the rooms:

- ways in: `protocols` (carriers, browsers and clients over WebSocket, and the HTTP pages), `sip_bridge` (SIP and
  RTP), `gateway` (voice gateways over gRPC, generated from `proto`), `pages` (what a browser is given);
- providers: `stt` (ears), `tts` (voices), `agent` (minds), and `web` (what clients of web services share);
- `transcribing`: speech to text as a service, without a call;
- `history`: what was said in calls; `recording`: how they sounded;
- `audio`: sound without I/O;
- `callers`: simulated callers, for trying things out.

`service` builds everything, with a `*_service` for each way in that is large; they are the only modules
that know every name.
"""

__version__ = "0.1.0"
