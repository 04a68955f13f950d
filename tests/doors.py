"""What a client without a token is told at a port of Ray: `python -m tests.doors HOST PORT …`.

Prints one JSON object: of every port, what answered with something else than a refusal. An empty
list is a port that refuses; `["nobody"]` one that nobody listens at any more.
"""

from __future__ import annotations

import http.client
import json
import sys

PATIENCE = 60.0
"""Seconds for an answer on a busy machine."""

PUBLIC = ("/grpc.health.v1.Health/Check", "/ray.rpc.ReporterService/HealthCheck")
"""Answered to everybody by Ray's design: that a server lives."""

METHODS = (
    *PUBLIC,
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVGet",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.LogService/ListLogs",
    "/ray.rpc.events.EventAggregatorService/AddEvents",
    "/ray.rpc.RayletDriver/Init",
)
"""At least one of every server that Ray starts."""


def answers(host: str, port: int) -> list[str]:
    """What a port gives to a client that shows no token; `["silent"]` where nothing was refused."""
    said = _http(host, port) or _grpc(host, port)
    if said == ["nobody"]:
        return said
    refused = [line for line in said if line.startswith("refused")]
    given = [line for line in said if line.startswith("gave")]
    return given or ([] if refused else ["silent", *said])


def _http(host: str, port: int) -> list[str]:
    """Of a web server, how it answers; nothing of any other."""
    found = []
    for path in ("/", "/metrics", "/api/jobs/", "/api/version"):
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except ConnectionRefusedError:
            return ["nobody"]
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()
        if status in (401, 403):
            found.append(f"refused {path}")
        elif status < 400:
            found.append(f"gave {path}")
    return found


def _grpc(host: str, port: int) -> list[str]:
    import grpc  # type: ignore[import-untyped]

    found = []
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in METHODS:
            try:
                channel.unary_unary(method)(b"", timeout=PATIENCE, wait_for_ready=True)
            except grpc.RpcError as error:
                code = error.code().name
                if code == "UNAUTHENTICATED":
                    found.append(f"refused {method}")
                elif code != "UNIMPLEMENTED":
                    found.append(f"{code} {method}")
            else:
                found.append(f"{'public' if method in PUBLIC else 'gave'} {method}")
    return found


if __name__ == "__main__":
    print(json.dumps({port: answers(sys.argv[1], int(port)) for port in sys.argv[2:]}))
