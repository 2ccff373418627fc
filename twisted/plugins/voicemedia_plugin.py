"""Tells twist and twistd that there is a service `voicemedia`."""

from twisted.application.service import ServiceMaker

voicemedia = ServiceMaker("voicemedia", "voicemedia.tap", "A telephony media server.", "voicemedia")
