"""The programs behind every figure of the docs: a room a question, run from the checkout's root.

    python -m benchmarks.detection.detection --help

| room | question |
|---|---|
| `detection/` | How many attacked images are found, at what budget, and is the promise about clean ones kept? |
| `claim/` | Do causal effects of attacked inputs differ from clean, natural and shuffled ones? |
| `natural/` | How many clean images are flagged when a camera, a codec or a lamp changes them a little? |
| `cost/` | What does a gate cost in time and memory, what does it take to make one, and what do fewer bits cost? |
| `serving/` | What does it cost in ONNX Runtime, and does the server stand load and faults? |
| `pretrained/` | What does a user find who puts a gate in front of a classifier that others trained? |
| `gpu/` | Does a gate judge on a GPU as it does on a CPU, and what does it cost there? |
| `zoo/` | Which public architectures can be taken, and how well? |
| `adaptive/` | What does an attacker pay who knows the detector? |
| `peers/` | How do methods from the literature do on the same images? |
| `explain/` | Which method of explanation says best what counts for a decision, and at what time? |
| `campaigns/` | How soon does the monitor see a campaign, and how often does it cry wolf? |
| `queries/` | Are query attacks seen by what they send, and who else is taken for an attacker? |
| `equivalence/` | Does a change of the code leave verdicts as they were? |
| `subjects/` | What is measured: classifiers, images, attacks, and the settings that all programs share. |

A room holds its programs, their ``results/`` and, where it has a table in the docs, ``table.py``; `tables` makes all of
them. Beside the rooms stand `face` (what is imported of `ce_detect` beyond its public names), `machine` (what stands
beside a figure) and `program` (what every program does alike). ``CE_DETECT_DATA`` names the folder of the data.
"""
