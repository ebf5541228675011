"""Makes Inception-v3 as Keras builds it, untrained: ``python make_inception.py FOLDER``.

It writes the weights in both of Keras' HDF5 layouts, the picture's pixels, and the scores that Keras gives.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(folder: Path) -> None:
    tf.keras.utils.set_random_seed(3)
    model = tf.keras.applications.InceptionV3(weights=None)
    model.save_weights(folder / "inception.weights.h5")
    model.save(folder / "whole.h5")
    pixels = np.random.default_rng(3).uniform(-1, 1, (1, 299, 299, 3)).astype(np.float32)
    np.savez(folder / "expected.npz", pixels=pixels, scores=model.predict(pixels, verbose=0))
    tf.keras.applications.MobileNet(weights=None, alpha=0.25).save_weights(folder / "other.weights.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
