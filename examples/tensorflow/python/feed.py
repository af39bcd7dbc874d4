"""Commits the batches of an array to a segment or stream, one by one.

    python feed.py JUDEMAP ARRAY.npy NAME BATCH

JUDEMAP is the command judemap; BATCH is the most rows of the array that go into one batch.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def main(judemap: str, array: str, name: str, batch: int) -> None:
    rows = np.load(array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.npy"
        for first in range(0, len(rows), batch):
            np.save(path, rows[first : first + batch])
            subprocess.run([judemap, "put", path, name], check=True, timeout=60)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
