"""Compares what judemap's programs got from ONNX Runtime with what Python's onnxruntime says to the same input, bit by bit.

compare.py filetype MAGIKA INPUT.npy OUTPUT.npy LINES   # and with what the package magika says of the files
compare.py textdetect MODEL INPUT.npy OUTPUT.npy
"""

import sys
from pathlib import Path

import magika
import numpy as np
import onnxruntime

# What any reader of these files would say of them.
KNOWN = {"README.md": "markdown", "Makefile": "makefile", "judemap.go": "go", "CMakeLists.txt": "cmake", "astronaut.png": "png"}


def same_output(model: Path, input_file: str, output_file: str) -> None:
    # One thread, as the programs were told: how a sum is parted may depend on their number.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x, got = np.load(input_file), np.load(output_file)
    (want,) = session.run(None, {session.get_inputs()[0].name: x})
    if got.dtype != want.dtype or got.shape != want.shape:
        sys.exit(f"{model.name}: {got.dtype} {got.shape}, and Python's is {want.dtype} {want.shape}")
    if got.tobytes() != want.tobytes():
        sys.exit(f"{model.name}: {np.count_nonzero(got != want)} of {got.size} values differ, by {np.abs(got - want).max()} at most")
    print(f"{model.name}: {got.dtype} {list(got.shape)} from {x.dtype} {list(x.shape)}, bit for bit Python's")


def same_labels(lines: str) -> None:
    rows = [line.split("\t") for line in Path(lines).read_text().splitlines()]
    paths = [Path(path) for _, _, path in rows]
    asked = magika.Magika().identify_paths(paths)
    for (label, score, path), result in zip(rows, asked, strict=True):
        if label != result.output.label or np.float32(score) != np.float32(result.score):
            sys.exit(f"{path}: {label} {score}, and magika says {result.output.label} {result.score}")
        if label != KNOWN.get(Path(path).name, label):
            sys.exit(f"{path}: {label} {score}")
    missing = KNOWN.keys() - {path.name for path in paths}
    if missing:
        sys.exit(f"not among the files: {missing}")
    print(f"{len(rows)} files, {len({row[0] for row in rows})} labels: all labels and scores those of the package magika")


match sys.argv[1:]:
    case ["filetype", folder, input_file, output_file, lines]:
        same_output(Path(folder) / "models" / "standard_v3_3" / "model.onnx", input_file, output_file)
        same_labels(lines)
    case ["textdetect", model, input_file, output_file]:
        same_output(Path(model), input_file, output_file)
    case _:
        sys.exit(__doc__)
