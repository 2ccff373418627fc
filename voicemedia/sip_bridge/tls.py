"""The certificate SIP over TLS is served with."""

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from voicemedia.config import Sip
from voicemedia.errors import ConfigError


def server_context(settings: Sip) -> Any:
    """Return what a TLS listener is opened with: TLS 1.2 and later (RFC 8996).

    :raises ConfigError: the files cannot be read or do not belong together.
    """
    for key in ("certificate", "private_key"):
        path = getattr(settings, key)
        if not Path(path).is_file():
            raise ConfigError(f"sip.{key}: {path}: cannot be read; give a readable PEM file")
    context = CertificateOptions().getContext()
    try:
        context.use_certificate_chain_file(settings.certificate)
        context.use_privatekey_file(settings.private_key)
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigError(f"sip.certificate: {error}; give a PEM certificate and the key that belongs to it") from error
    return _Context(context)


@implementer(IOpenSSLContextFactory)
class _Context:
    """Gives every connection the same context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        """Return it."""
        return self._context
