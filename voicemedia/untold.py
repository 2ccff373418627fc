"""Takes the place of a callback once all is over.

Things that know each other are freed by the garbage collector alone: a call is a hundred objects, and while they are
looked for no call has sound. So whoever is at its end forgets whom it told.
"""


def untold(*_news: object) -> None:
    """Take what comes after the end."""
