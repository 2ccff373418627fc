"""Starts voicemedia from the checkout: `twistd -ny voicemedia.tac`.

The configuration is the file $VOICEMEDIA_CONFIG names, else voicemedia.toml in this directory, else the defaults.
"""

import sys
from pathlib import Path

from twisted.application.service import Application

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from voicemedia.tap import make_house
except ModuleNotFoundError as error:
    sys.exit(f"voicemedia: {error}. Cure: `make run` here sets everything up, or: pip install -e '.[offline]'")

application = Application("voicemedia")
make_house(None).setServiceParent(application)
