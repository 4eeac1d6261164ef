"""The models that lmms-eval finds through the entry point ``lmms_eval.models``."""

from lmms_eval.models.registry_v2 import ModelManifest


def manifests() -> list[ModelManifest]:
    """Return the model ``encodeonce``, in lmms-eval's two forms."""
    adapter = "encodeonce.harness.bridges.lmms_eval.model"
    return [
        ModelManifest(
            "encodeonce",
            simple_class_path=f"{adapter}.SimpleModel",
            chat_class_path=f"{adapter}.ChatModel",
        )
    ]
