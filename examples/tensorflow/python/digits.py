"""Trains a small convolutional network on scikit-learn's digits, and exports it for TensorFlow's C API.

    python digits.py FOLDER

makes in FOLDER

    digits/      the model as a SavedModel, input and output by its signature
    digits.pb    the same as a frozen graph, input "image" and output "logits"
    images.npy   the third of the digits that was held back, float32 [n 8 8 1], 0 to 1
    labels.npy   what they show, int64 [n]
    logits.npy   what Keras makes of them, float32 [n 10]
    accuracy     the share of them that Keras gets right
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(images, labels, batch_size=32, epochs=10, verbose=0)
    return model


def freeze(model: keras.Model, path: Path) -> None:
    """Writes the model as a graph whose variables are constants."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")])
    def logits(image: tf.Tensor) -> tf.Tensor:
        return tf.identity(model(image, training=False), name="logits")

    frozen = convert_variables_to_constants_v2(logits.get_concrete_function())
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    digits = load_digits()
    images = (digits.images[..., np.newaxis] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    seen, images, seen_labels, labels = train_test_split(images, labels, test_size=1 / 3, random_state=1, stratify=labels)
    model = train(seen, seen_labels)
    logits = model.predict(images, verbose=0)
    accuracy = float(np.mean(np.argmax(logits, axis=1) == labels))

    # What tf.saved_model.save makes of a Keras model lacks the variables when the C API loads it.
    model.export(folder / "digits", verbose=False)
    freeze(model, folder / "digits.pb")
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "logits.npy", logits)
    (folder / "accuracy").write_text(f"{accuracy:.4f}\n")
    print(f"trained on {len(seen)} digits; accuracy on the other {len(images)}: {accuracy:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
