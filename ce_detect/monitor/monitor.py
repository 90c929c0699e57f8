"""The monitor: verdicts in, alarms over the stream out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError, UsageError
from ce_detect.monitor.alarms import Alarm, Scope, of_whom
from ce_detect.monitor.drift import Drift
from ce_detect.monitor.evidence import Bets, Form, Values
from ce_detect.monitor.interval import FalseAlarmRate
from ce_detect.monitor.reference import ERROR, Reference, predicted
from ce_detect.monitor.streams import Stream, Streams
from ce_detect.verdict.result import GateResult

_PARTS = 4
"""Overall, labels, clients and drift share the false alarms that are allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """What is asked of a monitor.

    Attributes:
        false_alarms: with the form ``"rate"`` how many per million clean inputs, on average; with ``"ever"`` how many
            in an endless clean stream, so that 0.05 means none at all with a probability of 95 %.
        form: see there.
        error: probability, over calibrations, that the bounds do not hold, see `Reference`.
        clients: clients that are kept apart at once.

    Raises:
        UsageError: a number that makes no sense.
    """

    false_alarms: float = 1.0
    form: Form = "rate"
    error: float = ERROR
    clients: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms <= (1e5 if self.form == "rate" else 1) or self.form not in ("rate", "ever"):
            raise UsageError(
                f"false_alarms = {self.false_alarms} of the form {self.form!r}: expected 'rate' and at most 1e5 per "
                "million, or 'ever' and at most 1"
            )
        if not 0 < self.error < 1 or self.clients < 1:
            raise UsageError(f"error = {self.error}, clients = {self.clients}: expected 0 < error < 1 and clients >= 1")

    @property
    def limit(self) -> float:
        """Evidence that is an alarm."""
        return _PARTS * (1e6 if self.form == "rate" else 1.0) / self.false_alarms


@dataclass
class Expected:
    """Rates of hits that are expected of the next input, if clean ones come in any order.

    Attributes:
        hits: ``(levels,)`` among calibration and stream, plus one.
        count: of both, plus one.
    """

    hits: NDArray[np.int64]
    count: int

    def before(self, hits: NDArray[np.bool_]) -> Values:
        """Take inputs; the rates that were expected of each before it came, ``(batch, levels)``."""
        sums = self.hits + np.cumsum(hits, axis=0)
        counts = self.count + np.arange(len(hits))
        rates = np.vstack([self.hits, sums[:-1]])[: len(hits)] / counts[:, None]
        if len(hits):
            self.hits, self.count = sums[-1], self.count + len(hits)
        return np.asarray(rates)


class Monitor:
    """Looks at verdicts as they come, for campaigns and for drift; for one thread.

    >>> monitor = Monitor.of(gate.manifest)                                        # doctest: +SKIP
    >>> for alarm in monitor.observe(gate(x), "10.0.0.7"): print(alarm.text)        # doctest: +SKIP

    False alarms are at most as many as the settings say, on average over calibrations, as long as clean inputs are like
    those of the reference and come in any order. For one client that means: his as well.

    Attributes:
        reference: what clean inputs do.
        settings: see `MonitorSettings`.
        false_alarm_rate: the present one, from `reviewed`.
        drift: evidence of it.
        expected: rates that are expected of the next input.
        overall: all inputs.
        labels: inputs by predicted label, where the reference knows how many of those are flagged.
        clients: inputs by client.

    Args:
        reference: what clean inputs do.
        settings: what is asked.
    """

    def __init__(self, reference: Reference, settings: MonitorSettings | None = None) -> None:
        self.reference, self.settings = reference, settings or MonitorSettings()
        form, limit = self.settings.form, self.settings.limit
        self._bets = Bets(reference.rates, form, len(reference.levels))
        self.expected = Expected(*reference.known)
        self._label_bets = {str(label): Bets(np.array([rate]), form) for label, rate in reference.by_label.items()}
        self.overall = Stream.of(self._bets, limit)
        self.labels, self.clients = Streams(max(1, len(self._label_bets))), Streams(self.settings.clients)
        self.drift = Drift.of(reference, limit, form)
        self.false_alarm_rate = FalseAlarmRate()
        self._told_of_rate = False

    @classmethod
    def of(cls, manifest: Mapping[str, Any], settings: MonitorSettings | None = None) -> Self:
        """With what a gate's calibration says of clean inputs, see `Reference.of`."""
        settings = settings or MonitorSettings()
        return cls(Reference.of(manifest, error=settings.error), settings)

    def observe(self, result: GateResult, client: str | Sequence[str] | None = None) -> list[Alarm]:
        """Take verdicts in the order in which they were asked for; one by one or in batches makes no difference.

        Args:
            result: of the gate, with the gate's own threshold.
            client: who asked, for all of them or for each; None where nobody knows.

        Returns:
            New alarms.

        Raises:
            InputError: as many clients as inputs were expected.
        """
        hits = self.reference.hits(result)
        p_values = np.asarray(result.p_value, np.float64)
        expected, alarms = self.expected.before(hits[:, 1:]), []
        if self.drift.feed(p_values, self.reference):
            alarms.append(self._drifted())
        alarms += self._fed("overall", "", self.overall, hits, expected)
        if self._label_bets:
            for name, where in _groups(predicted(result).astype(str)):
                if (bets := self.bets("label", name)) is not None:
                    alarms += self._fed("label", name, self.labels.of(name, bets, self.settings.limit), hits[where, :1])
        if client is not None:
            for name, where in _groups(_names(client, len(hits))):
                stream = self.clients.of(name, self._bets, self.settings.limit)
                alarms += self._fed("client", name, stream, hits[where], expected[where])
        return alarms

    def reviewed(self, flagged: int, clean: int) -> list[Alarm]:
        """Take what people found: see `FalseAlarmRate.add`.

        Returns:
            An alarm where it is clear now that the promise does not hold any more.
        """
        self.false_alarm_rate.add(flagged, clean)
        low, high = self.false_alarm_rate.interval
        if low <= self.reference.promise:
            self._told_of_rate = False
            return []
        if self._told_of_rate:
            return []
        self._told_of_rate = True
        text = (
            f"The promise of {self.reference.promise:.2%} false alarms no longer holds: now between {low:.1%} and "
            f"{high:.1%} of clean inputs are flagged, from {self.false_alarm_rate.counts[1]} reviewed ones. Calibrate "
            "again on these."
        )
        return [Alarm("drift", "overall", "", self.overall.seen, text)]

    def bets(self, scope: str, name: str) -> Bets | None:
        """What is bet on in a stream; None for a label that the reference does not know."""
        return self._label_bets.get(name) if scope == "label" else self._bets

    def status(self) -> dict[str, Any]:
        """Plain data: what stands now."""
        low, high = self.false_alarm_rate.interval
        return {
            "inputs": self.overall.seen,
            "campaign": self.overall.active,
            "clients": len(self.clients),
            "clients_in_campaign": sorted(name for name, stream in self.clients if stream.active),
            "labels_in_campaign": sorted(name for name, stream in self.labels if stream.active),
            "evidence": self.overall.evidence.value,
            "drift_evidence": self.drift.evidence.value,
            "limit": self.settings.limit,
            "promise": self.reference.promise,
            "false_alarm_rate": self.false_alarm_rate.estimate,
            "false_alarm_rate_interval": [low, high],
        }

    def _fed(
        self, scope: Scope, name: str, stream: Stream, hits: NDArray[np.bool_], expected: Values | None = None
    ) -> Iterator[Alarm]:
        for lasted, found in stream.feed(hits, expected):
            level, text = self._strongest(stream, found, lasted)
            moved = self.drift.suspected
            doubt = " Ordinary inputs have moved too, so it may be drift: review some." if moved else ""
            yield Alarm(
                "drift" if moved else "campaign", scope, name, stream.seen,
                f"Suspicious inputs of {of_whom(scope, name)}: {text} (at most {stream.evidence.bets.rates[level]:.2%} "
                f"of clean inputs are).{doubt} Look at the quarantine; limit or block who sends them.",
            )  # fmt: skip

    def _strongest(self, stream: Stream, found: NDArray[np.int64], lasted: int) -> tuple[int, str]:
        """The level that says most, and what it says."""
        level = int(np.argmax(found / max(1, lasted) / stream.evidence.bets.rates))
        what = "flagged" if level == 0 else f"of a p-value of at most {self.reference.levels[level - 1]:.2g}"
        return level, f"{found[level]} of the last {lasted} were {what}"

    def _drifted(self) -> Alarm:
        text = (
            "Ordinary inputs are no longer what they were at calibration: too many or too few of those that pass have "
            f"a p-value of at most {self.reference.bulk[1]:.2f}. Review some, then calibrate again with clean ones."
        )
        return Alarm("drift", "overall", "", self.overall.seen, text)


def _groups(names: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each name with its positions, those first that came first."""
    if len(names) == 0:
        return
    unique, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    for number in np.argsort(first):
        yield str(unique[number]), np.flatnonzero(inverse == number)


def _names(client: str | Sequence[str], count: int) -> NDArray[Any]:
    names = np.array([client] * count if isinstance(client, str) else list(client))
    if len(names) != count:
        raise InputError(f"{len(names)} clients for {count} inputs, expected one name or one for each")
    return names
