"""What numbers and names in a manifest may be: the types of its fields."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

LARGEST_SIDE = 2**16
"""Pixels of height or width, at most."""

Count = Annotated[int, Meta(ge=0, lt=2**53)]
"""How many there are."""

Size = Annotated[int, Meta(ge=1, le=2**20)]
"""How many there are of what takes memory."""

Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE)]
"""Channels, height or width of an image."""

Seed = Annotated[int, Meta(ge=0)]
"""Seed of random numbers."""

Share = Annotated[float, Meta(ge=0, le=1)]
"""Part of a whole."""

Chance = Annotated[float, Meta(gt=0, lt=1)]
"""Probability of what may happen or not."""

Cost = Annotated[float, Meta(ge=0, le=1e9)]
"""Relative to the classifier alone."""

Name = Annotated[str, Meta(max_length=2**12)]
"""Of a site, an attack, a package."""

Spec = Annotated[dict[Name, Any], Meta(max_length=64)]
"""Kind and settings of what can be made again; whoever makes it checks them."""

Sites = Annotated[tuple[Name, ...], Meta(max_length=2**12)]
"""Places where one may intervene."""

Interventions = Annotated[list[Spec], Meta(max_length=256)]
"""Each takes part of a forward pass: a search finds a dozen."""

Names = Annotated[list[Name], Meta(max_length=2**12)]
"""Names of several things."""

Specs = Annotated[list[Spec], Meta(max_length=2**12)]
"""Several of what can be made again."""

Logits = Annotated[list[float], Meta(min_length=1, max_length=2**20)]
"""What a classifier says about one input."""

Costs = Annotated[dict[Name, Cost], Meta(max_length=64)]
"""By size of the batch."""

Shares = Annotated[dict[Name, Share], Meta(max_length=2**12)]
"""By name."""

Counts = Annotated[dict[Name, Count], Meta(max_length=64)]
"""By name."""
