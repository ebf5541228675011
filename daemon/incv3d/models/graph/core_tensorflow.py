"""Import the part of TensorFlow that reads, changes, optimizes and converts graphs.

``import tensorflow`` also imports Keras and all that is for training: that takes four times as long, and 100
to 200 MB more memory.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

PACKAGE = "tensorflow"


def import_core(converter: bool = False) -> Any:
    """Return what graphs need of TensorFlow, under the names that it has in ``tensorflow``.

    A later ``import tensorflow`` gets the whole package.

    :param converter: also return the converter to LiteRT, ``compat.v1.lite.TFLiteConverter``.
    :raises ImportError: TensorFlow is not installed, or cannot be imported.
    """
    found = PathFinder.find_spec(PACKAGE)
    if PACKAGE in sys.modules or found is None or not found.submodule_search_locations:
        return _import_all()
    # It is the package's own file that imports everything; the modules in its folder are found without it.
    bare = ModuleType(PACKAGE)
    bare.__path__ = list(found.submodule_search_locations)
    sys.modules[PACKAGE] = bare
    try:
        core = _import_parts(converter)
    except (ImportError, AttributeError):  # another version may have these parts elsewhere
        core = None
    finally:
        del sys.modules[PACKAGE]
    return core or _import_all()


def _import_all() -> Any:
    import tensorflow

    return tensorflow


def _import_parts(converter: bool) -> Any:
    from tensorflow.python import pywrap_tensorflow, tf2  # noqa: F401 - loads the library, before the others

    tf2.enable()  # as the package does, before the others are imported
    from tensorflow.core.framework import graph_pb2, node_def_pb2
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.client import session
    from tensorflow.python.framework import (
        convert_to_constants,  # noqa: F401
        dtypes,
        errors,
        graph_util_impl,
        importer,
        ops,
        tensor_shape,
        tensor_util,
        versions,
    )
    from tensorflow.python.grappler import tf_optimizer  # noqa: F401 - not in the API: for those who import it by this name
    from tensorflow.python.ops import array_ops, math_ops

    v1 = SimpleNamespace(
        ConfigProto=config_pb2.ConfigProto,
        GraphDef=graph_pb2.GraphDef,
        MetaGraphDef=meta_graph_pb2.MetaGraphDef,
        NodeDef=node_def_pb2.NodeDef,
        Session=session.Session,
        graph_util=SimpleNamespace(extract_sub_graph=graph_util_impl.extract_sub_graph),
        placeholder=array_ops.placeholder,
    )
    if converter:
        from tensorflow.lite.python import lite

        v1.lite = SimpleNamespace(TFLiteConverter=lite.TFLiteConverter)
    return SimpleNamespace(
        Graph=ops.Graph,
        TensorShape=tensor_shape.TensorShape,
        as_dtype=dtypes.as_dtype,
        cast=math_ops.cast,
        compat=SimpleNamespace(v1=v1),
        errors=errors,
        float32=dtypes.float32,
        identity=array_ops.identity,
        import_graph_def=importer.import_graph_def,
        int32=dtypes.int32,
        make_ndarray=tensor_util.MakeNdarray,
        make_tensor_proto=tensor_util.make_tensor_proto,
        resource=dtypes.resource,
        round=math_ops.round,
        string=dtypes.string,
        uint8=dtypes.uint8,
        version=SimpleNamespace(VERSION=versions.VERSION),
    )
