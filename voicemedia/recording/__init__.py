"""Calls as sound: one stereo WAV file a call, the caller left, we right."""
