"""Simulated callers: they speak a carrier's wire format from the carrier's side.

The command line, the tests and the benchmarks use the same ones. Nothing here reads or writes messages with the
server's own wire files: were both ends made of one piece, one mistake would hide the other.

A call is put together from parts without I/O (`sound`, `playback`, `impair`, `script`, `carrier`, one small file a
carrier) and one shell on Autobahn (`line`). `storm` places hundreds of calls at once with an engine of its own.
"""
