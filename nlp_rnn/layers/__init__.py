"""The parts of the networks: recurrent layers, attention, encoder and decoder."""

from nlp_rnn.layers.attention import BahdanauAttention
from nlp_rnn.layers.bidirectional import Bidirectional, RecurrentStack
from nlp_rnn.layers.crf import ConditionalRandomField
from nlp_rnn.layers.decoder import AttentionDecoder
from nlp_rnn.layers.encoder import RecurrentEncoder
from nlp_rnn.layers.recurrent import GRU, LSTM, LayerNormalizedLSTM, SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "AttentionDecoder",
    "BahdanauAttention",
    "Bidirectional",
    "ConditionalRandomField",
    "LayerNormalizedLSTM",
    "RecurrentEncoder",
    "RecurrentStack",
    "SimpleRNN",
]
