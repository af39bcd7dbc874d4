"""Makes the graphs that the tests of the Go package need.

    python graphs.py FOLDER

makes in FOLDER

    types.pb   for each type "in_TYPE" and "out_TYPE", which is the same; any shape
    gate.pb    "y" is "x" as soon as "open" was asked for once more: until then a run of it waits
    keep.pb    "y" is "x" less the "x" of the run before, which the model keeps in a variable; float32 [4096], 0 at first
    heavy.pb   "y" is "x", float32 [n 224 224 3], through six convolutions
    words/     a SavedModel that takes a string, its length in bytes
    pair/      a SavedModel of two signatures, "sum" and "parts", the first with two inputs, the second with two outputs
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

TYPES = [
    tf.float32,
    tf.float64,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.int8,
    tf.uint16,
    tf.int16,
    tf.bool,
    tf.float16,
    tf.bfloat16,
    tf.uint32,
    tf.uint64,
    tf.dtypes.experimental.float8_e4m3fn,
    tf.dtypes.experimental.float8_e5m2,
    tf.complex64,
]


def write(folder: Path, name: str, graph: tf.Graph) -> None:
    (folder / name).write_bytes(graph.as_graph_def().SerializeToString())


def graphs(folder: Path) -> None:
    with tf.Graph().as_default() as graph:
        for dtype in TYPES:
            tf.identity(v1.placeholder(dtype, name=f"in_{dtype.name}"), name=f"out_{dtype.name}")
    write(folder, "types.pb", graph)

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, name="x")
        queue = tf.queue.FIFOQueue(1000, [tf.float32], shapes=[[]], shared_name="gate")
        with tf.control_dependencies([queue.dequeue()]):
            tf.identity(x, name="y")
        with tf.control_dependencies([queue.enqueue(0.0)]):
            tf.constant(0.0, name="open")
    write(folder, "gate.pb", graph)

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [4096], name="x")
        before = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[4096], shared_name="before")
        last = tf.cond(
            tf.raw_ops.VarIsInitializedOp(resource=before),
            lambda: tf.raw_ops.ReadVariableOp(resource=before, dtype=tf.float32),
            lambda: tf.zeros([4096]),
        )
        y = x - last
        with tf.control_dependencies([y]):
            keep = tf.raw_ops.AssignVariableOp(resource=before, value=x)
        with tf.control_dependencies([keep]):
            tf.identity(y, name="y")
    write(folder, "keep.pb", graph)

    with tf.Graph().as_default() as graph:
        y = x = v1.placeholder(tf.float32, [None, 224, 224, 3], name="x")
        random = np.random.default_rng(1)
        for channels, stride in [(32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)]:
            weights = random.standard_normal((3, 3, y.shape[-1], channels)).astype(np.float32)
            weights /= np.sqrt(9 * y.shape[-1])
            y = tf.nn.relu(tf.nn.conv2d(y, tf.constant(weights), stride, "SAME"))
        tf.reduce_mean(y, axis=[1, 2], name="y")
    write(folder, "heavy.pb", graph)


class Words(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(text)}


class Pair(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([2], tf.float32, name="b")])
    def sum(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def parts(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"whole": tf.floor(x), "rest": x - tf.floor(x)}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    graphs(folder)
    words, pair = Words(), Pair()
    tf.saved_model.save(words, str(folder / "words"), signatures=words.__call__)
    tf.saved_model.save(pair, str(folder / "pair"), signatures={"sum": pair.sum, "parts": pair.parts})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
