"""Every kind of recurrent layer and cell that torch has, for the tests that go through all."""

from functools import partial

from torch import nn


def recurrent_layers(proj_size):
    """Makers of layers by kind; `proj_size` is the projected LSTM's."""
    return {
        "gru": nn.GRU,
        "lstm": nn.LSTM,
        "lstmp": partial(nn.LSTM, proj_size=proj_size),
        "rnn_tanh": nn.RNN,
        "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
    }


CELLS = {
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "rnn_tanh": nn.RNNCell,
    "rnn_relu": partial(nn.RNNCell, nonlinearity="relu"),
}


class Outputs(nn.Module):
    """The outputs of a recurrent layer alone."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]
