"""The machines of a running Ray cluster: listing them, asking each, and checking a shared root."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.launch.session import ray_session
from study.state.databases import network_kind
from trainables.errors import UserError
from trainables.storage.paths import AnyPath

ANSWER_SECONDS = 60.0
"""Time limit for a machine to run a small function; starting its first worker takes about 5 s."""


@dataclass(frozen=True)
class Node:
    """Machine of a Ray cluster.

    Attributes:
        id: Ray's node id.
        host: Address that the machine's own Ray reports.
        cpus: CPUs for trials; 0 if it takes no trials.
        gpus: GPUs for trials.
        accelerator: Ray's name for its GPUs; None without GPUs.
        here: Whether this process runs on it.
    """

    id: str
    host: str
    cpus: int
    gpus: int
    accelerator: str | None
    here: bool

    @property
    def takes_trials(self) -> bool:
        """Whether a trial can be placed on it: each needs a CPU."""
        return self.cpus > 0


def alive() -> list[Node]:
    """List the living machines of the connected Ray cluster, this one first, then by address."""
    import ray

    own_id = ray.get_runtime_context().get_node_id()
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [_node(entry, own_id) for entry in entries if entry["Alive"]]
    return sorted(nodes, key=lambda node: (not node.here, node.host))


def _node(entry: dict[str, Any], own_id: str) -> Node:
    resources = entry["Resources"]
    kinds = [key for key in resources if key.startswith("accelerator_type:")]
    return Node(
        id=entry["NodeID"],
        host=entry["NodeManagerAddress"],
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        accelerator=kinds[0].partition(":")[2] if kinds else None,
        here=entry["NodeID"] == own_id,
    )


def on_each(
    nodes: list[Node],
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """Run `function` on every machine at the same time, without reserving a CPU.

    Args:
        nodes: Machines to run it on.
        function: Function of a module that is installed there too.
        arguments: Plain values.
        seconds: Time limit for all machines together.

    Returns:
        Its value by node id, or the exception if it failed or was too slow.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    started = {
        node.id: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in nodes
    }
    ray.wait(list(started.values()), num_returns=len(started), timeout=seconds)
    replies: dict[str, Any] = {}
    for name, reference in started.items():
        try:
            replies[name] = ray.get(reference, timeout=0.1)
        except Exception as error:  # of the function, wrapped by Ray, or Ray's own
            replies[name] = error
    return replies


def read_proof(path: str) -> str:
    """Return the content of a file as this machine sees it; empty if it cannot be read."""
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


@contextmanager
def shared_root(root: AnyPath, nodes: list[Node]) -> Iterator[str]:
    """Check that all machines see the same root, unless it is an object store or trials stay here.

    All other machines must read a secret from a file in the root. The file stays while the block
    runs, because machines that join later must see it too (`refuse_another_root`).

    Args:
        root: Root of the trial folders.
        nodes: All machines, this one included.

    Yields:
        Path of the file, or an empty string if there is nothing to check.

    Raises:
        UserError: A machine has another folder under that path or does not answer, or the root is
            local while all machines for trials have yet to start.
    """
    if not isinstance(root, Path) or all(node.here for node in nodes if node.takes_trials):
        if isinstance(root, Path) and not any(node.takes_trials for node in nodes):
            _refuse_unseen(root)
        yield ""
        return
    root.mkdir(parents=True, exist_ok=True)
    secret = uuid.uuid4().hex
    proof = root / f".launch-{secret[:8]}"
    proof.write_text(secret, encoding="ascii")
    try:
        others = [node for node in nodes if not node.here]
        replies = on_each(others, read_proof, str(proof))
        for node in others:
            if isinstance(replies[node.id], Exception):
                raise UserError(
                    f"{node.host} does not answer ({_brief(replies[node.id])}); "
                    "python -m study doctor --address ADDRESS says more"
                )
        blind = [node.host for node in others if replies[node.id] != secret]
        if blind:
            raise UserError(
                f"--root {root}: not the same folder on {', '.join(blind)} as here, and trials "
                f"there would be lost. With {len(nodes)} machines the root must be an object store "
                "(--root s3://bucket/prefix) or a folder that all of them mount (NFS)"
            )
        yield str(proof)
    finally:
        with suppress(OSError):
            proof.unlink()


def refuse_another_root(proof: str) -> None:
    """Refuse this machine if it joined later and does not see the root.

    Raises:
        UserError: The file that `shared_root` wrote is not there.
    """
    if proof and not Path(proof).exists():
        raise UserError(f"{Path(proof).parent} is not the folder of --root on this machine")


def _refuse_unseen(root: Path) -> None:
    """Refuse a local root while no machine takes trials: those that join later would not see it."""
    if not network_kind(root):
        raise UserError(
            f"--root {root}: a folder of this machine, which takes no trials, while the machines "
            "that will take them have not started; use an object store (--root s3://bucket/prefix) "
            "or a folder that all of them mount (NFS)"
        )


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@dataclass(frozen=True)
class Round:
    """Answers of the machines of a cluster.

    Attributes:
        nodes: All machines, this one first.
        answers: Value or exception by node id.
        skews: Lower bound of the clock difference to this machine, in seconds, by node id.
    """

    nodes: Sequence[Node]
    answers: Mapping[str, Any]
    skews: Mapping[str, float]


def ask(address: str, state: Path, function: Callable[..., Any], *arguments: Any) -> Round:
    """Run `function` on every machine of a cluster, and compare their clocks with this one's.

    Args:
        address: Address of the cluster.
        state: Local folder for temporary files.
        function: Function of a module that is installed there too.
        arguments: Plain values.

    Raises:
        UserError: No cluster answers there, or it refuses the token.
    """
    with ray_session(state, 1, address):
        nodes = alive()
        answers = on_each(nodes, function, *arguments)
        skews = {}
        for node in nodes:  # one by one, so that no answer waits for that of another machine
            sent = time.time()
            answer = on_each([node], now)[node.id]
            if isinstance(answer, float):
                skews[node.id] = skew(sent, answer, time.time())
    return Round(nodes, answers, skews)


def now() -> float:
    """Return `time.time()`, which Ray cannot run itself as it is a C function."""
    return time.time()


def skew(sent: float, said: float, answered: float) -> float:
    """Return a lower bound of the difference between two clocks, in seconds.

    Args:
        sent: When the question left, by this machine's clock.
        said: The answer: the time by the other clock.
        answered: When the answer arrived, by this machine's clock.
    """
    return max(sent - said, said - answered, 0.0)
