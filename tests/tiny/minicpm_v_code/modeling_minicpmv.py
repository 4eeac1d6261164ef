"""Stands in for the model class of MiniCPM-V-2.6: all tiles of a prompt padded and encoded at once.

Never run by encodeonce, which is why it may import what is not there.
"""

import not_installed_anywhere  # noqa: F401
