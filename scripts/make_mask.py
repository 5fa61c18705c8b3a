"""Turn MediaPipe's network for selfies from TensorFlow Lite into the ONNX file that `--mask` uses.

    npm pack @mediapipe/selfie_segmentation@0.1.1675465747 && tar xzf mediapipe-selfie_segmentation-*.tgz
    python scripts/make_mask.py package/selfie_segmentation.tflite infer/masks/person.onnx

The layers stay as they are and so do the weights, in half precision; only their order in memory changes, from channels
last to channels first. OpenCV reads TensorFlow Lite by itself: the two answers are compared before anything is written.
A .tflite file is a FlatBuffer (https://flatbuffers.dev/internals), its fields numbered as in TensorFlow's schema.fbs.
"""

import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from allaprima.errors import InputError
from allaprima.files import replacing

Array = npt.NDArray[Any]

SUBGRAPHS, BUFFERS, OPERATOR_CODES = 2, 4, 1  # fields of Model
TENSORS, INPUTS, OUTPUTS, OPERATORS = range(4)  # of SubGraph
SHAPE, TYPE, BUFFER = range(3)  # of Tensor
OPCODE, OP_INPUTS, OP_OUTPUTS, OPTIONS = 0, 1, 2, 4  # of Operator
OLD_CODE, CUSTOM_CODE, CODE = 0, 1, 3  # of OperatorCode
PADDING, STRIDE_W, STRIDE_H = range(3)  # of the options of convolutions
VALID = 1
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
SIMPLE = {
    0: "Add", 14: "Sigmoid", 18: "Mul", 19: "Relu", 117: "HardSwish",
    1: "GlobalAveragePool", 40: "GlobalAveragePool",  # here both pool over the whole picture
}  # fmt: skip
CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, RESIZE_BILINEAR = 3, 4, 6, 23
TRANSPOSED = "Convolution2DTransposeBias"  # MediaPipe's own; here with 2x2 kernels that do not overlap
LARGEST_ERROR = 0.002
NOTICE = "MediaPipe Selfie Segmentation, The MediaPipe Authors, Apache License 2.0; converted from TensorFlow Lite"


class Table:
    """A table of a FlatBuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """The outermost one."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, field: int, kind: str = "i") -> int:
        """A number of `struct`'s kind; 0 where it is left out."""
        at = self._find(field)
        return struct.unpack_from(f"<{kind}", self._data, at)[0] if at else 0

    def table(self, field: int) -> "Table":
        """A table within this one."""
        return Table(self._data, self._follow(self._find(field)))

    def tables(self, field: int) -> list["Table"]:
        """Those of a vector."""
        start, count = self._vector(field)
        return [Table(self._data, self._follow(start + 4 * n)) for n in range(count)]

    def values(self, field: int, dtype: npt.DTypeLike) -> Array:
        """The numbers of a vector."""
        start, count = self._vector(field)
        return np.frombuffer(self._data, dtype, count, start)

    def _find(self, field: int) -> int:
        layout = self._at - struct.unpack_from("<i", self._data, self._at)[0]
        if 4 + 2 * field >= struct.unpack_from("<H", self._data, layout)[0]:
            return 0
        offset = struct.unpack_from("<H", self._data, layout + 4 + 2 * field)[0]
        return self._at + offset if offset else 0

    def _follow(self, at: int) -> int:
        return at + int(struct.unpack_from("<I", self._data, at)[0])

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._find(field)
        if not at:
            return 0, 0
        start = self._follow(at)
        return start + 4, struct.unpack_from("<I", self._data, start)[0]


class Converter:
    """One graph of a .tflite file as ONNX nodes and constants."""

    def __init__(self, data: bytes) -> None:
        self._model = Table.root(data)
        [self._graph] = self._model.tables(SUBGRAPHS)
        self._tensors, self._buffers = self._graph.tables(TENSORS), self._model.tables(BUFFERS)
        self._codes = self._model.tables(OPERATOR_CODES)
        self._half: dict[int, Array] = {}  # tensor -> its constant, where the file keeps it in half precision
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def convert(self) -> ModelProto:
        """The model: float32 (1, 3, H, W) RGB in 0..1 in, the person's probability (1, 1, H, W) out."""
        for operator in self._graph.tables(OPERATORS):
            self._add(operator)
        ends = []
        for field in (INPUTS, OUTPUTS):
            [tensor] = self._graph.values(field, np.int32)
            _, height, width, channels = self._shape(tensor)
            shape = [1, int(channels), int(height), int(width)]
            ends.append(helper.make_tensor_value_info(f"t{tensor}", TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, "person", ends[:1], ends[1:], self.constants)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8, doc_string=NOTICE)

    def _add(self, operator: Table) -> None:
        inputs, outputs = operator.values(OP_INPUTS, np.int32), operator.values(OP_OUTPUTS, np.int32)
        entry = self._codes[operator.number(OPCODE)]
        code = max(entry.number(OLD_CODE, "b"), entry.number(CODE))
        custom = entry.values(CUSTOM_CODE, np.uint8).tobytes().decode()
        if code == DEQUANTIZE:
            self._half[outputs[0]] = self._constant(inputs[0])
        elif code in {CONV_2D, DEPTHWISE_CONV_2D}:
            self._convolve(inputs, outputs, operator.table(OPTIONS), depthwise=code == DEPTHWISE_CONV_2D)
        elif code == RESIZE_BILINEAR:
            self._resize(inputs, outputs)
        elif custom == TRANSPOSED:
            weights = self._half[inputs[1]].transpose(3, 0, 1, 2)  # (out, h, w, in) -> (in, out, h, w)
            self._node("ConvTranspose", inputs, outputs, [weights, self._half[inputs[2]]], strides=[2, 2])
        elif code in SIMPLE:
            taken = inputs[:1] if SIMPLE[code] == "GlobalAveragePool" else inputs  # else the axes come second
            self.nodes.append(helper.make_node(SIMPLE[code], [f"t{n}" for n in taken], [f"t{outputs[0]}"]))
        else:
            raise InputError(f"the network has an operator {custom or code}: this script does not know it")

    def _convolve(self, inputs: Array, outputs: Array, options: Table, *, depthwise: bool) -> None:
        weights = self._half[inputs[1]]
        # (out, h, w, in), depthwise (1, h, w, out) -> (out, in, h, w), depthwise (out, 1, h, w)
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        same = options.number(PADDING, "b") != VALID and weights.shape[2:] != (1, 1)
        self._node(
            "Conv",
            inputs,
            outputs,
            [weights, self._half[inputs[2]]],
            strides=[options.number(STRIDE_H), options.number(STRIDE_W)],
            auto_pad="SAME_UPPER" if same else "VALID",
            group=len(weights) if depthwise else 1,
        )

    def _resize(self, inputs: Array, outputs: Array) -> None:
        before, after = self._shape(inputs[0]), self._shape(outputs[0])
        scales = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
        name = f"scales{outputs[0]}"
        self.constants.append(numpy_helper.from_array(scales, name))
        names = [f"t{inputs[0]}", "", name]
        self.nodes.append(helper.make_node("Resize", names, [f"t{outputs[0]}"], mode="linear"))

    def _node(self, kind: str, inputs: Array, outputs: Array, constants: list[Array], **attributes: Any) -> None:
        """A node with constants in half precision; ONNX Runtime widens them once, when it loads the file."""
        names = [f"t{inputs[0]}"]
        for number, constant in enumerate(constants):
            half, name = f"h{outputs[0]}_{number}", f"c{outputs[0]}_{number}"
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(constant), half))
            self.nodes.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
            names.append(name)
        self.nodes.append(helper.make_node(kind, names, [f"t{outputs[0]}"], **attributes))

    def _shape(self, tensor: int) -> Array:
        return self._tensors[tensor].values(SHAPE, np.int32)

    def _constant(self, tensor: int) -> Array:
        entry = self._tensors[tensor]
        raw = self._buffers[entry.number(BUFFER, "I")].values(0, np.uint8)
        return raw.view(DTYPES[entry.number(TYPE, "b")]).reshape(self._shape(tensor))


def largest_error(data: bytes, onnx: bytes) -> float:
    """How far ONNX Runtime's answer is from OpenCV's on the original, over a few pictures of noise and ramps."""
    original = cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8))
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    random = np.random.default_rng(0)
    errors = []
    for sharpness in (1, 8, 32):
        _, _, height, width = entry.shape
        small = random.random((height // sharpness, width // sharpness, 3), np.float32)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)[None].copy()
        original.setInput(picture)
        errors.append(np.abs(original.forward() - session.run(None, {entry.name: picture})[0]).max())
    return float(max(errors))


def main(source: Path, target: Path) -> None:
    """Convert, compare, write."""
    data = source.read_bytes()
    onnx = Converter(data).convert().SerializeToString()
    error = largest_error(data, onnx)
    if not error <= LARGEST_ERROR:
        raise InputError(f"the converted network differs by {error:.4f}: expected at most {LARGEST_ERROR}")
    with replacing(target) as temporary:
        temporary.write_bytes(onnx)
    print(f"{target}: {len(onnx) / 1e3:.0f} kB, differs by {error:.6f} at most")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: make_mask.py NETWORK.tflite MASK.onnx")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
