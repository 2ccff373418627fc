"""The room of the agents: who decides what to say.

Modules are imported when the configuration names them, so a package missing here hurts only who asks for it.
A name with a dot in it is the module of an agent out of tree.
"""

from typing import Final

PROVIDERS: Final = {
    "diet": "voicemedia.agent.diet",
    "echo": "voicemedia.agent.echo",
    "gemini": "voicemedia.agent.gemini",
    "openai": "voicemedia.agent.openai",
    "remote": "voicemedia.agent.remote",
    "repeat": "voicemedia.agent.repeat",
}
"Name in the configuration -> module with `Options`, `missing` and `make`."
