"""Graphs in fp16, for GPUs, and in int8, for CPUs.

int8: weights per channel, activations in uint8 with measured ranges. Weights use 7 of the 8 bits,
−64 to 64. Processors without VNNI (AVX2) add the products of two neighbours in 16 bits, which
saturates from 128 on: 255 · 128 · 2 is more than 32,767. With 7 bits the sums are the same on every
processor.

Convolutions and fully connected layers are quantised (QDQ form), and in local response
normalisation the sum over channels, which is added to k = 2 after a factor of 2·10⁻⁵, so that its
rounding does not matter. The roots and the division of the normalisation, the input scaling, and
the logits, which would tie if there were 256 different ones, stay in float32.

Source: ONNX Runtime's static quantisation, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx_ir.passes.common import TopologicalSortPass
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from alexnet_cli.files import temporary_folder

# Sums of squares and of exponentials exceed the range of float16, which ends at 65,504, or its
# eleven bits: operators that only the views and the normalisations use stay in float32.
_FLOAT32 = ("LRN", "Softmax", "LogSoftmax", "ReduceLogSumExp", "ReduceMax", "ReduceSum", "Exp",
            "Log", "Pow", "AveragePool", "MatMul")  # fmt: skip


def to_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Change a float32 graph to float16 weights and activations; its outputs stay float32."""
    from onnxruntime.transformers import float16

    half = float16.convert_float_to_float16(
        graph,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *_FLOAT32],
        node_block_list=_squares(graph),
    )
    # The converter appends its casts, the same one twice where a node squares its input, and leaves
    # the types of some results as they were.
    nodes = list({node.output[0]: node for node in half.graph.node}.values())
    del half.graph.node[:], half.graph.value_info[:]
    half.graph.node.extend(nodes)
    sorted_half = TopologicalSortPass()(onnx_ir.from_proto(half)).model
    return onnx_ir.to_proto(sorted_half)


def _squares(graph: onnx.ModelProto) -> list[str]:
    """Return the nodes that square activities, and those up to the division by a power of them."""
    return [
        node.name
        for node in graph.graph.node
        if node.op_type in ("Sqrt", "Div")
        or (node.op_type == "Mul" and node.input[0] == node.input[1])
    ]


# With ReLU the range of its output is measured, not that of its input. Without MaxPool: it would be
# quantised on its own, and ONNX Runtime moves the ranges past it.
_QUANTISED = ["Conv", "Gemm", "MatMul", "Relu"]
_BATCH_SIZE = 32


class _Batches(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    def __init__(self, images_BSSC: NDArray[np.uint8]) -> None:
        starts = range(0, len(images_BSSC), _BATCH_SIZE)
        batches = (images_BSSC[start : start + _BATCH_SIZE] for start in starts)
        self._inputs = ({"images": np.ascontiguousarray(batch)} for batch in batches)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._inputs, None)


def to_int8(graph: onnx.ModelProto, calibration_BSSC: NDArray[np.uint8]) -> onnx.ModelProto:
    """Return a graph whose convolutions and matrix layers are quantised.

    The smallest and the largest activation seen on the calibration images become the ranges.
    """
    with temporary_folder() as folder:
        plain, folded, quantised = (folder / f"{name}.onnx" for name in ("a", "b", "c"))
        plain.write_bytes(graph.SerializeToString())
        quant_pre_process(
            str(plain), str(folded), skip_symbolic_shape=True
        )  # torch inferred the shapes
        quantize_static(
            str(folded),
            str(quantised),
            _Batches(calibration_BSSC),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            reduce_range=True,  # of the weights
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_other_products(onnx.load(folded).graph),
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        result = onnx.load(quantised)
    _keep_logits_in_float32(result.graph)
    opset = next(entry.version for entry in graph.opset_import if entry.domain == "")
    del result.opset_import[:]
    result.opset_import.add(domain="", version=opset)
    result.ir_version, result.producer_name = graph.ir_version, graph.producer_name
    return result


def _other_products(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the MatMul nodes without a 2-D weight: locally connected layers."""
    is_matrix = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [n.name for n in graph.node if n.op_type == "MatMul" and n.input[1] not in is_matrix]


def _keep_logits_in_float32(graph: onnx.GraphProto) -> None:
    """Remove the nodes that round the last matrix layer's output to 256 values and back."""
    layers = [node for node in graph.node if node.op_type == "Gemm"]
    readers = _readers(graph, layers[-1].output[0]) if layers else []
    if [node.op_type for node in readers] != ["QuantizeLinear"]:
        return
    last, (quantize,) = layers[-1], readers
    dequantize = _readers(graph, quantize.output[0])
    rounded = {node.output[0] for node in dequantize}
    name = next(iter(rounded & {value.name for value in graph.output}), last.output[0])
    for node in graph.node:
        for place, given in enumerate(node.input):
            if given in rounded:
                node.input[place] = name
    last.output[0] = name
    for node in (quantize, *dequantize):
        graph.node.remove(node)
    used = {given for node in graph.node for given in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]
