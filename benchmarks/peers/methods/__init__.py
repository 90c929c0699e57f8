"""Methods from the literature, one a file, to compare with; see `benchmarks.peers.protocol.Peer`."""

from __future__ import annotations

from benchmarks.peers.methods.art_binary_activation import BinaryActivation
from benchmarks.peers.methods.art_binary_input import BinaryInput
from benchmarks.peers.methods.art_subset_scanning import SubsetScanning
from benchmarks.peers.methods.beyond import BEYOND
from benchmarks.peers.methods.causadv import CausAdv
from benchmarks.peers.methods.energy import Energy
from benchmarks.peers.methods.feature_squeezing import FeatureSqueezing
from benchmarks.peers.methods.lid import LID
from benchmarks.peers.methods.mahalanobis import Mahalanobis, PreprocessedMahalanobis
from benchmarks.peers.methods.max_softmax import MaxSoftmax
from benchmarks.peers.methods.ml_loo import MLLOO
from benchmarks.peers.methods.nic import NIC
from benchmarks.peers.methods.odds import Odds
from benchmarks.peers.methods.rlt import RLT
from benchmarks.peers.methods.shap_signatures import SHAPSignatures
from benchmarks.peers.protocol import Peer

_ALL: tuple[type[Peer], ...] = (
    MaxSoftmax,
    Energy,
    FeatureSqueezing,
    LID,
    Mahalanobis,
    PreprocessedMahalanobis,
    MLLOO,
    Odds,
    SHAPSignatures,
    CausAdv,
    RLT,
    BEYOND,
    NIC,
    BinaryInput,
    BinaryActivation,
    SubsetScanning,
)

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in _ALL}
"""Every peer by name."""
