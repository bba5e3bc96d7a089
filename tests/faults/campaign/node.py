"""One node of a campaign's cluster: ``python -m tests.faults.campaign.node ADDRESS FOLDER [head]``.

Starts what ``ray start --block`` starts where Ray is installed without its dashboard: a raylet ends when its agents do
not start within 15 seconds, and the dashboard's need longer on a busy machine. Stays until it is killed.
"""

import sys
import time

from ray._private import utils
from ray._private.node import Node
from ray._private.parameter import RayParams


def main() -> None:
    address, folder, *rest = sys.argv[1:]
    host, _, port = address.rpartition(":")
    shared = {
        "num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False,
        "include_log_monitor": bool(rest), "no_monitor": True, "node_ip_address": host,
    }  # fmt: skip
    if rest:
        params = RayParams(**shared, gcs_server_port=int(port), temp_dir=folder)
    else:
        params = RayParams(**shared, gcs_address=address)
    params.update_if_absent(min_worker_port=0, max_worker_port=0)
    utils.get_dashboard_dependency_error = lambda: ImportError("left out")
    node = Node(params, head=bool(rest), shutdown_at_exit=False, spawn_reaper=False)
    print("ready", node.gcs_address, flush=True)
    while True:
        time.sleep(3600)


main()
