"""The machines of a running Ray: which there are, asking each, a root that all must see."""

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
"""How long a machine may take to run a small function; a first worker takes about five."""


@dataclass(frozen=True)
class Node:
    """A machine that Ray reaches.

    Attributes:
        id: Ray's name of it.
        host: Its address, as its own Ray says.
        cpus: For trials; 0 where it takes none.
        gpus: For trials.
        accelerator: What Ray calls its GPUs; None without.
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
        """Whether a trial can be placed on it: each needs a processor."""
        return self.cpus > 0


def alive() -> list[Node]:
    """The machines of the Ray that this process is connected to, its own first."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    there = [_node(entry, own) for entry in entries if entry["Alive"]]
    return sorted(there, key=lambda node: (not node.here, node.host))


def _node(entry: dict[str, Any], own: str) -> Node:
    resources = entry["Resources"]
    kinds = [key for key in resources if key.startswith("accelerator_type:")]
    return Node(
        id=entry["NodeID"],
        host=entry["NodeManagerAddress"],
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        accelerator=kinds[0].partition(":")[2] if kinds else None,
        here=entry["NodeID"] == own,
    )


def on_each(
    nodes: list[Node],
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """What `function` returns on every machine, by the machine's id; there, where it failed, why.

    Args:
        nodes: Where to run it; it takes none of their processors.
        function: Of a module that is installed there too.
        arguments: Plain values.
        seconds: How long all of them may take together.

    Returns:
        Values, or the exception in the place of one.
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
        except Exception as error:  # Ray wraps whatever the function raised in its own
            replies[name] = error
    return replies


def read_proof(path: str) -> str:
    """The content of a file as this machine sees it; empty where it is not there."""
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


@contextmanager
def shared_root(root: AnyPath, nodes: list[Node]) -> Iterator[str]:
    """Check that every machine that takes trials sees the same root; an object store is one.

    A file with a secret is written there, and every machine must read it. It stays for as long as
    the block runs, because machines that join later must see it too (`refuse_another_root`).

    Args:
        root: Of trial folders.
        nodes: All machines, this one included.

    Yields:
        The file, or an empty string where there is nothing to check.

    Raises:
        UserError: Trials would run on a machine that has another folder under that name.
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
                    f"{node.host} does not answer ({_said(replies[node.id])}); "
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
    """Refuse a machine that joined later and does not see the root (called there).

    Raises:
        UserError: It does not.
    """
    if proof and not Path(proof).exists():
        raise UserError(f"{Path(proof).parent} is not the folder of --root on this machine")


def _refuse_unseen(root: Path) -> None:
    """No machine takes trials yet: those that will come must find the root, and cannot be asked."""
    if not network_kind(root):
        raise UserError(
            f"--root {root}: a folder of this machine, which takes no trials, while the machines "
            "that will take them have not started; use an object store (--root s3://bucket/prefix) "
            "or a folder that all of them mount (NFS)"
        )


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@dataclass(frozen=True)
class Round:
    """What the machines of a cluster answered.

    Attributes:
        nodes: All that Ray reaches, this machine first.
        answers: By a machine's id: what it said, or the exception in its place.
        skews: By a machine's id: seconds by which its clock certainly differs from this one's.
    """

    nodes: Sequence[Node]
    answers: Mapping[str, Any]
    skews: Mapping[str, float]


def ask(address: str, state: Path, function: Callable[..., Any], *arguments: Any) -> Round:
    """Run `function` on every machine of a cluster, and ask each what time it is.

    Args:
        address: Of the cluster.
        state: A local folder for temporary files.
        function: Of a module that is installed there too.
        arguments: Plain values.

    Raises:
        UserError: No cluster answers there, or it does not take the token.
    """
    with ray_session(state, 1, address):
        nodes = alive()
        answers = on_each(nodes, function, *arguments)
        skews = {}
        for node in nodes:  # one after the other: an answer must not wait for another's
            sent = time.time()
            said = on_each([node], now)[node.id]
            if isinstance(said, float):
                skews[node.id] = skew(sent, said, time.time())
    return Round(nodes, answers, skews)


def now() -> float:
    """What time this machine thinks it is; Ray runs no function of C, such as `time.time`."""
    return time.time()


def skew(sent: float, said: float, answered: float) -> float:
    """Seconds by which a clock certainly differs from that of who asked: an answer takes time."""
    return max(sent - said, said - answered, 0.0)
