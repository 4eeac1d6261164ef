"""The demo model, as the KV tests load it."""

from tests.models.kv.conftest import decoder, demo

__all__ = ["decoder", "demo"]
