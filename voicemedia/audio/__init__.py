"""Sound without I/O: bytes of PCM in, bytes of PCM out."""
