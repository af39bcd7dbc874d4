"""Segments and streams between Python and programs in Go and C++, in both directions."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_segment import sample

import judemap
from judemap import DType

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segments have names on Linux only")

ROOT = Path(__file__).resolve().parents[2]
SHAPES: list[tuple[int, ...]] = [(2, 3), (), (0,), (1, 2, 1, 2, 1, 1, 1, 1)]


@pytest.fixture(scope="module", params=["go", "c++"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, built: tests/peer."""
    out = str(tmp_path_factory.mktemp("peer") / "peer")
    if request.param == "go":
        go = shlex.split(os.environ.get("GO", "go"))
        if shutil.which(go[0]) is None:
            pytest.skip(f"there is no {go[0]}")
        command = [*go, "build", "-o", out, "./python/tests/peer"]
    else:
        cxx = shlex.split(os.environ.get("CXX", "c++"))
        source = ["python/tests/peer/peer.cc", "judemap_core.cc"]
        command = [*cxx, "-std=c++17", "-O2", "-Wall", "-Wextra", "-Iinclude", *source, "-pthread", "-o", out]
    subprocess.run(command, cwd=ROOT, check=True)
    return out


class Peer:
    """The program at work."""

    def __init__(self, program: str, kind: str, name: str) -> None:
        self.process = subprocess.Popen(
            [program, kind, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        return self._line()

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture(params=["segment", "stream"])
def shared(request: pytest.FixtureRequest, name: str) -> Iterator[judemap.Segment | judemap.Stream]:
    """A segment or a stream with a name."""
    made: judemap.Segment | judemap.Stream
    made = judemap.create(name, 1 << 12) if request.param == "segment" else judemap.create_stream(name, 4, 1 << 12)
    with made:
        yield made


def test_they_write_and_python_reads(program: str, shared: judemap.Segment | judemap.Stream) -> None:
    reader = shared.reader() if isinstance(shared, judemap.Stream) else None
    peer = Peer(program, "stream" if reader else "segment", shared.name)
    version = 0
    for dtype in DType:
        for shape in SHAPES:
            array = sample(dtype, shape)
            said = peer.ask(f"write {int(dtype)} x{array.tobytes().hex()} {' '.join(map(str, shape))}")
            assert said == "ok"
            if isinstance(shared, judemap.Stream):
                assert reader is not None
                tensor: judemap.Tensor = reader.next(timeout=20)
            else:
                tensor = shared.next(version, timeout=20)
            version += 2
            assert (tensor.version, tensor.dtype, tensor.shape) == (version, dtype, shape)
            assert tensor.array.dtype == array.dtype and tensor.array.tobytes() == array.tobytes()
            assert tensor.valid()
    assert str(shared.writer) == "other"
    with pytest.raises(judemap.WriterActive):
        shared.write(1)
    peer.end()
    assert str(shared.writer) == "none"
    shared.write(1)


def test_python_writes_and_they_read(program: str, shared: judemap.Segment | judemap.Stream) -> None:
    peer = Peer(program, "stream" if isinstance(shared, judemap.Stream) else "segment", shared.name)
    version = 0
    for dtype in DType:
        for shape in SHAPES:
            array = sample(dtype, shape)
            if version % 4:
                shared.write(array)
            else:
                with shared.update(shape, dtype) as place:
                    place[...] = array
            expected = " ".join([f"{version + 2} {int(dtype)} x{array.tobytes().hex()}", *map(str, shape)])
            assert peer.ask(f"read {version}") == expected
            version += 2
    assert np.asarray(shared.read_copy()).size == 4
    peer.end()
