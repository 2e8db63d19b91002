"""redis-py's cluster client against a server on $PORT whose cores present themselves as nodes.

    PORT=6379 python ci/conformance/clients/redis_py_cluster.py
"""

import os
import sys

import redis
from redis.cluster import RedisCluster

PORT = int(os.environ["PORT"])
NODES = int(os.environ.get("NODES", "1"))
KEYS = 500


def main():
    for protocol in (2, 3):
        cluster = RedisCluster(host="127.0.0.1", port=PORT, protocol=protocol)
        nodes = cluster.get_primaries()
        assert len(nodes) == NODES, f"{len(nodes)} nodes, wanted {NODES}: {nodes}"
        cluster.flushall(target_nodes=RedisCluster.PRIMARIES)
        for number in range(KEYS):
            assert cluster.set(f"key:{number}", number)
        for number in range(KEYS):
            assert cluster.get(f"key:{number}") == b"%d" % number
        assert cluster.dbsize(target_nodes=RedisCluster.PRIMARIES) >= KEYS // max(1, NODES)
        # Every node holds some and says so itself; asked for a key of another, it names the owner.
        moved = 0
        for node in nodes:
            plain = redis.Redis(host=node.host, port=node.port)
            for number in range(20):
                try:
                    assert plain.get(f"key:{number}") == b"%d" % number
                except redis.ResponseError as cause:
                    assert str(cause).startswith("MOVED ") or type(cause).__name__ == "MovedError", cause
                    moved += 1
            plain.close()
        if NODES > 1:
            assert moved == 20 * (NODES - 1), f"{moved} of 20 keys were sent on by each of {NODES} nodes"
        assert cluster.mset_nonatomic({f"m{number}": number for number in range(100)})
        assert cluster.mget_nonatomic([f"m{number}" for number in range(100)]) == [b"%d" % number for number in range(100)]
        assert cluster.mset({"{same}a": 1, "{same}b": 2}) and cluster.mget("{same}a", "{same}b") == [b"1", b"2"]
        pipe = cluster.pipeline()
        for number in range(200):
            pipe.set(f"p{number}", number)
        assert all(pipe.execute())
        assert {key for key in cluster.scan_iter("p*", target_nodes=RedisCluster.PRIMARIES)} == {b"p%d" % number for number in range(200)}
        assert cluster.keyslot("foo") == 12182 == cluster.cluster_keyslot("foo")
        assert cluster.cluster_info()["cluster_state"] == "ok" and cluster.cluster_info()["cluster_slots_assigned"] == "16384"
        described = cluster.cluster_nodes()
        assert len(described) == NODES and all(node["connected"] for node in described.values()), described
        covered = 0
        for (start, end) in cluster.cluster_slots():
            covered += int(end) - int(start) + 1
        assert covered == 16384, covered
        cluster.close()
    print(f"redis-py {redis.__version__} RedisCluster: {NODES} nodes, every check holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
