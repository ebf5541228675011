"""Between here and the file: redirects, certificates, proxies, passwords."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.models.fetch.download import Download, DownloadRequest, RetryPolicy
from incv3d.models.fetch.http_client import DownloadError
from webserver import Site, answer, redirect, web_server

CONTENT = b"a model"
QUICK = RetryPolicy(connect_s=5, read_s=5, attempts=2, pause_s=0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with web_server({"/model.tgz": CONTENT}) as site:
        yield site


def fetch(folder: Path, url: str) -> bytes:
    return (
        Download(folder, "model", DownloadRequest(url), QUICK, lambda have, total: None, lambda missing: None)
        .run()
        .read_bytes()
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(tmp_path, site, status) -> None:
    site.files["/there/model.tgz"] = site.files["/model.tgz"]
    site.files["/model.tgz"] = b""
    site.steps = [redirect("/there/model.tgz", status)]
    site.steps.append(answer(200, site.files["/there/model.tgz"]))
    fetch(tmp_path, site.url())
    assert [path for path, _ in site.asked] == ["/model.tgz", "/there/model.tgz"]


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([redirect("/model.tgz")] * 9, "redirected more than 5 times"),
        ([redirect("file:///etc/passwd")], "redirected to `file:///etc/passwd`, which is not supported"),
        ([redirect("ftp://127.0.0.1/x")], "which is not supported"),
        ([redirect("http://[/")], "the request failed: Invalid IPv6 URL"),
        ([redirect("")], "redirected more than 5 times"),
    ],
)
def test_redirects_to_nowhere_are_not(tmp_path, site, steps, complaint) -> None:
    site.steps = steps + ([redirect("")] * 9 if "more" in complaint else [])
    with pytest.raises(DownloadError, match=complaint):
        fetch(tmp_path, site.url())
    assert not (tmp_path / "model.part").exists()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Site]:
    """The same over TLS, with a certificate that nobody vouches for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with web_server({"/model.tgz": CONTENT}, tls) as site:
        yield site


def test_tls_is_spoken_with_those_that_somebody_vouches_for(secure, tmp_path, monkeypatch) -> None:
    with pytest.raises(
        DownloadError, match=r"certificate is not trusted: .*; is this machine's clock right\?"
    ):
        fetch(tmp_path, secure.url())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    assert fetch(tmp_path, secure.url()) == CONTENT


def test_a_redirect_from_https_down_to_http_is_refused(site, secure, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    secure.steps = [redirect(site.url())]
    with pytest.raises(DownloadError, match=r"rejected: redirected from https to http://127\.0\.0\.1:"):
        fetch(tmp_path, secure.url())
    assert site.asked == []


def test_a_proxy_of_the_environment_is_asked(tmp_path, site, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", site.address)
    monkeypatch.setenv("no_proxy", "")
    fetch(tmp_path, "http://models.example/model.tgz")
    path, headers = site.asked[0]
    assert (path, headers["Host"]) == ("http://models.example/model.tgz", "models.example")


def test_a_proxy_that_does_not_let_through_is_named(tmp_path, site, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", site.address)
    site.steps = [answer(403)] * 5
    with pytest.raises(DownloadError, match="the proxy: Tunnel connection failed: 403 Forbidden"):
        fetch(tmp_path, "https://models.example/model.tgz")


def test_a_password_in_the_address_is_used_and_not_shown(tmp_path, site) -> None:
    site.steps = [answer(404)]
    address = site.url().replace("http://", "http://me:secret@")
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, address)
    assert "secret" not in str(caught.value) and site.asked[0][1]["Authorization"].startswith("Basic ")
