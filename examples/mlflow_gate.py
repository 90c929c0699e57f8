"""Log a gate to MLflow, load it as a pyfunc model and judge images: ``python examples/mlflow_gate.py [folder]``.

Needs ``pip install 'ce-detect[calibrate]' mlflow``. Nothing is pickled: the model is logged *as code* (this file), the
detector and the classifier's weights as safetensors. A ``PythonModel`` passed as an object would be pickled with
cloudpickle, and loading a pickle runs whatever is in it. Loading code runs code too: load from stores that you trust.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.torch import save_file

from ce_detect import DetectedModel, load_data, load_model

FACTORY = "ce_detect.classifiers.loading:fashion_cnn"
COLUMNS = ["label", "score", "p_value", "is_adversarial"]


class Gate(mlflow.pyfunc.PythonModel):
    """A classifier with its detector in front."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Build the classifier, give it the logged weights and put the detector in front of it."""
        model = load_model(context.model_config["factory"], context.artifacts["weights"])
        self.guard = DetectedModel.load(context.artifacts["guard"], model)

    def predict(self, model_input, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Judge images ``(batch, channels, height, width)``, one row each; a hint on them would ask for a list."""
        result = self.guard(model_input)
        return pd.DataFrame({name: getattr(result, name) for name in COLUMNS})


def log(guard: DetectedModel, example: NDArray[np.float32], store: Path) -> str:
    """Log a calibrated gate to a local store and return where it is; the model's signature comes from the example."""
    mlflow.set_tracking_uri(f"sqlite:///{store.resolve() / 'mlflow.db'}")
    experiment = mlflow.create_experiment("gates", artifact_location=(store.resolve() / "artifacts").as_uri())
    with TemporaryDirectory() as folder, mlflow.start_run(experiment_id=experiment):
        files = {name: str(Path(folder) / f"{name}.safetensors") for name in ("guard", "weights")}
        guard.save(files["guard"])
        save_file(guard.model.state_dict(), files["weights"])
        mlflow.log_metrics({"fpr": guard.manifest["fpr"], "cost": guard.manifest["figures"]["cost"]})
        logged = mlflow.pyfunc.log_model(
            name="gate",
            python_model=__file__,
            artifacts=files,
            model_config={"factory": FACTORY},
            pip_requirements=["ce-detect[calibrate]"],
            input_example=example,
        )
    return str(logged.model_uri)


def main(store: Path) -> None:
    """Calibrate on demo images without attacks, log, load, judge."""
    images = load_data("demo", limit=620)
    guard = DetectedModel(load_model(FACTORY)).calibrate(images.x[:600], recipe="clean-only", fpr=0.05, budget=3.0)
    gate = mlflow.pyfunc.load_model(log(guard, images.x[:1], store))
    print(gate.predict(images.x[600:]).to_csv(index=False), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
else:
    mlflow.models.set_model(Gate())
