"""Names, and what other processes do: writers' locks, deaths, forks, and the end of Python."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Child, eventually, in_shm

import judemap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segments have names on Linux only")


def test_names(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        judemap.open(name)
    with pytest.raises(FileNotFoundError):
        judemap.remove(name)
    with judemap.create(name, 64, mode=0o640) as s:
        assert s.name == name and s.capacity == 64 and name in judemap.names()
        assert os.stat(f"/dev/shm/{name}").st_mode & 0o777 == 0o640
        for make in (lambda: judemap.create(name, 64), lambda: judemap.create_stream(name, 4, 64)):
            with pytest.raises(FileExistsError, match=name) as raised:
                make()
            assert raised.value.filename == name
        with pytest.raises(judemap.CapacityError, match="room for 64 bytes and not 65"):
            judemap.open_or_create(name, 65)
        s.write(5)
        with judemap.open_or_create(name, 64) as other:
            assert other.read().array == 5
        with pytest.raises(judemap.Corrupt, match=name):
            judemap.open_stream(name)
    assert in_shm(name)
    judemap.remove(name)
    assert not in_shm(name) and name not in judemap.names()
    with judemap.open_or_create(name, 64) as s:
        assert s.version == 0


def test_names_of_streams(name: str) -> None:
    with judemap.create_stream(name, 4, 64) as s:
        for slots, capacity in ((5, 64), (4, 65)):
            with pytest.raises(judemap.CapacityError, match=f"4 slots of 64 bytes and not {slots} of {capacity}"):
                judemap.open_or_create_stream(name, slots, capacity)
        with pytest.raises(ValueError, match="every_frame=False and not True"):
            judemap.open_or_create_stream(name, 4, 64, every_frame=True)
        with pytest.raises(judemap.Corrupt, match="stream"):
            judemap.open(name)
        s.write(5)
        with judemap.open_or_create_stream(name, 4, 64) as other:
            assert other.read_copy().array == 5 and (other.name, other.slots, other.capacity) == (name, 4, 64)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "n" * 256, "a\0b"])
def test_bad_names(bad: str) -> None:
    for call in (judemap.open, judemap.remove, judemap.open_stream, lambda n: judemap.create(n, 8)):
        with pytest.raises(ValueError, match="name"):
            call(bad)


def test_read_only(name: str) -> None:
    with judemap.create(name, 64) as s, judemap.open(name, read_only=True) as r:
        s.write(np.arange(3.0))
        assert r.read().array.tolist() == r.read_copy().array.tolist() == [0, 1, 2]
        with pytest.raises(PermissionError, match="read-only"):
            r.write(1)
        threading.Timer(0.05, lambda: s.write(7)).start()
        assert r.next(after=2, timeout=10).array == 7


def test_a_stream_that_is_read_only(name: str) -> None:
    with judemap.create_stream(name, 4, 64) as s, judemap.open_stream(name, read_only=True) as r:
        with pytest.raises(PermissionError, match="read_copy works"):
            r.reader()
        with pytest.raises(PermissionError):
            r.write(1)
        threading.Timer(0.05, lambda: s.write(7)).start()
        copy = r.read_copy(after=0, timeout=10)
        assert copy.array == 7 and copy.valid()
        threading.Timer(0.05, lambda: s.write(8)).start()
        assert r.read_copy(after=copy.version, timeout=10).array == 8


def test_a_header_that_cannot_be_true(name: str) -> None:
    with judemap.create(name, 64) as s:
        s.write(1)
        with open(f"/dev/shm/{name}", "r+b") as file:
            file.seek(64)
            file.write((9).to_bytes(4, "little"))
        with pytest.raises(judemap.Corrupt, match="ndim is 9, which can't be true in a segment of 64 bytes"):
            s.read()
    with open(f"/dev/shm/{name}", "w") as file:
        file.write("no segment")
    with pytest.raises(judemap.Corrupt, match=name):
        judemap.open(name)


WRITER = """
    import sys, time, judemap
    kind, name = sys.argv[1:3]
    s = judemap.open(name) if kind == "segment" else judemap.open_stream(name)
    for line in sys.stdin:
        what, _, value = line.strip().partition(" ")
        if what == "write":
            s.write(int(value))
        if what == "begin":
            update = s.update((), "int64")
            update.__enter__()
        if what == "end":
            break
        if what == "raise":
            raise SystemExit(3)
        print("done", flush=True)
"""


def made(kind: str, name: str) -> Any:
    """A segment or a stream with a name."""
    return judemap.create(name, 64) if kind == "segment" else judemap.create_stream(name, 4, 64)


@pytest.mark.parametrize("kind", ["segment", "stream"])
def test_one_writer_and_its_death(kind: str, name: str, child: Callable[..., Child]) -> None:
    with made(kind, name) as s:
        reader = s.reader() if kind == "stream" else None

        def reads(after: int) -> judemap.Tensor:
            tensor: judemap.Tensor = reader.next(timeout=20) if reader else s.next(after, timeout=20)
            return tensor

        writer = child(WRITER, kind, name)
        writer.say("write 1")
        assert writer.line() == "done"
        assert reads(0).array == 1 and s.writer == judemap.WriterState.OTHER
        writes: list[Callable[[], object]] = [
            lambda: s.write(9),
            lambda: s.fill((), "int8", 9),
            lambda: s.update((), "int8").__enter__(),
        ]
        for call in writes:
            with pytest.raises(judemap.WriterActive, match=name):
                call()
        os.kill(writer.process.pid, signal.SIGKILL)
        writer.process.wait()
        start = time.monotonic()
        with pytest.raises(judemap.WriterDied, match=name):
            reads(2)
        assert time.monotonic() - start < 5 and s.writer == judemap.WriterState.DIED
        if kind == "stream":
            with pytest.raises(judemap.WriterDied):
                s.read_copy(after=2)
        # Who died in the middle of a commit leaves nothing, or what was before.
        writer = child(WRITER, kind, name)
        writer.say("write 2")
        assert writer.line() == "done" and reads(2).array == 2
        writer.say("begin")
        assert writer.line() == "done"
        os.kill(writer.process.pid, signal.SIGKILL)
        writer.process.wait()
        if kind == "segment":
            with pytest.raises(judemap.WriterDied):
                s.read()
        else:
            assert s.read_copy().array == 2
        s.write(3)
        assert reads(4).array == 3 and s.writer == judemap.WriterState.HERE


@pytest.mark.parametrize("kind", ["segment", "stream"])
@pytest.mark.parametrize("end", ["end", "raise"])
def test_a_writer_that_ends_did_not_die(kind: str, end: str, name: str, child: Callable[..., Child]) -> None:
    with made(kind, name) as s:
        writer = child(WRITER, kind, name)
        writer.say("write 1")
        assert writer.line() == "done"
        writer.say(end)
        assert writer.end() == (3 if end == "raise" else 0)
        assert s.writer == judemap.WriterState.NONE
        s.write(2)


def test_a_dead_readers_slots_come_back(name: str, child: Callable[..., Child]) -> None:
    with judemap.create_stream(name, 2, 64) as s:
        reader = child(
            """
            import sys, time, judemap
            reader = judemap.open_stream(sys.argv[1]).reader()
            print("ready", flush=True)
            frame = reader.next().keep()
            print("held", flush=True)
            time.sleep(60)
            """,
            name,
        )
        assert reader.line() == "ready"
        s.write(1)
        assert reader.line() == "held"
        s.write(2)
        with pytest.raises(TimeoutError, match=f"process {reader.process.pid} holds 1"):
            s.write(3, timeout=0.01)
        os.kill(reader.process.pid, signal.SIGKILL)
        reader.process.wait()
        s.write(3, timeout=10)
        assert s.readers() == []


def test_a_reader_that_still_joins(name: str) -> None:
    with judemap.create_stream(name, 2, 8, every_frame=True) as s, s.reader() as reader:
        s.write(1)
        s.write(2)
        assert [r.cursor for r in s.readers()] == [1]
        with open(f"/dev/shm/{name}", "r+b") as file:
            file.seek(4096)
            file.write(bytes(8))  # as the reader has it between taking its place and the look at where it begins
        assert s.readers() == []
        with pytest.raises(TimeoutError, match=f"reader 0 of process {os.getpid()} is still joining"):
            s.write(3, timeout=0.01)
        assert reader.next().array == 1


@pytest.mark.parametrize("what", ["next", "reader", "slot"])
def test_ctrl_c_ends_a_wait(what: str, name: str, child: Callable[..., Child]) -> None:
    waiting = child(
        """
        import sys, judemap
        what, name = sys.argv[1:3]
        with judemap.create_stream(name, 2, 64) as s, judemap.new(64) as segment, s.reader() as reader:
            s.write(1)
            frame = reader.next().keep()
            print("waiting", flush=True)
            try:
                if what == "next":
                    segment.next()
                if what == "reader":
                    reader.next()
                if what == "slot":
                    s.write(2)
                    s.write(3)
            except KeyboardInterrupt:
                frame.release()
                s.write(4)
                print("interrupted", reader.next().array, flush=True)
        """,
        what,
        name,
    )
    assert waiting.line() == "waiting"
    time.sleep(0.2)
    start = time.monotonic()
    os.kill(waiting.process.pid, signal.SIGINT)
    assert waiting.line() == "interrupted 4"
    assert time.monotonic() - start < 5
    assert waiting.end() == 0


def test_the_end_of_python_beside_threads_that_wait(name: str, child: Callable[..., Child]) -> None:
    """Daemon threads wait, look at arrays, and are in an update, when the interpreter ends: no crash, and no hang."""
    with judemap.create_stream(name, 3, 1 << 16) as s:
        ending = child(
            """
            import sys, threading, judemap, numpy as np
            stream, segment, empty = judemap.open_stream(sys.argv[1]), judemap.new(1 << 16), judemap.new(64)
            reader = stream.reader()
            stream.write(np.ones(1000))
            segment.write(np.ones(1000))
            frame = reader.next().keep()
            frames = [frame.array, np.from_dlpack(frame), segment.read().array]

            def sums():
                while True:
                    sum(a.sum() for a in frames)

            def updates():
                with judemap.new(64) as other, other.update(3, "int8"):
                    threading.Event().wait()

            for work in (sums, updates, reader.next, empty.next, lambda: [stream.write(1) for _ in range(9)]):
                threading.Thread(target=work, daemon=True).start()
            print("ready", flush=True)
            sys.stdin.readline()
            """,
            name,
        )
        assert ending.line() == "ready"
        time.sleep(0.1)
        ending.say("end")
        assert ending.end() == 0
        assert s.writer == judemap.WriterState.NONE and s.readers() == []


# ---- Forks -----------------------------------------------------------------------------------------------------------


def in_fork(work: Callable[[], object]) -> int:
    """Does work in a forked child: 0 if it returned something true."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def raises(error: type[Exception], call: Callable[[], object]) -> bool:
    try:
        call()
    except error:
        return True
    return False


def test_what_a_forked_child_may_do(name: str) -> None:
    with judemap.create(name, 64) as s, judemap.new_stream(4, 64) as stream, stream.reader() as reader:
        s.write(1)
        stream.write(2)
        frame = reader.next()

        def work() -> bool:
            good = s.read().array == 1 and s.read_copy().array == 1 and frame.array == 2
            for call in (
                lambda: s.write(5),
                lambda: s.next(after=2),
                lambda: s.update((), "int8").__enter__(),
                lambda: stream.write(5),
                stream.reader,
                reader.next,
            ):
                good = good and raises(judemap.Forked, call)
            with judemap.open(name) as anew:
                good = good and anew.read().array == 1 and raises(judemap.WriterActive, lambda: anew.write(7))
            frame.release()
            reader.close()
            stream.close()
            s.close()
            return bool(good)

        assert in_fork(work) == 0
        # Nothing of the parent's went with the child.
        assert s.writer == judemap.WriterState.HERE and s.read().array == 1
        assert stream.readers()[0].held == 1 and frame.held and frame.array == 2
        s.write(3)
        stream.write(4)
        assert reader.next().array == 4


def test_a_fork_beside_threads_that_hold_locks(name: str) -> None:
    """In the child nobody is left who gives them back."""
    with judemap.create(name, 64) as s, judemap.new_stream(2, 64) as stream, stream.reader() as reader:
        in_update, go_on = threading.Event(), threading.Event()

        def updates() -> None:
            with s.update((), "int64") as array, stream.update((), "int64") as other:
                in_update.set()
                go_on.wait()
                array[...] = other[...] = 1

        threads = [threading.Thread(target=updates), threading.Thread(target=lambda: next(reader))]
        for thread in threads:
            thread.start()
        assert in_update.wait(10)

        def work() -> bool:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)  # instead of hanging for ever
            good = raises(judemap.Forked, lambda: s.write(5)) and raises(judemap.Forked, lambda: stream.write(5))
            s.close()
            stream.close()
            return good

        assert in_fork(work) == 0
        go_on.set()
        for thread in threads:
            thread.join()
        assert s.read().array == 1


FORKING = """
    import multiprocessing, os, sys, time, judemap
    kind, name, method = sys.argv[1:4]

    def lives_on(ready):
        ready.send(os.getpid())
        time.sleep(60)

    if __name__ == "__main__":
        s = judemap.open(name) if kind == "segment" else judemap.open_stream(name)
        if kind == "stream":
            other = judemap.open_stream(name + "-2")
            reader = other.reader()
            other.write(1)
            frame = reader.next().keep()
        s.write(1)
        here, there = multiprocessing.Pipe(False)
        if method == "multiprocessing":
            multiprocessing.get_context("fork").Process(target=lives_on, args=(there,), daemon=True).start()
        elif os.fork() == 0:
            lives_on(there)
        print(here.recv(), flush=True)
        for line in sys.stdin:
            if line.strip() == "close":
                s.close()
                print("closed", flush=True)
"""


@pytest.mark.parametrize("kind", ["segment", "stream"])
@pytest.mark.parametrize("method", ["multiprocessing", "os.fork"])
@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_child_that_lives_on_holds_no_lock_and_no_slot(
    kind: str, method: str, end: str, name: str, child: Callable[..., Child]
) -> None:
    other = judemap.create_stream(name + "-2", 2, 64)
    try:
        with made(kind, name) as s, other:
            parent = child(FORKING, kind, name, method)
            grandchild = int(parent.line())
            try:
                with pytest.raises(judemap.WriterActive):
                    s.write(2)
                if end == "close":
                    parent.say("close")
                    assert parent.line() == "closed"
                else:
                    os.kill(parent.process.pid, signal.SIGKILL)
                    parent.process.wait()
                    assert s.writer == judemap.WriterState.DIED
                os.kill(grandchild, 0)  # it lives
                s.write(2)
                assert s.writer == judemap.WriterState.HERE
                if kind == "stream" and end == "kill":
                    for i in range(5):  # the slot that the parent held is free
                        other.write(i, timeout=10)
                    assert other.readers() == []
                os.kill(grandchild, 0)
            finally:
                os.kill(grandchild, signal.SIGKILL)
    finally:
        judemap.remove(name + "-2")


def _reads(name: str, ready: Any, result: Any) -> None:
    with judemap.open_stream(name) as s, s.reader() as reader:
        ready.send(None)
        result.send(sum(int(reader.next(timeout=20).array) for _ in range(3)))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: Any, name: str) -> None:
    with judemap.create_stream(name, 4, 64, every_frame=True) as s:
        context = multiprocessing.get_context(method)
        ready, says_ready = context.Pipe(False)
        result, says_result = context.Pipe(False)
        process = context.Process(target=_reads, args=(name, says_ready, says_result))
        process.start()
        ready.recv()
        for i in range(3):
            s.write(i + 1, timeout=20)
        assert result.recv() == 6
        process.join()
        assert process.exitcode == 0 and in_shm(name)
        assert eventually(lambda: s.readers() == [])


# ---- What bites ------------------------------------------------------------------------------------------------------

OPEN_AND_END = {
    "shared_memory": "from multiprocessing.shared_memory import SharedMemory; m = SharedMemory(name=sys.argv[1])",
    "untracked": "from multiprocessing.shared_memory import SharedMemory; m = SharedMemory(sys.argv[1], track=False)",
    "judemap": "import judemap; s = judemap.open(sys.argv[1]); assert s.read().array == 7",
}


@pytest.mark.parametrize("how", OPEN_AND_END)
def test_shared_memory_deletes_the_segment(how: str, name: str, child: Callable[..., Child]) -> None:
    """What the documentation warns of happens, and by this package it doesn't."""
    if how == "untracked" and sys.version_info < (3, 13):
        pytest.skip("track=False is of Python 3.13")
    with judemap.create(name, 64) as s:
        s.write(7)
        assert child(f"import sys\n{OPEN_AND_END[how]}", name).end() == 0
        if how == "shared_memory":
            assert eventually(lambda: not in_shm(name))
        else:
            time.sleep(0.2)
            assert in_shm(name)
        assert s.read().array == 7  # whoever has it open keeps it
