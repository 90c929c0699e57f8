"""Methods from the literature, one a file, to compare with; see `peers.protocol.Peer`."""

from __future__ import annotations

from peers.art_binary_activation import BinaryActivation
from peers.art_binary_input import BinaryInput
from peers.art_subset_scanning import SubsetScanning
from peers.beyond import BEYOND
from peers.causadv import CausAdv
from peers.energy import Energy
from peers.feature_squeezing import FeatureSqueezing
from peers.lid import LID
from peers.mahalanobis import Mahalanobis, PreprocessedMahalanobis
from peers.max_softmax import MaxSoftmax
from peers.ml_loo import MLLOO
from peers.nic import NIC
from peers.odds import Odds
from peers.protocol import Peer
from peers.rlt import RLT
from peers.shap_signatures import SHAPSignatures

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
