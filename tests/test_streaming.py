"""Streams: PyTorch's numbers however the frames are cut, and no call leaves anything behind."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import rtmobile_iree as rt
from rtmobile_iree.chunks import full_shape
from rtmobile_iree.errors import InputError
from rtmobile_iree.models import speech_gru, tiny_speech_gru
from rtmobile_iree.program import InputSpec
from rtmobile_iree.speech import clip_frames
from rtmobile_iree.states import find_states, given_states

FRAMES = 1000


class Lstm(nn.Module):
    """Two states, batch 3, frames [T, B, I]."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 17, 2)
        self.fc = nn.Linear(17, 3)

    def forward(self, x, h, c):
        y, (h, c) = self.lstm(x, (h, c))
        return self.fc(y), h, c


class Cell(nn.Module):
    """A step a call; its only output is its state."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 8)

    def forward(self, x, h):
        return self.cell(x, h)


class Stateless(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 8)

    def forward(self, x):
        return self.gru(x)[0]


class Counting(nn.Module):
    """Returns its states first, and one of them in another order: nothing says which is which."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 8)

    def forward(self, x, h, n):
        y, h = self.gru(x, h)
        return n + 1, h + 0, y


def compiled(module, *inputs, seed=0, **options):
    torch.manual_seed(seed)
    return rt.compile(module.eval(), inputs, **options)


@pytest.fixture(scope="module")
def speech():
    """The evaluation model at 10 x 1, a stream of it, frames of speech, and PyTorch's one pass."""
    model = speech_gru()
    rt.prune(model, column_rate=10, row_rate=1)
    x = clip_frames()[:FRAMES]
    with torch.inference_mode():
        expected, state = model(torch.from_numpy(x)[None], model.initial_state())
    program = rt.compile(model, model.example_inputs())
    return rt.stream(program), x, expected[0].numpy(), state.numpy()


def streamed(stream, x, chunk):
    """All outputs of frames [T, I], cut into chunks."""
    stream.reset()
    parts = [stream.step(x[start : start + chunk]).copy() for start in range(0, len(x), chunk)]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "tiny.vmfb"
    model = tiny_speech_gru()
    rt.compile(model, model.example_inputs()).save(path)
    return path


def test_a_thousand_frames_are_pytorchs_however_they_are_cut(speech):
    stream, x, expected, state = speech
    whole = streamed(stream, x, FRAMES)
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-4)
    for chunk in (1, 7, 30, 333):
        np.testing.assert_allclose(streamed(stream, x, chunk), whole, rtol=0, atol=1e-6)
        np.testing.assert_allclose(stream.state["state"], state, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{"values": "bf16"}, {"values": "i8"}], ids=str)
def test_narrow_weights_stream_as_they_run(options):
    model = tiny_speech_gru()
    rt.prune(model, column_rate=2, row_rate=1)
    program = rt.compile(model, model.example_inputs(), **options)
    x = np.random.default_rng(0).standard_normal((20, 8), np.float32)
    whole, state = program(x[None], model.initial_state())
    stream = rt.stream(program)
    np.testing.assert_allclose(streamed(stream, x, 3), whole[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(stream.state["state"], state, rtol=0, atol=1e-6)


def test_an_lstm_has_two_states_and_any_batch():
    torch.manual_seed(0)
    model = Lstm().eval()
    states = torch.zeros(2, 3, 17), torch.zeros(2, 3, 17)
    program = rt.compile(model, (torch.zeros(4, 3, 5), *states))
    assert program.states == ((1, 1), (2, 2))
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((13, 3, 5), np.float32))
    with torch.inference_mode():
        expected, h, c = model(x, *states)
    stream = rt.stream(program)
    for chunk in (1, 2, 13):
        stream.reset()
        parts = [stream.step(part).copy() for part in x.split(chunk)]
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(stream.state["h"], h, rtol=0, atol=1e-5)
        np.testing.assert_allclose(stream.state["c"], c, rtol=0, atol=1e-5)


def test_an_output_that_is_the_state_is_returned():
    torch.manual_seed(0)
    model = Cell().eval()
    stream = rt.stream(rt.compile(model, (torch.zeros(1, 4), torch.zeros(1, 8))))
    h = torch.zeros(1, 8)
    for number in range(5):
        x = torch.full((1, 4), number / 5)
        with torch.inference_mode():
            h = model(x, h)
        np.testing.assert_allclose(stream.step(x[0]), h[0], rtol=0, atol=1e-5)


def test_states_the_user_names():
    program = compiled(Counting(), torch.zeros(3, 1, 4), torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
    assert program.states == ()
    with pytest.raises(InputError, match=r"no output feeds input h .*state="):
        rt.stream(program)
    stream = rt.stream(program, state={"h": 1, "n": 0})
    for _ in range(3):
        y = stream.step(np.ones((2, 1, 4), np.float32))
    assert y.shape == (2, 1, 8)
    np.testing.assert_array_equal(stream.state["n"], np.full((1, 1, 8), 3, np.float32))
    whole = program(np.ones((6, 1, 4), np.float32), *(np.zeros((1, 1, 8), np.float32),) * 2)
    np.testing.assert_allclose(y, whole[2][-2:], rtol=0, atol=1e-6)


def test_setting_and_resetting_the_state(tiny):
    stream = rt.stream(tiny)
    x = np.random.default_rng(2).standard_normal((4, 8), np.float32)
    first = stream.step(x).copy()
    state = stream.state
    second = stream.step(x).copy()
    assert np.abs(first - second).max() > 1e-3
    stream.state = state
    np.testing.assert_array_equal(stream.step(x), second)
    stream.reset()
    assert not stream.state["state"].any()
    np.testing.assert_array_equal(stream.step(x), first)
    with pytest.raises(InputError, match="state 'h': not one of this stream's: state"):
        stream.state = {"h": state["state"]}
    with pytest.raises(InputError, match="input state: shape"):
        stream.state = {"state": state["state"][0]}


def test_results_have_the_axes_that_were_given(tiny):
    stream = rt.stream(tiny)
    for given, returned in (((8,), (8,)), ((5, 8), (5, 8)), ((1, 5, 8), (1, 5, 8))):
        assert stream.step(np.zeros(given, np.float32)).shape == returned


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            np.zeros(7, np.float32),
            r"shape \[7\]; this stream takes \[8\] or \[T, 8\] or \[1, T, 8\]",
        ),
        (np.zeros((0, 8), np.float32), "T 1 or more"),
        (np.zeros((2, 3, 8), np.float32), "this stream takes"),
        (np.zeros((1, 1, 1, 8), np.float32), "this stream takes"),
        (np.float32(1), "this stream takes"),
        (np.zeros(8), "dtype float64; this stream takes float32"),
    ],
)
def test_frames_that_do_not_fit_leave_the_state_alone(tiny, frames, message):
    stream = rt.stream(tiny)
    stream.step(np.ones((2, 8), np.float32))
    before = stream.state["state"]
    with pytest.raises(InputError, match=message):
        stream.step(frames)
    np.testing.assert_array_equal(stream.state["state"], before)


def test_a_fixed_number_of_steps_is_kept():
    model = tiny_speech_gru()
    program = rt.compile(model, model.example_inputs(3), dynamic_steps=False)
    stream = rt.stream(program)
    assert stream.step(np.zeros((3, 8), np.float32)).shape == (3, 8)
    with pytest.raises(InputError, match=r"takes \[3, 8\] or \[1, 3, 8\]"):
        stream.step(np.zeros(8, np.float32))


def test_programs_that_cannot_stream():
    program = compiled(Stateless(), torch.zeros(3, 1, 4))
    with pytest.raises(InputError, match=r"no state, .* forward\(x, h\) -> \(y, h\)"):
        rt.stream(program)
    with pytest.raises(InputError, match="cannot be read"):
        rt.stream("none.vmfb")


def test_ten_thousand_steps_keep_nothing(tiny):
    stream = rt.stream(tiny)
    chunks = [np.zeros(8, np.float32), np.zeros((3, 8), np.float32)]

    def run(steps):
        for number in range(steps):
            stream.step(chunks[number % 2])

    run(10)
    gc.collect()
    tracemalloc.start()
    run(10)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    taken, given = stream.program.module.device_bytes
    run(10_000)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # less than a byte a step; within one, a few small objects come and go
    assert after - before < 10_000
    assert peak - before < 20_000
    # IREE takes scratch memory at each call, and gives all of it back
    more_taken, more_given = stream.program.module.device_bytes
    assert more_taken - taken == more_given - given


def test_longer_and_longer_chunks(tiny):
    stream = rt.stream(tiny)
    x = np.random.default_rng(3).standard_normal((820, 8), np.float32)
    whole = streamed(stream, x, len(x))
    stream = rt.stream(tiny)
    kept, start = [], 0
    for length in range(1, 41):
        # a longer chunk needs longer buffers; what came out of the old ones stays
        kept.append((start, stream.step(x[start : start + length])))
        start += length
    for begin, part in kept:
        np.testing.assert_allclose(part, whole[begin : begin + len(part)], rtol=0, atol=1e-6)


def spec(*shape, name="x", dtype="float32"):
    return InputSpec(name, shape, dtype)


@pytest.mark.parametrize(
    ("inputs", "outputs", "pairs"),
    [
        ([spec(1, None, 4), spec(1, 1, 8)], [spec(1, None, 8), spec(1, 1, 8)], ((1, 1),)),
        ([spec(None, 1, 4), spec(8), spec(8)], [spec(None, 1, 8), spec(8), spec(8)],
         ((1, 1), (2, 2))),
        ([spec(1, 4), spec(1, 8)], [spec(1, 8)], ((0, 1),)),
        ([spec(None, 4), spec(8), spec(9)], [spec(9), spec(8), spec(None, 4)], ((1, 1), (0, 2))),
        ([spec(None, 4), spec(8)], [spec(8), spec(8), spec(None, 4)], ()),
        ([spec(None, 4), spec(8)], [spec(None, 4)], ()),
        ([spec(8), spec(None, 4)], [spec(None, 4), spec(8)], ((1, 0),)),
        ([spec(None, 4)], [spec(None, 4)], ()),
        ([], [], ()),
    ],
)  # fmt: skip
def test_states_are_found_by_place_or_by_shape(inputs, outputs, pairs):
    assert find_states(inputs, outputs) == pairs


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"g": 1}, "state 'g': no such input; inputs are x, h"),
        ({"h": 2}, "state 'h': no output 2; outputs are 0 to 1"),
        ({"h": -1}, "no output -1"),
        ({"h": 0}, "a state goes out as it came in"),
    ],
)
def test_states_that_cannot_be(state, message):
    inputs = [spec(1, None, 4), spec(1, 1, 8, name="h")]
    outputs = [spec(1, None, 8), spec(1, 1, 8)]
    with pytest.raises(InputError, match=message):
        given_states(state, inputs, outputs)


def test_shapes_with_one_feature_and_one_frame():
    assert full_shape(spec(1, None, 1), (5, 1)) == (1, 5, 1)
    assert full_shape(spec(1, None, 1), (1,)) == (1, 1, 1)
    assert full_shape(spec(None, 1, 3), (3,)) == (1, 1, 3)
    assert full_shape(spec(2, None, 3), (2, 4, 3)) == (2, 4, 3)
