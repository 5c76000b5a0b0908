"""Certificates for tests, made by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


def make_certificate(folder: Path, name: str, *options: str) -> Path:
    """A certificate, self-signed unless the options say otherwise; its key lies beside it."""
    certificate = folder / f"{name}.pem"
    files = ("-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    argv = ["openssl", "req", "-x509", "-days", "2", "-subj", f"/CN={name}", *curve, *files, *options]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    return certificate
