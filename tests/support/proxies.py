"""Real proxies on loopback, as people put them before the daemon's HTTP address."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processes import PATIENCE_S


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def own_address() -> str:
    """An address of this machine that is not loopback, as another machine would use it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl: apt-get install openssl")
    certificate, key = folder / "proxy.crt", folder / "proxy.key"
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


@contextmanager
def nginx(folder: Path, upstream: str, *directives: str, tls: bool = False) -> Iterator[str]:
    """Run nginx before the address `upstream`; yields its port's URL on loopback.

    :param directives: of its ``location``, as ``proxy_set_header Host $http_host``.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        pytest.skip("needs nginx: apt-get install nginx")
    port = free_port()
    ssl = ""
    if tls:
        certificate, key = self_signed(folder)
        ssl = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    scratch = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; {scratch}\n"
        f"server {{ listen {port}{' ssl' if tls else ''}; {ssl}\n"
        f"location / {{ proxy_pass {upstream}; {' '.join(f'{each};' for each in directives)} }} }} }}\n"
    )
    with _running([program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)], port):
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


@contextmanager
def haproxy(folder: Path, upstream: str) -> Iterator[str]:
    """Run HAProxy before the address `upstream`, with as little configuration as it takes."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not program:
        pytest.skip("needs haproxy: apt-get install haproxy")
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        f"listen incv3d\n  bind :{port}\n  server daemon {upstream.removeprefix('http://')}\n"
    )
    with _running([program, "-db", "-f", str(config)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def stunnel(folder: Path, upstream: str) -> Iterator[str]:
    """Run stunnel before the address `upstream`: it ends TLS and knows nothing of HTTP."""
    program = shutil.which("stunnel4") or shutil.which("stunnel")
    if not program:
        pytest.skip("needs stunnel: apt-get install stunnel4")
    certificate, key = self_signed(folder)
    port = free_port()
    config = folder / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\n[http]\naccept = {port}\nconnect = {upstream.removeprefix('http://')}\n"
        f"cert = {certificate}\nkey = {key}\n"
    )
    with _running([program, str(config)], port):
        yield f"https://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    try:
        for _ in range(PATIENCE_S * 20):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(process.stderr.read().decode(errors="replace"))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stderr.close()
