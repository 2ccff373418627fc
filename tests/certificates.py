"""Certificates that nobody but themselves has signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """PEM files of one."""

    certificate: Path
    private_key: Path


def self_signed(folder: Path, *names: str) -> Certificate:
    """Make one for some names as in a subjectAltName: `DNS:voice.example.com`, `IP:127.0.0.1`."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    owner = ["-subj", "/CN=voice", "-addext", f"subjectAltName={','.join(names)}", "-days", "2"]
    files = ["-keyout", str(made.private_key), "-out", str(made.certificate)]
    subprocess.run([*openssl, *owner, *files], check=True, capture_output=True)
    return made
