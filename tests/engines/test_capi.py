"""The binding to TensorFlow's C API, against the real library."""

from __future__ import annotations

import gc
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphs import STRING, attribute, field, node, placeholder, relu
from incv3d.engines import SessionError
from incv3d.engines.capi import Graph, GraphSession, Library, LibraryMissing, Tensor, TensorFlowError
from incv3d.engines.capi.tensor import aligned_empty, lent_arrays
from incv3d.engines.page_release import parse_smaps
from incv3d.engines.tensorflow_c import session_config

RELU = placeholder("x", 2, 3) + relu("y", "x")


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_the_library_tells_its_own_version(library: Library) -> None:
    assert library.version.startswith("2.")


def test_loading_imports_neither_tensorflow_nor_anything_of_it() -> None:
    code = (
        "import sys\n"
        "from incv3d.engines.capi import Library\n"
        "Library()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("aligned", [True, False])
def test_arrays_go_in_and_come_out(library: Library, aligned: bool) -> None:
    array = (
        aligned_empty((2, 3), np.float32) if aligned else aligned_empty((7,), np.float32)[1:].reshape(2, 3)
    )
    array[:] = [[-1, 2, -3], [4, -5, 6]]
    assert (array.ctypes.data % 64 == 0) is aligned
    with Graph(library, RELU) as graph, GraphSession(library, graph, session_config(1)) as session:
        fed = Tensor.lend(library, array)
        (got,), trace = session.run([(graph.output("x"), fed)], [graph.output("y:0")])
        np.testing.assert_array_equal(got.array(), np.maximum(array, 0))
        assert got.shape == (2, 3) and trace == b""


def test_an_array_outlives_the_tensor_and_the_session_that_it_came_from(library: Library) -> None:
    graph = Graph(library, RELU)
    session = GraphSession(library, graph)
    ones = np.ones((2, 3), np.float32)
    (got,), _ = session.run([(graph.output("x"), Tensor.lend(library, ones))], [graph.output("y")])
    array = got.array()
    del got
    session.close()
    graph.close()
    gc.collect()
    np.testing.assert_array_equal(array, ones)


def test_a_lent_array_lives_as_long_as_tensorflow_holds_it(library: Library) -> None:
    before = lent_arrays()
    tensor = Tensor.lend(library, aligned_empty((1000,), np.float32))
    assert lent_arrays() == before + 1
    tensor.close()
    tensor.close()
    assert lent_arrays() == before


@pytest.mark.parametrize("value", [b"", b"short", b"x" * 100_000, b"\0\xff\0"])
def test_strings_go_in_and_come_out(library: Library, value: bytes) -> None:
    assert Tensor.string(library, value).bytes() == value


def test_a_jpeg_is_decoded_by_the_graph_itself(library: Library) -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(out, "JPEG")
    graph_def = placeholder("jpeg", code=STRING) + node(
        "pixels", "DecodeJpeg", "jpeg", attributes=attribute("channels", field(3, 3))
    )
    with Graph(library, graph_def) as graph, GraphSession(library, graph) as session:
        jpeg = Tensor.string(library, out.getvalue())
        (pixels,), _ = session.run([(graph.output("jpeg"), jpeg)], [graph.output("pixels")])
        assert pixels.array().shape == (30, 40, 3) and abs(int(pixels.array()[5, 5, 0]) - 200) < 5
        broken = Tensor.string(library, out.getvalue()[:50])
        with pytest.raises(TensorFlowError, match="JPEG") as caught:
            session.run([(graph.output("jpeg"), broken)], [graph.output("pixels")])
        assert caught.value.code == 3 and "\n" not in str(caught.value)


def test_a_traced_run_brings_its_metadata(library: Library) -> None:
    full_trace = field(1, 3)
    with Graph(library, RELU) as graph, GraphSession(library, graph) as session:
        fed = Tensor.lend(library, np.zeros((2, 3), np.float32))
        _, metadata = session.run([(graph.output("x"), fed)], [graph.output("y")], options=full_trace)
        assert b"CPU:0" in metadata and b"y" in metadata


def test_devices_are_listed(library: Library) -> None:
    with Graph(library, RELU) as graph, GraphSession(library, graph) as session:
        assert ("CPU",) in {(kind,) for _, kind in session.devices()}


@pytest.mark.parametrize(
    ("graph_def", "complaint"),
    [
        (b"no graph at all", "Invalid GraphDef"),
        (placeholder("x", 1) + node("y", "NoSuchOperation", "x"), "Op type not registered 'NoSuchOperation'"),
        (relu("y", "missing"), "missing"),
        (RELU[:-4], "Invalid GraphDef"),
    ],
)
def test_a_bad_graph_is_an_error_with_tensorflows_own_reason(library: Library, graph_def, complaint) -> None:
    with pytest.raises(TensorFlowError, match=complaint) as caught:
        Graph(library, graph_def)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 400


def test_names_that_are_not_in_the_graph_are_named(library: Library) -> None:
    with Graph(library, RELU) as graph:
        with pytest.raises(SessionError, match="no operation `z`"):
            graph.output("z:0")
        for tensor in ("y:1", "y:x", "y:-1"):
            with pytest.raises(SessionError, match="`y` has no output"):
                graph.output(tensor)


def test_what_does_not_fit_is_refused_before_it_is_run(library: Library) -> None:
    with Graph(library, RELU) as graph, GraphSession(library, graph) as session:
        for array in (np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float64), np.zeros(6, np.float32)):
            with pytest.raises(SessionError, match=r"`x` takes shape \(2, 3\) and type float32"):
                session.run([(graph.output("x"), Tensor.lend(library, array))], [graph.output("y")])


def test_arrays_that_cannot_be_lent_are_refused(library: Library) -> None:
    for array in (np.zeros((4, 4), np.float32)[:, ::2], np.zeros(3, np.complex64), np.array(["a"])):
        with pytest.raises(SessionError):
            Tensor.lend(library, array)


def test_a_closed_session_is_not_run(library: Library) -> None:
    graph = Graph(library, RELU)
    session = GraphSession(library, graph)
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run([], [graph.output("y")])


def test_a_bad_configuration_is_an_error(library: Library) -> None:
    with Graph(library, RELU) as graph, pytest.raises(TensorFlowError, match="ConfigProto"):
        GraphSession(library, graph, b"\xff\xff\xff")


def test_the_configuration_written_by_hand_is_the_one_that_tensorflow_reads(tmp_path: Path) -> None:
    code = (
        "import sys, tensorflow as tf\n"
        "config = tf.compat.v1.ConfigProto.FromString(bytes.fromhex(sys.argv[1]))\n"
        "print(config.intra_op_parallelism_threads, config.inter_op_parallelism_threads,\n"
        "      config.use_per_session_threads, config.graph_options.optimizer_options.opt_level,\n"
        "      config.graph_options.rewrite_options.disable_meta_optimizer)\n"
    )
    command = [sys.executable, "-c", code, session_config(300).hex()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["300", "300", "False", "-1", "True"]


def test_libraries_that_are_not_there_or_are_none_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(LibraryMissing, match="cannot be loaded"):
        Library(tmp_path)
    for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
        (tmp_path / name).write_bytes(b"no library")
    with pytest.raises(LibraryMissing, match="cannot be loaded"):
        Library(tmp_path)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, to make a library that lacks a symbol")
def test_a_library_that_lacks_a_function_is_said_so(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("int TF_Version(void) { return 0; }\n")
    for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(tmp_path / name), str(source)], check=True)
    with pytest.raises(LibraryMissing, match=r"lack the function TF_\w+"):
        Library(tmp_path)


def test_sessions_opened_and_closed_leave_nothing_behind(library: Library) -> None:
    def open_run_close() -> None:
        with Graph(library, RELU) as graph, GraphSession(library, graph, session_config(1)) as session:
            fed = Tensor.lend(library, np.ones((2, 3), np.float32))
            session.run([(graph.output("x"), fed)], [graph.output("y")])
            fed.close()

    def rss_kb() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    for _ in range(50):
        open_run_close()
    before, lent, threads = rss_kb(), lent_arrays(), len(list(Path("/proc/self/task").iterdir()))
    for _ in range(300):
        open_run_close()
    assert rss_kb() - before < 3000
    assert lent_arrays() == lent
    assert len(list(Path("/proc/self/task").iterdir())) <= threads


def test_mappings_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "7f00-8000 r-xp 00001000 fe:00 42                         /lib/a b.so\n"
        "Size:                  4 kB\nAnonymous:             0 kB\nVmFlags: rd ex\n"
        "8000-9000 rw-p 00000000 00:00 0 \nAnonymous:            12 kB\n"
    )
    code, data = parse_smaps(text)
    assert (code.start, code.length, code.permissions, code.path) == (0x7F00, 0x100, "r-xp", "/lib/a b.so")
    assert (code.anonymous_kb, data.anonymous_kb, data.path) == (0, 12, "")
