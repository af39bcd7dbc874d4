"""Compares logits in a file with those that Keras gave, and the digits that they stand for with the labels.

    python check.py LOGITS.npy FOLDER

FOLDER is what digits.py made.
"""

import sys
from pathlib import Path

import numpy as np


def main(logits_path: str, folder: Path) -> None:
    logits, keras, labels = np.load(logits_path), np.load(folder / "logits.npy"), np.load(folder / "labels.npy")
    accuracy = np.mean(np.argmax(logits, axis=1) == labels)
    off = np.abs(logits - keras).max()
    print(f"accuracy {accuracy:.4f}, logits off by {off:.2g} at most")
    if off > 1e-5 or accuracy < 0.95 or f"{accuracy:.4f}" != (folder / "accuracy").read_text().strip():
        sys.exit(f"wanted the accuracy of Keras, {(folder / 'accuracy').read_text().strip()}, at least 0.95, and 1e-5")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
