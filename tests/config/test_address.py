"""An address shows no secret, however it is written and whoever prints it."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.config.address import Address
from incv3d.config.loading import as_builtins
from incv3d.config.schema import Config
from incv3d.config.source import SourceSection

SECRETS = (
    "geheim",
    "ge#heim",
    "ge/heim",
    "ge?heim",
    "ge[heim",
    "ge]heim",
    "ge@heim",
    "ge:heim",
    "g&hx=eim",
    "12/34#",
)
FORMS = {
    "rtsp://admin:SECRET@10.0.0.5:554/stream": "rtsp://admin:***@10.0.0.5:554/stream",
    "rtsp://:SECRET@10.0.0.5/stream": "rtsp://:***@10.0.0.5/stream",
    "https://SECRET@10.0.0.5:80/x": "https://***@10.0.0.5:80/x",
    "rtmp://admin:SECRET@10.0.0.5/live": "rtmp://admin:***@10.0.0.5/live",
    "admin:SECRET@10.0.0.5/stream": "admin:***@10.0.0.5/stream",
    "rtsp:/admin:SECRET@10.0.0.5/stream": "rtsp:/admin:***@10.0.0.5/stream",
    "https://admin:SECRET@[fe80::1]:8080/x": "https://admin:***@[fe80::1]:8080/x",
    "http://10.0.0.5/snap.cgi?user=admin&password=SECRET": "http://10.0.0.5/snap.cgi?user=admin&password=***",
    "http://10.0.0.5/s.cgi?loginuse=a&loginpas=SECRET&res=1": "http://10.0.0.5/s.cgi?loginuse=a&loginpas=***&res=1",
    "http://10.0.0.5/x?pwd=SECRET&channel=1": "http://10.0.0.5/x?pwd=***&channel=1",
    "http://10.0.0.5/x?something=SECRET": "http://10.0.0.5/x?something=***",
    "http://10.0.0.5/x?token=SECRET#top": "http://10.0.0.5/x?token=***",
    "rtsp://10.0.0.5/user=a&password=SECRET&channel=1&stream=0.sdp?real_stream": (
        "rtsp://10.0.0.5/user=a&password=***&channel=1&stream=0.sdp?real_stream"
    ),
    "rtsp://10.0.0.5/user=a_password=SECRET_channel=1_stream=0.sdp": (
        "rtsp://10.0.0.5/user=a_password=***_channel=1_stream=0.sdp"
    ),
}  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_address_shows_its_secret(form: str, secret: str) -> None:
    address = Address(form.replace("SECRET", secret))
    for shown in (str(address), repr(address), f"{address}", f"{address:>200}", "%s %r" % (address, address)):  # noqa: UP031
        assert secret not in shown and "***" in shown
        for piece in ("geh", "heim", "eim"):
            assert piece not in shown
    assert quote(secret, safe="") in quote(address.reveal(), safe="%")


@pytest.mark.parametrize(("form", "shown"), FORMS.items())
def test_what_is_not_secret_stays_readable(form: str, shown: str) -> None:
    assert str(Address(form.replace("SECRET", "geheim"))) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/srv/pictures",
        "/srv/a:b@c?.jpg",
        "~/films/x=y.mp4",
        "pictures/*.jpg",
        "/dev/v4l/by-id/usb-046d_0825-video-index0",
        "file:///srv/a?b=c.mp4",
        "tcp://*:5555",
        "tcp://10.0.0.6:5555",
        "ipc:///run/a@b:c",
        "rtsp://10.0.0.5:554/Streaming/Channels/101",
        "rtsp://cam/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
        "http://cam:8080/?action=stream",
        "http://cam/axis-cgi/mjpg/video.cgi?resolution=640x480&fps=5",
        "http://[fe80::1]:8080/image.jpg?y=1",
        "http://cam/image@2x.jpg",
    ],
)
def test_an_address_without_a_secret_is_shown_whole(text: str) -> None:
    address = Address(text)
    assert str(address) == address.reveal() == text and not address.has_secret and not address.mistake


@given(secret=st.text(alphabet=st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=4))
def test_no_password_before_the_host_is_shown(secret: str) -> None:
    shown = str(Address(f"rtsp://admin:{secret}@camera/stream"))
    assert shown.startswith("rtsp://admin:***") and secret not in shown.removeprefix("rtsp://admin:")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rtsp://admin:ge#heim@10.0.0.5/x", "in a user name or password, write `#` as %23"),
        ("rtsp://admin:g/e?heim@10.0.0.5/x", "in a user name or password, write `/` as %2F, `?` as %3F"),
        ("http://admin:geheim/x", "its host and port cannot be identified"),
        ("http://[fe80::1/x", "its host and port cannot be identified"),
        ("rtsp:///x", "its host and port cannot be identified"),
    ],
)
def test_an_address_that_cannot_be_parsed_says_how_to_write_it(text: str, hint: str) -> None:
    assert Address(text).mistake == hint
    with pytest.raises(ValueError, match="path: ") as caught:
        SourceSection(type="video", path=Address(text))
    assert "heim" not in str(caught.value)


def test_a_password_that_may_be_a_port_is_tried_and_then_explained() -> None:
    address = Address("rtsp://admin:12/34@10.0.0.5/x")
    assert not address.mistake and address.encoding_hint.endswith("write `/` as %2F")
    assert not Address("rtsp://10.0.0.5:554/user=a&password=b@c").encoding_hint


def test_brackets_and_blanks_in_a_password_are_encoded_for_the_one_that_opens_it() -> None:
    assert Address("rtsp://a:g[e h%20@cam/[x]").reveal() == "rtsp://a:g%5Be%20h%20@cam/[x]"


def test_blanks_around_an_address_and_capitals_in_its_scheme_do_no_harm() -> None:
    address = Address(" RTSP://admin:secret@cam/x\n")
    assert str(address) == "RTSP://admin:***@cam/x"
    assert address.reveal() == "rtsp://admin:secret@cam/x"
    assert Address("Rtsp://cam/x").reveal() == "rtsp://cam/x" and not address.mistake
    assert Address(" a picture.jpg ").reveal() == " a picture.jpg "


def test_a_path_that_is_not_utf_8_can_be_shown_and_opened() -> None:
    path = os.fsdecode(b"/srv/f\xfcr.mp4")
    assert str(Address(path)) == "/srv/f?r.mp4" and Address(path).reveal() == path


def test_addresses_are_equal_when_their_secrets_are() -> None:
    one, other = Address("rtsp://a:geheim@cam/x"), Address("rtsp://a:anders@cam/x")
    assert str(one) == str(other) and one != other
    assert one == Address(one) and hash(one) == hash(Address("rtsp://a:geheim@cam/x"))


def test_no_encoding_of_a_configuration_has_a_secret() -> None:
    section = SourceSection(
        path=Address("rtsp://a:geheim@cam/x"), addresses=[Address("tcp://a:geheim@10.0.0.5:5555")]
    )
    config = Config(source=section)
    for shown in (repr(config), str(as_builtins(config)), msgspec.yaml.encode(as_builtins(config)).decode()):
        assert "geheim" not in shown and "a:***@cam" in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(config)


def test_what_other_programs_quote_of_it_is_hidden() -> None:
    address = Address("rtsp://admin:g%40h/e#imnis@10.0.0.5/x")
    for quoted in (
        "rtsp://admin:g%40h/e#imnis@10.0.0.5/x: Invalid data",
        "Port could not be cast to integer value as 'imnis'",
        "no such user g@h/e#imnis",
        f"Authorization: Basic {base64.b64encode(b'admin:geheim').decode()}",
    ):
        assert "imnis" not in address.hide(quoted)
    login = Address("http://admin:geh%40eim@cam/x")
    basic = base64.b64encode(b"admin:geh@eim").decode()
    assert login.hide(f"Authorization: Basic {basic}") == "Authorization: Basic ***"
    assert Address("http://a:12@cam").hide("status 12 after 1200 ms") == "status *** after 1200 ms"
