"""The servers that peers.py compares incv3d with, each started as a process of its own by it."""

from __future__ import annotations

import base64
import json
import sys

import imagezmq
import litserve
import numpy as np
import simplejpeg
from PIL import Image

from incv3d.frames import Prediction
from measuring import Opened, open_model


def classify_plainly(opened: Opened, jpeg: bytes) -> tuple[Prediction, ...]:
    """Decode, resize, run, name: what a loop of one's own does."""
    spec = opened.spec
    picture = Image.fromarray(simplejpeg.decode_jpeg(jpeg)).resize((spec.width, spec.height))
    pixels = (np.asarray(picture, np.float32) - np.float32(spec.mean)) / np.float32(spec.scale)
    return opened.labels.top_k(opened.session.run(pixels[np.newaxis]), 5)


def as_json(predictions: tuple[Prediction, ...]) -> str:
    """The labels and scores."""
    return json.dumps([(each.label, each.score) for each in predictions])


def hub_child(model: str, port: str) -> None:
    """An imagezmq hub and the loop that its documentation shows."""
    opened = open_model(model)
    hub = imagezmq.ImageHub(open_port=f"tcp://127.0.0.1:{port}")
    print('"ready"', flush=True)
    while True:
        _, jpeg = hub.recv_jpg()
        hub.send_reply(as_json(classify_plainly(opened, jpeg)).encode())


class Api(litserve.LitAPI):
    """The model in LitServe's worker process, which gets a copy of this object before its ``setup``."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def setup(self, device: str) -> None:
        self.opened = open_model(self._model)

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["jpeg"])

    def predict(self, jpeg: bytes) -> tuple[Prediction, ...]:
        return classify_plainly(self.opened, jpeg)

    def encode_response(self, output: tuple[Prediction, ...]) -> dict[str, str]:
        return {"predictions": as_json(output)}


def litserve_child(model: str, port: str) -> None:
    """LitServe with the model in its one worker."""
    server = litserve.LitServer(Api(model), accelerator="cpu")
    # Said before it is: it speaks HTTP when its worker is warm, and is asked until then.
    print('"ready"', flush=True)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")


if __name__ == "__main__":
    {"hub": hub_child, "litserve": litserve_child}[sys.argv[2]](*sys.argv[3:])
