"""What import_module makes of modules, exported programs and files, and everything it refuses."""

import numpy as np
import pytest
import torch
from rtmobile_iree.dialects.constants import constant_array
from rtmobile_iree.dialects.context import make_context
from rtmobile_iree.passes.raise_rnn import RaiseRnnPass
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils._pytree import tree_leaves
from torch_mlir import fx, ir

from rtmobile_iree.errors import FrontendError
from rtmobile_iree.frontend import import_module
from rtmobile_iree.frontend.export import export_module, export_program

INPUTS, HIDDEN = 4, 6


class Model(nn.Module):
    """A forward given as a function, with the layers it uses."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x, extra=None):
        return self.function(self, x) if extra is None else self.function(self, x, extra)


def model(forward, **layers):
    torch.manual_seed(0)
    layers.setdefault("gru", nn.GRU(INPUTS, HIDDEN, 2, batch_first=True))
    return Model(forward, **layers).eval()


def frames(steps=5, batch=1, features=INPUTS):
    return torch.randn(batch, steps, features)


def ops(module, name):
    found = []

    def collect(op):
        if op.name == name:
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    return found


def gru_names(imported):
    return [op.attributes["name"].value for op in ops(imported.module, "bspc.gru")]


def weight_names(imported):
    """Parameter name -> value, from the constants' locations."""
    named = {}
    for op in ops(imported.module, "arith.constant"):
        if isinstance(op.location, ir.NameLoc):
            named[op.location.name_str] = constant_array(op.results[0])
    return named


def same(got, expected):
    for mine, theirs in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_one_op_a_layer_for_any_number_of_steps(layers, batch, batch_first, bias):
    gru = nn.GRU(INPUTS, HIDDEN, layers, batch_first=batch_first, bias=bias).eval()
    example = frames(5, batch) if batch_first else frames(batch, 5)
    imported = import_module(gru, example)
    assert gru_names(imported) == [f"l{k}" for k in range(layers)]
    shape = (batch, None) if batch_first else (None, batch)
    assert imported.inputs[0].shape == (*shape, INPUTS)
    assert [out.shape for out in imported.outputs] == [(*shape, HIDDEN), (layers, batch, HIDDEN)]
    assert imported.inputs[0].element_type == "f32"


def test_ops_weights_and_state_are_wired_in_order():
    gru = nn.GRU(INPUTS, HIDDEN, 2, batch_first=True)
    tagger = model(lambda m, x: m.fc(m.gru(x)[0]), gru=gru, fc=nn.Linear(HIDDEN, 3))
    imported = import_module(tagger, frames())
    named = weight_names(imported)
    assert set(named) == {name for name, _ in tagger.named_parameters()}
    for name, parameter in tagger.named_parameters():
        np.testing.assert_array_equal(named[name], parameter.detach().numpy())
    first, second = ops(imported.module, "bspc.gru")
    assert [op.attributes["layer"].value for op in (first, second)] == [0, 1]
    assert [op.attributes["name"].value for op in (first, second)] == ["gru.l0", "gru.l1"]
    assert list(second.operands)[:2] == list(first.results)
    for k, op in enumerate((first, second)):
        for operand, kind in zip(
            list(op.operands)[2:], ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), strict=True
        ):
            expected = getattr(gru, f"{kind}_l{k}").detach().numpy()
            np.testing.assert_array_equal(constant_array(operand), expected)


def test_a_batch_of_one_is_not_transposed():
    imported = import_module(nn.GRU(INPUTS, HIDDEN, 2, batch_first=True).eval(), frames())
    assert not ops(imported.module, "linalg.transpose")
    assert not ops(imported.module, "linalg.generic")


CONV = {"conv": nn.Conv1d(INPUTS, INPUTS, 3, padding=1)}
CASES = {
    "linear before and after": (
        lambda m, x: torch.log_softmax(m.after(m.gru(torch.relu(m.before(x)))[0]), -1),
        {"before": nn.Linear(INPUTS, INPUTS), "after": nn.Linear(HIDDEN, 3)},
        2,
    ),
    "convolution": (
        lambda m, x: m.gru(torch.relu(m.conv(x.transpose(1, 2))).transpose(1, 2))[0],
        CONV,
        2,
    ),
    "causal convolution and norms": (
        lambda m, x: m.gru(
            m.ln(m.bn(m.conv(functional.pad(x.transpose(1, 2), (2, 0)))).transpose(1, 2))
        )[0],
        {
            "conv": nn.Conv1d(INPUTS, INPUTS, 3),
            "bn": nn.BatchNorm1d(INPUTS),
            "ln": nn.LayerNorm(INPUTS),
        },
        2,
    ),
    "dropout": (lambda m, x: m.gru(m.drop(x))[0], {"drop": nn.Dropout()}, 2),
    "last step": (lambda m, x: m.fc(m.gru(x)[0][:, -1]), {"fc": nn.Linear(HIDDEN, 3)}, 2),
    "last state": (lambda m, x: m.gru(x)[1][-1], {}, 2),
    "mean over steps": (lambda m, x: m.gru(x)[0].mean(1), {}, 2),
    "residual": (
        lambda m, x: x + m.gru(x)[0],
        {"gru": nn.GRU(INPUTS, INPUTS, batch_first=True)},
        1,
    ),
    "called twice": (
        lambda m, x: m.gru(m.gru(x)[0]),
        {"gru": nn.GRU(INPUTS, INPUTS, batch_first=True)},
        2,
    ),
    "two stacks": (
        lambda m, x: m.top(m.gru(x)[0]),
        {"top": nn.GRU(HIDDEN, 3, batch_first=True)},
        3,
    ),
    "bidirectional": (
        lambda m, x: m.gru(x),
        {"gru": nn.GRU(INPUTS, HIDDEN, 2, batch_first=True, bidirectional=True)},
        4,
    ),
    "named outputs": (lambda m, x: {"y": m.gru(x)[0], "h": m.gru(x)[1]}, {}, 4),
    "attention": (
        lambda m, x: torch.softmax(m.gru(x)[0] @ m.gru(x)[0].transpose(1, 2), -1),
        {},
        4,
    ),
}


@pytest.mark.parametrize(
    ("case", "steps"), [*((case, 5) for case in CASES), ("last step", 1), ("convolution", 1)]
)
def test_layers_around(case, steps):
    forward, layers, count = CASES[case]
    wrapped = model(forward, **layers)
    imported = import_module(wrapped, frames(steps))
    assert imported.inputs[0].shape == (1, None, INPUTS)
    assert len(set(gru_names(imported))) <= count
    program = export_module(wrapped, frames(steps)).module()
    for other in (1, 2, 9):
        x = frames(other)
        same(program(x), wrapped(x))


def test_state_as_an_input():
    wrapped = model(lambda m, x, h: m.gru(x, h))
    imported = import_module(wrapped, (frames(1), torch.zeros(2, 1, HIDDEN)))
    assert [(i.name, i.shape) for i in imported.inputs] == [
        ("x", (1, None, INPUTS)),
        ("extra", (2, 1, HIDDEN)),
    ]
    entry = list(ops(imported.module, "func.func")[0].regions[0].blocks[0].arguments)
    assert ops(imported.module, "bspc.gru")[0].operands[1] == entry[1]


def test_no_state_is_a_constant_of_zeros():
    imported = import_module(model(lambda m, x: m.gru(x)), frames())
    state = constant_array(ops(imported.module, "bspc.gru")[0].operands[1])
    assert state.shape == (2, 1, HIDDEN)
    assert not state.any()


def test_unbatched_input():
    imported = import_module(nn.GRU(INPUTS, HIDDEN).eval(), torch.randn(5, INPUTS))
    assert imported.inputs[0].shape == (None, INPUTS)
    assert [out.shape for out in imported.outputs] == [(None, HIDDEN), (1, HIDDEN)]


@pytest.mark.parametrize("steps", [1, 5])
def test_two_inputs_with_the_steps(steps):
    wrapped = model(lambda m, x, mask: m.gru(x * mask[..., None])[0])
    imported = import_module(wrapped, (frames(steps), torch.ones(1, steps)))
    assert [i.shape for i in imported.inputs] == [(1, None, INPUTS), (1, None)]


def test_token_input():
    wrapped = model(lambda m, x: m.gru(m.embedding(x))[0], embedding=nn.Embedding(9, INPUTS))
    imported = import_module(wrapped, torch.tensor([[1, 2, 3]]))
    assert imported.inputs[0].shape == (1, None)
    assert imported.inputs[0].element_type == "i64"


def test_nested_and_numpy_inputs():
    wrapped = model(lambda m, x: m.gru(x["frames"], x["state"]))
    example = {"frames": frames().numpy(), "state": np.zeros((2, 1, HIDDEN), np.float32)}
    imported = import_module(wrapped, (example,))
    assert [i.shape for i in imported.inputs] == [(1, None, INPUTS), (2, 1, HIDDEN)]


def test_steps_fixed_or_named():
    gru = nn.GRU(INPUTS, HIDDEN, batch_first=True).eval()
    assert import_module(gru, frames(), dynamic_steps=False).inputs[0].shape == (1, 5, INPUTS)
    for steps in ({0: 1}, {"input": 1}):
        imported = import_module(gru, frames(), dynamic_steps=steps)
        assert imported.inputs[0].shape == (1, None, INPUTS)


def test_without_recurrent_layers_all_is_fixed():
    imported = import_module(nn.Sequential(nn.Linear(4, 5), nn.ReLU()).eval(), torch.randn(2, 4))
    assert imported.inputs[0].shape == (2, 4)
    assert not ops(imported.module, "bspc.gru")


def test_the_users_module_and_inputs_are_left_alone():
    wrapped, x = model(lambda m, x: m.gru(x)[0]), frames()
    import_module(wrapped, x)
    assert type(wrapped.gru) is nn.GRU
    torch.export.export(wrapped, (x,), strict=False)  # x carries no marks of another export


# Files


@pytest.mark.parametrize("bias", [True, False])
def test_pt2_of_plain_torch_export(tmp_path, bias):
    wrapped = model(
        lambda m, x: m.fc(m.gru(x)[0]),
        gru=nn.GRU(INPUTS, HIDDEN, 2, batch_first=True, bias=bias),
        fc=nn.Linear(HIDDEN, 3),
    )
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(wrapped, (frames(),), strict=False), path)
    imported = import_module(path)
    assert gru_names(imported) == ["gru.l0", "gru.l1"]
    assert imported.inputs[0].shape == (1, None, INPUTS)
    expected = {name for name, _ in wrapped.named_parameters()}
    assert expected <= set(weight_names(imported))
    program = export_program(torch.export.load(path)).module()
    for steps in (1, 8):
        x = frames(steps)
        same(program(x), wrapped(x))


def test_pt2_of_our_own_export(tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(export_module(model(lambda m, x: m.gru(x)[0]), frames()), path)
    imported = import_module(path)
    assert gru_names(imported) == ["gru.l0", "gru.l1"]
    assert imported.inputs[0].shape == (1, None, INPUTS)


def test_mlir_of_torch_mlir_with_resources(tmp_path):
    layers = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10)).eval()
    module = fx.export_and_import(
        layers, torch.randn(1, 20), output_type="linalg-on-tensors", func_name="forward"
    )
    path = tmp_path / "model.mlir"
    path.write_text(str(module))
    assert "dense_resource" in path.read_text()
    imported = import_module(path)
    assert ops(imported.module, "func.func")[0].attributes["sym_name"].value == "main"
    assert (imported.inputs[0].shape, imported.outputs[0].shape) == ((1, 20), (1, 10))
    arrays = [constant_array(op.results[0]) for op in ops(imported.module, "arith.constant")]
    for parameter in layers.parameters():
        expected = parameter.detach().numpy()
        assert any(np.array_equal(expected, a) for a in arrays if a is not None)
    assert "dense_resource" not in str(imported.module)


def test_mlir_of_our_own_import(tmp_path):
    imported = import_module(model(lambda m, x: m.gru(x)[0]), frames())
    path = tmp_path / "model.mlir"
    path.write_text(str(imported.module))
    again = import_module(path)
    assert str(again.module) == str(imported.module)
    assert again.inputs[0].shape == (1, None, INPUTS)


def test_mlir_with_torch_ops_is_lowered(tmp_path):
    module = fx.export_and_import(nn.Linear(20, 30).eval(), torch.randn(1, 20), output_type="raw")
    path = tmp_path / "model.mlir"
    path.write_text(str(module))
    imported = import_module(path)
    assert ops(imported.module, "linalg.matmul")


def raw_gru(context, operands, x="[?,1,4]", types="!torch.int, !torch.str"):
    """torch-mlir's import of one layer, with something changed."""
    state, y = "!torch.vtensor<[1,1,6],f32>", "!torch.vtensor<[?,1,6],f32>"
    w_ih, w_hh = "!torch.vtensor<[18,4],f32>", "!torch.vtensor<[18,6],f32>"
    x, b = f"!torch.vtensor<{x},f32>", "!torch.vtensor<[18],f32>"
    return ir.Module.parse(
        f"""func.func @main(%x: {x}, %s: {state}, %i: {w_ih}, %h: {w_hh}, %b: {b},
            %layer: !torch.int) -> ({y}, {state}) {{
          %zero = torch.constant.int 0
          %name = torch.constant.str "gru.l0"
          %0:2 = torch.operator "torch.rtmobile.gru"(%x, %s, %i, %h, %b, %b, {operands})
              : ({x}, {state}, {w_ih}, {w_hh}, {b}, {b}, {types}) -> ({y}, {state})
          return %0#0, %0#1 : {y}, {state}
        }}""",
        context,
    )


def test_raising_twice_changes_nothing():
    module = raw_gru(make_context(), operands="%zero, %name")
    RaiseRnnPass().run(module.operation)
    once = str(module)
    assert len(ops(module, "bspc.gru")) == 1
    RaiseRnnPass().run(module.operation)
    assert str(module) == once


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operands": "%layer, %name"}, "the layer or the name of torch.rtmobile.gru is no const"),
        ({"operands": "%zero, %name", "x": "*"}, "gru.l0.*no known rank"),
        ({"operands": "%zero", "types": "!torch.int"}, "with 7 operands and 2 results; expected 8"),
    ],
)
def test_operators_that_cannot_be_raised(changes, said):
    module = raw_gru(make_context(), **changes)
    with pytest.raises(FrontendError, match=f"bspc-raise-rnn: .*{said}"):
        RaiseRnnPass().run(module.operation)


# What is refused: the message names the place, the finding and what would work


def bad_weight(value):
    gru = nn.GRU(INPUTS, HIDDEN)
    gru.weight_hh_l0.data[2, 3] = value
    return nn.Sequential(gru).eval()


class Overridden(nn.GRU):
    def forward(self, x):
        return super().forward(x)[0]


class Made(nn.RNNBase):
    def __init__(self):
        super().__init__("LSTM", INPUTS, HIDDEN)


class OverriddenCell(nn.LSTMCell):
    def forward(self, x):
        return super().forward(x)[0]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Made(), "enc.0: Made is not supported; use nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell"),
        (Overridden(INPUTS, HIDDEN), "enc.0: Overridden overrides the forward of nn.GRU"),
        (OverriddenCell(INPUTS, HIDDEN), "enc.0: OverriddenCell overrides .* of nn.LSTMCell"),
    ],
)
def test_unsupported_layers(layer, said):
    wrapped = model(lambda m, x: m.enc(x), enc=nn.Sequential(layer))
    with pytest.raises(FrontendError, match=said):
        import_module(wrapped, frames())


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.GRU(4, 6), "GRU: the module is in training mode; call .eval"),
        (nn.GRU(4, 6).double().eval(), "weight_ih_l0: float64 weights .*call .float"),
        (nn.GRU(4, 6).half().eval(), "weight_ih_l0: float16 weights"),
        (nn.GRU(4, 6, device="meta").eval(), "weight_ih_l0: on device meta"),
        (bad_weight(float("nan")), r"0.weight_hh_l0 \[18, 6\]: .*: 1, the first nan at \[2, 3\]"),
        (bad_weight(float("inf")), "the first inf at"),
    ],
)
def test_unusable_modules(module, said):
    with pytest.raises(FrontendError, match=said):
        import_module(module, frames())


def test_sparse_weights_and_nan_buffers():
    sparse = nn.Linear(4, 4).eval()
    sparse.weight = nn.Parameter(sparse.weight.detach().to_sparse(), requires_grad=False)
    with pytest.raises(FrontendError, match="weight: a tensor of layout torch.sparse_coo"):
        import_module(sparse, frames())
    norm = nn.BatchNorm1d(4).eval()
    norm.running_mean[1] = float("nan")
    with pytest.raises(FrontendError, match=r"running_mean \[4\]: .*the first nan at \[1\]"):
        import_module(norm, frames())


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (None, "example_inputs is missing"),
        (frames().double(), r"example_inputs\[0\]: dtype float64; use float32"),
        (frames().half(), r"example_inputs\[0\]: dtype float16"),
        (frames().to(torch.complex64), r"example_inputs\[0\]: dtype complex64"),
        (frames(0), r"example_inputs\[0\]: shape \[1, 0, 4\] is empty"),
        (("text",), r"example_inputs\[0\]: a str; use tensors"),
        (np.array(["text"]), "example_inputs: can't convert np.ndarray"),
        (pack_sequence([frames()[0]]), r"example_inputs\[0\]: a PackedSequence"),
        (frames(features=3), r"gru: nn.GRU input of shape \[1, 5, 3\]"),
        ((frames(), frames(), 3), "fails on the example inputs: .*positional arguments"),
    ],
)
def test_unusable_inputs(example, said):
    with pytest.raises(FrontendError, match=said):
        import_module(model(lambda m, x: m.gru(x)[0]), example)


def write_state(m, x):
    y, h = m.gru(x, m.state)
    m.state.copy_(h)
    return y


def opaque(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


OPAQUE = torch.library.custom_op("rtmobile_test::opaque", opaque, mutates_args=())
OPAQUE.register_fake(torch.empty_like)


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda m, x: m.gru(x)[0] if x.sum() > 0 else x, "depends on the values of a tensor"),
        (lambda m, x: m.gru(x)[0].nonzero(), "aten.nonzero.default: .*depends on the values"),
        (
            lambda m, x: m.gru(x.reshape(1, 5, 4))[0],
            r"inputs \[\[1, 5, 4\]\] .*dynamic_steps=False",
        ),
        (lambda m, x: m.gru(x.reshape(1, -1, 4))[0], "cannot tell which dimension"),
        (lambda m, x: OPAQUE(m.gru(x)[0]), "does not lower torch.rtmobile_test.opaque"),
        (lambda m, x: torch.fft.fft(m.gru(x)[0]).real, "does not lower torch.aten.fft_fft"),
        (lambda m, x: x.tolist(), "depends on the values"),
        (
            lambda m, x: m.gru(pack_padded_sequence(x, torch.tensor([5]), batch_first=True))[0],
            "pack_padded_sequence is not supported",
        ),
        (
            lambda m, x: (m.gru(x)[0], object()),
            "torch.export failed: .*object",
        ),
    ],
)
def test_unsupported_code(forward, said):
    with pytest.raises(FrontendError, match=said) as raised:
        import_module(model(forward), frames())
    assert "\n" not in str(raised.value)


def test_a_buffer_that_is_written():
    wrapped = model(write_state)
    wrapped.register_buffer("state", torch.zeros(2, 1, HIDDEN))
    with pytest.raises(FrontendError, match="buffer state is written by the module"):
        import_module(wrapped, frames())


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({"y": 1}, r"no input 'y'; use one of \['input', 'hx'\]"),
        ({3: 1}, "input 3 is no tensor among the 1 example inputs"),
        ({0: 7}, r"dimension 7 of input 0 of shape \[1, 5, 4\]; use 0 to 2"),
        ({0: 0}, "cannot be lengthened"),
        ({0: 2}, "cannot be lengthened"),
    ],
)
def test_unusable_dynamic_steps(steps, said):
    with pytest.raises(FrontendError, match=said):
        import_module(nn.GRU(4, 6, batch_first=True).eval(), frames(), dynamic_steps=steps)


def test_unusable_exported_programs():
    training = torch.export.export(nn.GRU(4, 6).train(), (frames(),), strict=False)
    with pytest.raises(FrontendError, match="aten.gru.input exported in training mode"):
        import_module(training)
    keyword = torch.export.export(nn.GRU(4, 6).eval(), (), kwargs={"input": frames()}, strict=False)
    with pytest.raises(FrontendError, match=r"keyword inputs \(input\)"):
        import_module(keyword)
    keyword.example_inputs = None
    with pytest.raises(FrontendError, match="holds no example inputs"):
        import_module(keyword)


MAIN = "func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {\n"
RESOURCE = (
    f"{MAIN}%c = arith.constant dense_resource<w> : tensor<2xf32>\nreturn %c : tensor<2xf32>}}\n"
)


SECTION = '{-#\n dialect_resources: {\n builtin: {\n w: "0xTEXT"\n}\n}\n#-}\n'


def with_blob(text):
    return RESOURCE + SECTION.replace("TEXT", text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("hello world", "not an MLIR module: custom op 'hello' is unknown"),
        (MAIN, "not an MLIR module"),
        (bytes(range(200, 256)), "not a text file"),
        (b"ML\xefR\x01", "MLIR bytecode"),
        ("module {}", "public functions: none"),
        ("func.func @a() {return}\nfunc.func @b() {return}", "public functions: a, b"),
        (RESOURCE, "resource w is missing"),
        (with_blob("04000000"), "resource w: 0 bytes for tensor<2xf32>; expected 8"),
        (with_blob("04000000000000000000000z"), "resource w: bad hexadecimal text"),
        (
            with_blob("0400000000").replace("2xf32", "1xbf16"),
            "resource w: element type bf16 is not supported",
        ),
    ],
)
def test_unusable_mlir_files(tmp_path, content, said):
    path = tmp_path / "model.mlir"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FrontendError, match=f"model.mlir: {said}") as raised:
        import_module(path)
    assert "\n" not in str(raised.value)


def test_a_resource_is_read(tmp_path):
    path = tmp_path / "model.mlir"
    path.write_text(with_blob("04000000" + np.array([1.5, -2], np.float32).tobytes().hex()))
    imported = import_module(path)
    (constant,) = ops(imported.module, "arith.constant")
    np.testing.assert_array_equal(constant_array(constant.results[0]), [1.5, -2])


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_unusable_pt2_files(tmp_path, content, caplog):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(FrontendError, match="model.pt2: not a torch.export file"):
        import_module(path)
    assert not caplog.records


def test_unusable_sources(tmp_path):
    with pytest.raises(FrontendError, match=r"absent.mlir: no such file"):
        import_module(tmp_path / "absent.mlir")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(FrontendError, match=r"model.onnx: unknown kind of file '.onnx'"):
        import_module(str(tmp_path / "model.onnx"))
    with pytest.raises(FrontendError, match="not a model: a value of type int"):
        import_module(3)


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "model.mlir"
    path.write_text("module {}")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(FrontendError, match="model.mlir: cannot be read: Permission denied"):
        import_module(path)
