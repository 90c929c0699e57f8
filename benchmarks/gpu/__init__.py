"""Does a gate judge on a GPU as it does on a CPU, and what does it cost there?

    python -m benchmarks.gpu.gpu                          # on a machine with CUDA and TensorRT, in eight minutes
    python -m benchmarks.gpu.gpu --without tensorrt       # with CUDA alone
    python -m benchmarks.gpu.gpu --device cpu --without tensorrt    # the same program where there is neither

`graphs` opens graphs where they are told to run, `parts` is what is measured. Results: ``results/``, of CUDA alone.
"""
