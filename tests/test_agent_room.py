"""The table of agents: each name leads to a module of the right shape."""

from importlib import import_module

import pytest

from voicemedia.agent import PROVIDERS


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_module_has_the_three_names(name: str) -> None:
    module = import_module(PROVIDERS[name])
    # What a cloud wants is said in one line that names the key; what needs nothing says nothing.
    missing = module.missing(module.Options())
    assert missing == "" or missing.startswith("key_env: ")
    assert callable(module.make)
