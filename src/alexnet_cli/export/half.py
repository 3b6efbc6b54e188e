"""Graphs of half precision, for GPUs: half the size; the CPU has no kernels for it."""

import warnings

import onnx
import onnx_ir
from onnx_ir.passes.common import TopologicalSortPass

# Sums of squares and of exponentials leave the range of float16, which ends at 65,504, or its
# eleven bits. What only the views and the normalisations use stays in float32.
_KEPT = ("LRN", "Softmax", "LogSoftmax", "ReduceLogSumExp", "ReduceMax", "ReduceSum", "Exp", "Log",
         "Pow", "AveragePool", "MatMul")  # fmt: skip


def to_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with float16 weights and activations; its outputs stay float32.

    Args:
        graph: A float32 graph, which is used up.
    """
    from onnxruntime.transformers import float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights below the smallest float16: they become it
        half: onnx.ModelProto = float16.convert_float_to_float16(
            graph,
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *_KEPT],
            node_block_list=_squares(graph),
        )
    sorted_half = TopologicalSortPass()(onnx_ir.from_proto(half)).model  # it appends its casts
    return onnx_ir.to_proto(sorted_half)


def _squares(graph: onnx.ModelProto) -> list[str]:
    """Return the nodes that square activities, and those up to the division by a power of them."""
    kept = []
    for node in graph.graph.node:
        is_square = node.op_type == "Mul" and node.input[0] == node.input[1]
        if is_square or node.op_type in ("Sqrt", "Div"):
            kept.append(node.name)
    return kept
