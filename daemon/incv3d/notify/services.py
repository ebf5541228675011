"""The services that deliver notifications, through Apprise: mail, ntfy, Telegram, MQTT and a hundred more."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from incv3d.config.loading import ConfigError
from incv3d.errors import not_installed, one_line
from incv3d.protocol.secret_file import advice_if_denied, make_command, read_secret

KEY = "notify.urls_file"
LARGEST_FILE = 64 * 1024
PACKAGE = "apprise"
EXAMPLE = "echo 'ntfy://my-topic'"


@dataclass(frozen=True, slots=True)
class Service:
    """One line of the file: where to send."""

    id: str
    """The same for the same address; it reveals nothing of it."""
    shown: str
    """The address without its secrets."""
    url: str

    def send(self, title: str, body: str, image: Path | None) -> str:
        """Send a message; return why that failed, without secrets; empty: it was sent."""
        import apprise

        logger = logging.getLogger("apprise")
        logger.propagate = False  # its messages may quote addresses
        service = apprise.Apprise.instantiate(self.url, suppress_exceptions=True)
        if service is None:
            return "not an address that Apprise understands"
        attach = apprise.AppriseAttachment(str(image)) if image and service.attachment_support else None
        try:
            # Apprise has type hints in parts.
            with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
                is_sent = service.notify(body=body, title=title, attach=attach)
                reason = said.getvalue().strip().splitlines()
        except Exception as error:  # noqa: BLE001 - a hundred services raise what they like
            return self._hide(one_line(error))
        if is_sent:
            return ""
        return self._hide(reason[-1]) if reason else "the service refused it, or cannot be reached"

    def _hide(self, text: str) -> str:
        """Return `text` without any part of the address that may be secret."""
        for part in sorted(re.split(r"[/:@?&=]+", self.url)[1:], key=len, reverse=True):
            if len(part) >= 4 and part not in self.shown:
                text = text.replace(part, "****")
        return text


def read_services(path: Path) -> list[Service]:
    """Return the services that the file names, one a line; ``#`` begins a comment.

    :raises ConfigError: the file cannot be read, names none, or Apprise does not understand a line.
    """
    require_apprise()
    import apprise

    logging.getLogger("apprise").propagate = False
    try:
        text = read_secret(path, KEY, LARGEST_FILE).decode("utf-8")
    except PermissionError as error:
        raise ConfigError(
            f"{KEY}: {path}: cannot be read: {error.strerror}: {advice_if_denied(path)}"
        ) from error
    except OSError as error:
        advice = make_command(path, EXAMPLE)
        raise ConfigError(f"{KEY}: {path}: cannot be read: {error.strerror}: {advice}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{KEY}: {path}: not UTF-8 text") from None
    services = []
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        found = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if found is None:
            raise ConfigError(
                f"{KEY}: {path}:{number}: not an address that Apprise understands, such as ntfy://topic or "
                "mailtos://user:password@example.org (all: https://github.com/caronc/apprise/wiki)"
            )
        shown = str(found.url(privacy=True)).partition("?")[0]  # type: ignore[no-untyped-call]
        services.append(Service(hashlib.sha256(url.encode()).hexdigest()[:12], shown, url))
    if not services:
        raise ConfigError(f"{KEY}: {path}: names no service: {make_command(path, EXAMPLE)}")
    return services


def require_apprise() -> None:
    """Check that Apprise is installed.

    :raises ConfigError: it is not.
    """
    from importlib.util import find_spec

    if find_spec(PACKAGE) is None:
        raise ConfigError(f"{KEY}: {not_installed(PACKAGE)}")
