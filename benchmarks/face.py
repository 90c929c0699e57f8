"""The one internal face: what the benchmarks use of `ce_detect` beyond its public names.

``from benchmarks.face import AttackedSet`` imports one name from where it lives. No other file here imports internals
(``tests/benchmarks/test_face.py`` holds it), so whoever moves or renames something in the package edits this list
alone. Public are the names of ``ce_detect`` itself, `ce_detect.runtime` and `ce_detect.adapters`.

Names load when they are first used: `cost.memory` and `serving.scan_memory` measure processes that must not import more
than they run.
"""

from __future__ import annotations

import pkgutil
from typing import Any

HOMES = {
    # Images and their splits
    "Images": "ce_detect.data:Images",  # images and labels in one form
    "Pixels": "ce_detect.data:Pixels",  # images that may be on disk
    "Mapped": "ce_detect.data:Mapped",  # images under a corruption, made when they are read
    "Concatenated": "ce_detect.data:Concatenated",  # fit and select as one
    "rows": "ce_detect.data:rows",  # some images, read when they are needed
    "tensors": "ce_detect.data.tensors",  # batches on the classifier's device
    "split_by_identity": "ce_detect.data.splits:split_by_identity",  # the splits that a calibration makes
    "distinct": "ce_detect.data.splits:distinct",  # each image once
    "MILD": "ce_detect.data.corruptions:MILD",  # the corruptions that a report counts as clean
    "mixture": "ce_detect.data.corruptions:mixture",  # images as the threshold's mixture has them
    "Change": "ce_detect.data.corruptions.corruption:Change",  # what it does to an image
    "generator_for": "ce_detect.data.corruptions:generator_for",  # what it draws from
    "codecs": "ce_detect.data.corruptions.codecs",  # changes at strengths of our own
    "geometry": "ce_detect.data.corruptions.geometry",  # the same
    "light": "ce_detect.data.corruptions.light",  # the same
    "optics": "ce_detect.data.corruptions.optics",  # the same
    "as_bytes": "ce_detect.data.corruptions.pictures:as_bytes",  # what a file holds
    "Floats": "ce_detect.core.types:Floats",  # arrays of images
    # Attacks
    "controls": "ce_detect.attacks.controls",  # changes as large as an attack's
    "Shuffled": "ce_detect.attacks.controls:Shuffled",  # controls of a whole attack
    "AttackedSet": "ce_detect.attacks.generation:AttackedSet",  # attacked twins of some images
    "attack_all": "ce_detect.attacks.generation:attack_all",  # every program judges the same cached attacks
    "CHUNK": "ce_detect.attacks.chunks:CHUNK",  # images in a piece of work, to time attacks by full pieces
    "Estimator": "ce_detect.attacks.art_estimator:Estimator",  # ART's own attack runs on what ours runs on
    "run_attack": "ce_detect.attacks.run:run",  # one attack without the cache, to take its time
    # Classifiers
    "Classifier": "ce_detect.classifiers.base:Classifier",  # what a peer is given
    "wrap": "ce_detect.classifiers.wrapping:wrap",  # trace and resume are timed without a gate
    "PENULTIMATE": "ce_detect.classifiers.base:PENULTIMATE",  # the site before a linear last layer
    "site_shapes": "ce_detect.classifiers.base:site_shapes",  # which sites are feature maps
    "movable": "ce_detect.classifiers.base:movable",  # feature maps that the search intervenes at
    "log_odds": "ce_detect.classifiers.log_odds:log_odds",  # peers that look at confidence
    "FashionCNN": "ce_detect.demo.model:FashionCNN",  # the demo's classifier is a subject, and is trained here
    "fashion_cnn": "ce_detect.demo.model:fashion_cnn",  # the same with its weights
    "fashion_cnn_light": "ce_detect.demo.model:fashion_cnn_light",  # the one that the demo guards
    "demonstrate": "ce_detect.guard.demonstration:demonstrate",  # what ships with the demo is what it finds
    "Sizes": "ce_detect.guard.demonstration:Sizes",  # which images it attacks
    "shipped": "ce_detect.guard.shipped",  # the form in which attacked images ship
    # The gate and its parts
    "Compiled": "ce_detect.detector.compiled:Compiled",  # parts of a gate run as the gate itself does
    "Inference": "ce_detect.detector.inference:Inference",  # judges as a gate in production does
    "GateModule": "ce_detect.detector.gate:GateModule",  # members of an ensemble
    "Signature": "ce_detect.features.signature:Signature",  # the free statistics alone are timed
    "ExecutionPlan": "ce_detect.features.plan:ExecutionPlan",  # logits after interventions, without a head
    "EFFECTS": "ce_detect.features.effects:EFFECTS",  # names of the effects
    "effects": "ce_detect.features.effects:effects",  # causal effects of any intervention
    "conformal": "ce_detect.verdict.conformal",  # peers get their thresholds as gates do
    # Learning and calibration
    "Table": "ce_detect.fitting.feature_tables:Table",  # statistics of clean and attacked images
    "Sets": "ce_detect.fitting.feature_tables:Sets",  # images of a split with their attacked twins
    "features": "ce_detect.fitting.feature_tables:features",  # signatures of many images, for the train x test matrix
    "from_spec": "ce_detect.interventions:from_spec",  # interventions as a recipe names them
    "completed": "ce_detect.calibrate.search.candidates:completed",  # the same, filled in for a classifier
    "teach": "ce_detect.fitting.interventions:teach",  # interventions that are learned
    "stacked": "ce_detect.fitting.feature_tables:stacked",  # the weights that our own heads learn with, for peers
    "by_rows": "ce_detect.heads.base:by_rows",  # scores of many signatures
    "fused_head": "ce_detect.fitting.heads:fused_head",  # heads on many draws of the images
    "successes": "ce_detect.calibrate.decisions:successes",  # attempts that changed the decision
    "decisions": "ce_detect.calibrate.decisions:decisions",  # what they changed
    "feature_tables": "ce_detect.fitting.feature_tables",  # the memory of its tables is measured
    "divided": "ce_detect.calibrate.dataset:divided",  # the splits that they start from
    "prepare": "ce_detect.calibrate.dataset:prepare",  # splits and attacks of a calibration, for adaptive rows
    "CalibrationData": "ce_detect.calibrate.dataset:CalibrationData",  # what it returns
    "WORTH": "ce_detect.calibrate.search.greedy:WORTH",  # gain below which the search counts none
    "by_family": "ce_detect.calibrate.search.ledger:by_family",  # the best candidate of each family
    "cleared": "ce_detect.calibrate.cascade:cleared",  # share that a cascade clears
    "graph_digest": "ce_detect.artifacts.graph_digest",  # a graph that is made for load is sealed as others are
    # What a kept hardened gate depends on
    "FORMAT": "ce_detect.artifacts.file:FORMAT",  # another format of artifacts, another gate
    "LARGEST": "ce_detect.artifacts.int8:LARGEST",  # rounding of the copy's weights
    "adversarial_rounds": "ce_detect.calibrate.adversarial_rounds",  # images, reaches and steps of the rounds
    "robust_copy": "ce_detect.fitting.robust_copy",  # how the copy is trained
    "SCALES": "ce_detect.calibrate.hardening:SCALES",  # sizes at which it may look at the image
    "SOFTNESS": "ce_detect.heads.disagreement:SOFTNESS",  # how its doubt enters the score
    "STEEPNESS": "ce_detect.heads.disagreement:STEEPNESS",  # the same
    # Figures
    "evaluate": "ce_detect.evaluate.report:evaluate",  # a whole report on images and attacks of ours
    "judge": "ce_detect.evaluate.report:judge",  # labels and scores of many images
    "auroc": "ce_detect.evaluate.metrics:auroc",  # peers are measured as gates are
    "tpr_at": "ce_detect.evaluate.metrics:tpr_at",  # the same
    "share_above": "ce_detect.evaluate.metrics:share_above",  # the same, of false alarms
    "Scores": "ce_detect.evaluate.intervals:Scores",  # what is drawn again for an interval
    "intervals": "ce_detect.evaluate.intervals:intervals",  # bootstrap intervals of whatever is measured
    "matrix": "ce_detect.evaluate.matrix:matrix",  # train x test over attacks
    "ALL": "ce_detect.evaluate.matrix:ALL",  # its row of what learned from every attack
    "ratios": "ce_detect.calibrate.cost.timing:ratios",  # times taken in turns, as calibration takes them
    "on_each": "ce_detect.calibrate.cost.timing:on_each",  # the same, over a stream of batches
    # Explanation
    "METHODS": "ce_detect.explain.methods:METHODS",  # every method by name
    "Method": "ce_detect.explain.methods.base:Method",  # what all of them are
    "class_distortion": "ce_detect.explain.games:class_distortion",  # how a map is judged
    "deletion": "ce_detect.explain.games:deletion",  # the same
    "insertion": "ce_detect.explain.games:insertion",  # the same
    "overlap": "ce_detect.explain.games:overlap",  # the same, where the truth is marked
    "pointing": "ce_detect.explain.games:pointing",  # the same
    "sanity_check": "ce_detect.explain.sanity:sanity_check",  # maps of random layers
    "weakened": "ce_detect.explain.stability:weakened",  # an attack that keeps the label
    "ATTACK_STEPS": "ce_detect.explain.stability:STEPS",  # how many steps it makes
    "rank_correlation": "ce_detect.explain.sanity:rank_correlation",  # how alike two maps are
    # Counterfactuals
    "counterfactual": "ce_detect.counterfactual",  # the pair, and its training
    "kplusone_networks": "ce_detect.counterfactual.networks",  # one architecture for every kind of training
    "fakeness": "ce_detect.counterfactual.networks:fakeness",  # of logits
    "Fakeness": "ce_detect.features.fakeness:Fakeness",  # the statistic of a signature
    "MakeCounterfactual": "ce_detect.interventions:MakeCounterfactual",  # the intervention
    # Adaptive attacks
    "RedTeam": "ce_detect.redteam.red_team:RedTeam",  # its report
    "redteam": "ce_detect.redteam.red_team:redteam",  # peers and ensembles are attacked as gates are
    "Plan": "ce_detect.redteam.settings:Plan",  # what the attacker may do
    "Case": "ce_detect.redteam.radii:Case",  # radii of the classifier alone, found once for all rows
    "radii": "ce_detect.redteam.radii:radii",  # the search for them
    "square": "ce_detect.redteam.square",  # a search that needs no gradient, on classifiers of ours
    "Alone": "ce_detect.redteam.target:Alone",  # the classifier as a target
    "Gated": "ce_detect.redteam.target:Gated",  # a gate as a target
    "Joint": "ce_detect.redteam.target:Joint",  # what a target answers, for targets of our own
    "Target": "ce_detect.redteam.target:Target",  # what all of them are
    "Expectation": "ce_detect.redteam.expectation:Expectation",  # an attacker who averages over secret seeds
    "WHITE_BOX": "ce_detect.redteam.radii:WHITE_BOX",  # every white-box attack
    "Trial": "ce_detect.redteam.gradient_masking:Trial",  # who attacks what
    "under_attack": "ce_detect.redteam.under_attack:under_attack",  # AUROC when scores are lowered
    "treated_attack": "ce_detect.redteam.under_attack:treated",  # the same, where images are saved before
    "redrawn": "ce_detect.redteam.interval:redrawn",  # intervals by image
    "RobustCopy": "ce_detect.interventions:RobustCopy",  # the auxiliary of a hardened gate
    # Streams
    "Reference": "ce_detect.monitor.reference:Reference",  # what a calibration says of clean inputs
    "hits_of": "ce_detect.monitor.reference:hits_of",  # hits with levels of a program's own
    "Bets": "ce_detect.monitor.evidence:Bets",  # the monitor with other rates, to see what its bounds are for
    "Expected": "ce_detect.monitor.monitor:Expected",  # what it bets against beside the bounds
    "Stream": "ce_detect.monitor.streams:Stream",  # its evidence alone, without labels and clients
    "Drift": "ce_detect.monitor.drift:Drift",  # the same of drift
    "QueryDetector": "ce_detect.monitor.queries.detector:QueryDetector",  # near-copies alone, for who adapts to them
    "QuerySettings": "ce_detect.monitor.queries.detector:QuerySettings",  # where near-copies are normal
    # Graphs and files
    "bare_graph": "ce_detect.export.fused_graph:bare",  # architectures are exported without a gate
    "fused": "ce_detect.export.fused_graph:fused",  # the graph in memory, to time and to profile
    "parity": "ce_detect.export.parity",  # differences from PyTorch on more inputs than `verify` takes
    "scan": "ce_detect.scan.scan",  # a scan in this process, whose memory is measured
    "sources": "ce_detect.scan.sources",  # what it reads
    "atomic": "ce_detect.storage.atomic",  # weights and scores are written whole or not at all
    "cache_folder": "ce_detect.storage.folders:cache_folder",  # where gates and scores are left for other programs
}
"""Where each name is, as ``module:name`` or a whole module, and why a public name would not do."""


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = pkgutil.resolve_name(HOMES[name])
    return value
