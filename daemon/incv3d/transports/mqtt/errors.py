"""What can be wrong with MQTT before anything is sent."""

from importlib.util import find_spec

from incv3d.errors import Incv3dError, pip_install


class MqttError(Incv3dError):
    """MQTT cannot be used as it is configured, or asked for."""

    exit_status = 2
    is_lasting = True


def need_library(key: str) -> None:
    """Raise MqttError unless the library is there that what is said with `key` needs."""
    if find_spec("paho") is None:
        raise MqttError(f"{key}: paho-mqtt is missing: {pip_install('paho-mqtt')}")
