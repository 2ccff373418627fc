"""What a test needs that is no Python package."""

import os
import shutil

import pytest


def needs(program: str, packages: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, and name its Debian packages; in CI that is a failure.

    `.ci/run` installs every peer, so that a missing one there means that nothing was tried.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    return pytest.mark.skipif(not (found or in_ci()), reason=f"needs the Debian packages {packages}")


def in_ci() -> bool:
    """Tell whether `.ci/run` runs us. (To `CI` Hypothesis listens, and tries the same examples each time.)"""
    return bool(os.environ.get("VOICEMEDIA_CI"))
