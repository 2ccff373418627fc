"""The C kernels for s16le sound, imported in one place.

`audioop` warns that it is deprecated from 3.11 on and left the standard library with 3.13, where `audioop-lts`
provides the same module. Its kernels cost a tenth of numpy on a 20 ms frame.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from audioop import alaw2lin, bias, lin2alaw, lin2lin, lin2ulaw, ratecv, rms, tomono, ulaw2lin

__all__ = ["alaw2lin", "bias", "lin2alaw", "lin2lin", "lin2ulaw", "ratecv", "rms", "tomono", "ulaw2lin"]
