"""TLS of SIP: the certificate we show, and whose we believe."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from zope.interface import implementer

from voicemedia.config import Sip
from voicemedia.errors import ConfigError

# Not typed in Twisted.
_trust: Callable[[list[Certificate]], Any] = trustRootFromCertificates
_with_key: Callable[[bytes], PrivateCertificate] = PrivateCertificate.loadPEM
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


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


def client_judge(settings: Sip) -> Callable[[str], Any]:
    """Return what judges a server we connect to, from its name; the server is shown our certificate if we have one.

    :raises ConfigError: the files cannot be read.
    """
    options: dict[str, Any] = {}
    if settings.ca:
        options["trustRoot"] = _trust(_certificates(settings.ca))
    if settings.certificate:
        pem = b"\n".join(_read(key, getattr(settings, key)) for key in ("private_key", "certificate"))
        try:
            options["clientCertificate"] = _with_key(pem)
        except SSL.Error as error:
            raise ConfigError(f"sip.certificate: {error}; give a PEM certificate and its key") from error
    return lambda name: optionsForClientTLS(name, **options)


def _certificates(path: str) -> list[Certificate]:
    found = _PEM.findall(_read("ca", path))
    if not found:
        raise ConfigError(f"sip.ca: {path}: no certificate in it; give a PEM file")
    try:
        return [Certificate.loadPEM(each) for each in found]
    except SSL.Error as error:
        raise ConfigError(f"sip.ca: {path}: {error}; give a PEM file") from error


def _read(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"sip.{key}: {path}: cannot be read; give a readable PEM file") from error


@implementer(IOpenSSLContextFactory)
class _Context:
    """Gives every connection the same context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        """Return it."""
        return self._context
