"""Logistic regression over a peer's statistics, as most supervised peers end in one."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.face import Table
from benchmarks.peers.protocol import Floats, Peer, stacked


class LogisticPeer(Peer):
    """A peer that learns by logistic regression: clean and attacked weigh the same, as do all attacks."""

    supervised = True

    def learn(self, table: Table) -> None:
        """See `Peer`."""
        self.head = fitted(table)

    def judge(self, features: Floats) -> Floats:
        """See `Peer`."""
        return np.asarray(self.head.decision_function(features))


def fitted(table: Table):
    """A scaler and a logistic regression, fitted."""
    x, target, weights = stacked(table)
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return head.fit(x, target, logisticregression__sample_weight=weights)
