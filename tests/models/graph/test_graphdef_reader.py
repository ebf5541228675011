"""A look into a GraphDef without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.models.entry import ModelError
from incv3d.models.graph.graphdef_reader import Node, parse_nodes, read_nodes


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


GRAPH = field(1, field(1, b"input") + field(2, b"Placeholder")) + field(
    1, field(1, b"softmax") + field(2, b"Softmax") + field(3, b"logits")
)


def test_the_nodes_of_a_graph_are_named() -> None:
    assert parse_nodes(GRAPH) == [Node("input", "Placeholder"), Node("softmax", "Softmax", ("logits",))]


def test_a_real_graph_has_its_nodes(state: Path) -> None:
    nodes = read_nodes(state / "models/efficientnet-lite0/graph.pb")
    by_op = {
        op: sum(node.op == op for node in nodes) for op in ("Conv2D", "DepthwiseConv2dNative", "Softmax")
    }
    assert by_op == {"Conv2D": 33, "DepthwiseConv2dNative": 16, "Softmax": 1}


def test_the_nodes_of_the_stand_in_are_those_of_google_s_graph(standin: Path) -> None:
    nodes = read_nodes(standin / "models/standin/graph.pb")
    assert len(nodes) == 1004
    assert sum(node.op == "BatchNormWithGlobalNormalization" for node in nodes) == 94


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 50, b"\xff" * 50, GRAPH[:-3], b"just text", GRAPH + b"\x0a"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"graph\.pb: (not a frozen GraphDef|the file is empty)"):
        read_nodes(path)


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ModelError, match="cannot be read"):
            read_nodes(path)


@given(st.binary(max_size=300))
def test_garbage_is_a_value_error_or_nodes(data: bytes) -> None:
    try:
        assert parse_nodes(data)
    except ValueError as error:
        assert str(error)
