"""Legs over SIP and RTP: the `*_wire` files are formats and machines without I/O, the others own sockets."""
