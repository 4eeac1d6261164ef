"""Whether a Ray cluster is still there.

Ray's own library ends the process, from C++, when the cluster's head has not answered for a minute:
no Python code runs then. So the driver looks itself, and leaves before that.
"""

import logging
import os
import socket
import time
from datetime import datetime, timedelta

import ray

from encodeonce.jobs.execution.executor import ClusterLost

logger = logging.getLogger(__name__)

ASK_EVERY_S = 2.0
_ANSWER_S = 2.0
"""How long the head may take to accept a connection."""
_RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""The variable by which Ray's own patience, 60 seconds, can be set."""


class Head:
    """The process of a cluster that knows the others (Ray's GCS), as the driver sees it."""

    def __init__(self, *, may_return: bool) -> None:
        """Watch the head of the connected cluster.

        Args:
            may_return: whether somebody may start it again, as on a cluster that was joined.
        """
        self._address: str = ray.get_runtime_context().gcs_address
        rays_patience_s = float(os.environ.get(_RAYS_PATIENCE, "60"))
        self._patience_s = 0.7 * rays_patience_s if may_return else 0.0
        self._asked_s = time.monotonic()
        self._silent_since_s: float | None = None

    def require(self) -> None:
        """Check that the head answers; asks it now and then, and waits for it for a while.

        Raises:
            ClusterLost: it has not answered for too long.
        """
        now_s = time.monotonic()
        if now_s - self._asked_s < ASK_EVERY_S:
            return
        self._asked_s = now_s
        if self._answers():
            if self._silent_since_s is not None:
                logger.warning("the Ray cluster's head answers again")
            self._silent_since_s = None
            return
        is_new = self._silent_since_s is None
        since_s = now_s if self._silent_since_s is None else self._silent_since_s
        self._silent_since_s = since_s
        if now_s - since_s >= self._patience_s:
            raise ClusterLost(
                f"the Ray cluster was lost: its head at {self._address} does not answer any more. "
                "It was stopped or killed, perhaps for want of memory, or the network is cut; its "
                "log is gcs_server.out in Ray's session folder. Repeat the command to go on"
            )
        if is_new:
            until = datetime.now() + timedelta(seconds=self._patience_s)
            logger.warning(
                "the Ray cluster's head at %s does not answer; it is waited for until %s",
                *(self._address, f"{until:%H:%M:%S}"),
            )

    def is_there(self) -> bool:
        """Return whether the head answers now. Where it does not, asking Ray may never return."""
        return self._answers()

    def _answers(self) -> bool:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        except OSError:
            return False
        return True


def require_a_node() -> None:
    """Check that the cluster has a node left; new workers would be waited for without end.

    Raises:
        ClusterLost: it has none.
    """
    if not any(node["Alive"] for node in ray.nodes()):  # type: ignore[no-untyped-call]
        raise ClusterLost(
            "the Ray cluster was lost: none of its nodes is alive. Their Ray processes were "
            "stopped or killed, perhaps for want of memory. Repeat the command to go on"
        )
