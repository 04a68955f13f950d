"""The processes of one trial and what they tell one another, over torch.distributed alone.

Process 0 leads, and the others follow its words; they may run on one machine or on several. What
they exchange are tensors, never objects: torch would unpickle those, and the ports that processes
talk over ask for no token.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented

LOOPBACK = "127.0.0.1"

PATIENCE = 1800.0
"""Seconds that a process waits for the others within a step before it takes them for lost."""

FOREVER = timedelta(days=365)
"""How long a process waits for the next word: as long as process 0 lives, which may evaluate."""

GET_ADDRESS = 0x8915
"""What asks Linux for the address of an interface."""

PIECE = 1 << 26
"""Bytes shared at once."""


class ProcessLostError(Exception):
    """Another process of the trial ended, or did not answer in time."""


class Group:
    """The processes of one trial, as one of them sees them.

    Attributes:
        store: What processes say, held by process 0.
        address: Of the store, `host:port`.
        rank: Process rank of this one, from 0 on.
        size: How many there are.
        device: Where this process computes, and what its group sends from.
        patience: Seconds that it waits for the others within a step.
    """

    def __init__(
        self,
        store: TCPStore,
        rank: int,
        size: int,
        device: torch.device,
        patience: float | None = None,
    ) -> None:
        """Take the parts; `lead` and `follow` make them."""
        self.store, self.rank, self.size, self.device = store, rank, size, device
        self.address = f"{store.host}:{store.port}"
        self.patience = patience or PATIENCE
        self._words = 0
        self._before: dict[str, str | None] = {}

    @classmethod
    def lead(
        cls, size: int, device: torch.device, *, host: str = LOOPBACK, patience: float | None = None
    ) -> Group:
        """Be process 0, listening on `host` alone: torch would listen on every interface."""
        server = socket.create_server((host, 0), backlog=size)
        port, fd = server.getsockname()[1], server.detach()
        store = TCPStore(host, port, size, True, wait_for_workers=False, master_listen_fd=fd)
        return cls(store, 0, size, device, patience)

    @classmethod
    def follow(
        cls,
        address: str,
        rank: int,
        size: int,
        device: torch.device,
        patience: float | None = None,
    ) -> Group:
        """Be another process of the group that process 0 leads at `address`."""
        host, _, port = address.rpartition(":")
        store = TCPStore(host, int(port), size, False, wait_for_workers=False)
        return cls(store, rank, size, device, patience)

    def form(self) -> None:
        """Connect all processes; each of them calls it, within `patience` seconds.

        Raises:
            ProcessLostError: One did not.
        """
        self._bind()
        with _lost_processes():
            dist.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo",
                store=self.store,
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.patience),
            )

    def leave(self, *, abort: bool = False) -> None:
        """Disconnect; `abort` where other processes may be gone, for whom NCCL would wait."""
        if dist.is_initialized():
            if abort and self.device.type == "cuda":
                # torch has no public call that lets NCCL go and forgets the group too
                dist.distributed_c10d._abort_process_group()
            else:
                dist.destroy_process_group()
        before, self._before = self._before, {}
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})

    def announce(self, word: str) -> None:
        """Say what all processes do next, where this is process 0; the others have heard it."""
        if not self.rank:
            self.store.set(f"word/{self._words}", word)
            # all have read what was said before the step that they took since
            self.store.delete_key(f"word/{self._words - 2}")
            self._words += 1

    def words(self) -> Iterator[str]:
        """What process 0 says, one word after the other, until it says `end`.

        Raises:
            ProcessLostError: Process 0 is gone.
        """
        while True:
            key = f"word/{self._words}"
            with _lost_processes():
                self.store.wait([key], FOREVER)
                word = self.store.get(key).decode()
            self._words += 1
            if word == "end":
                return
            yield word

    def note(self, key: str, value: str) -> None:
        """Leave a note of this process where process 0 can read it."""
        with _lost_processes():
            self.store.set(f"{key}/{self.rank}", value)

    def noted(self, key: str, rank: int) -> str | None:
        """The note that the process of this rank left, if it did."""
        name = f"{key}/{rank}"
        return self.store.get(name).decode() if self.store.check([name]) else None

    def gather(self, own: Tensor | None, n: int) -> Tensor:
        """All of n rows that were dealt to the processes in turn, without a gradient.

        Args:
            own: (k, ...) the rows of this process: every `size`-th, from the one numbered `rank`
                on; None where it has none.
            n: Rows of all processes together.

        Returns:
            (n, ...) float32, in their order.
        """
        shape = self._row_shape(own) if n < self.size else own.shape[1:]  # type: ignore[union-attr]
        padded = torch.zeros((-(-n // self.size), *shape), device=self.device)
        if own is not None:
            padded[: len(own)] = own
        return torch.stack(self._all_gather(padded), 1).flatten(0, 1)[:n]

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], alike: Sequence[nn.Parameter] = ()
    ) -> None:
        """Give every parameter the sum of all processes' gradients, in one all-reduce.

        Parameters of which no process has a gradient keep none, so that the optimizer passes over
        them as it does for one process.

        Args:
            parameters: In the same order in every process.
            alike: Those of which each has the whole batch's gradient; that of process 0 counts.
        """
        trained = [p for p in (*parameters, *alike) if p.requires_grad]
        silent = {id(p) for p in alike} if self.rank else set()
        gradients = [None if id(p) in silent else p.grad for p in trained]
        held = torch.tensor([float(grad is not None) for grad in gradients], device=self.device)
        pairs = zip(trained, gradients, strict=True)
        parts = [(torch.zeros_like(p) if grad is None else grad).flatten() for p, grad in pairs]
        whole = torch.cat([*parts, held])
        with _lost_processes():
            dist.all_reduce(whole)
        *sums, counts = torch.split(whole, [*(p.numel() for p in trained), len(trained)])
        for parameter, total, count in zip(trained, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter) if count else None

    def share(self, data: bytes) -> bytes:
        """What process 0 gave, in every process; what others give is not looked at."""
        size = torch.tensor([len(data)], device=self.device)
        with _lost_processes():
            dist.broadcast(size, 0)
            whole = torch.empty(int(size), dtype=torch.uint8)
            if not self.rank:
                whole.numpy()[:] = np.frombuffer(data, dtype=np.uint8)
            for start in range(0, len(whole), PIECE):
                piece = whole[start : start + PIECE]
                sent = piece.to(self.device)
                dist.broadcast(sent, 0)
                piece.copy_(sent)
        return whole.numpy().tobytes()

    def unequal_processes(self, tensors: Iterable[Tensor]) -> list[int]:
        """Ranks of processes that hold other tensors than process 0, by their fingerprints."""
        own = torch.tensor([fingerprint(tensors)], dtype=torch.int64, device=self.device)
        values = torch.cat(self._all_gather(own)).tolist()
        return [rank for rank, value in enumerate(values) if value != values[0]]

    def _all_gather(self, own: Tensor) -> list[Tensor]:
        """A tensor of each process, all of one shape."""
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _lost_processes():
            dist.all_gather(parts, own)
        return parts

    def _row_shape(self, own: Tensor | None) -> tuple[int, ...]:
        """Shape of one row, in processes without any too; it has two dimensions at most."""
        sizes = torch.zeros(2, dtype=torch.int64, device=self.device)
        if own is not None:
            sizes[: own.ndim - 1] = torch.tensor(own.shape[1:])
        largest = torch.stack(self._all_gather(sizes)).amax(0)
        return tuple(size for size in largest.tolist() if size)

    def _bind(self) -> None:
        """Keep a group to the network of its address, and let errors of NCCL be exceptions."""
        chosen = {"TORCH_NCCL_BLOCKING_WAIT": "1", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
        if name := _interface(self.address):
            chosen |= {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
        self._before = {name: os.environ.get(name) for name in chosen}
        os.environ.update(chosen)


def _interface(address: str) -> str | None:
    """The network interface from which this machine reaches `host:port`; None if not known."""
    host, _, port = address.rpartition(":")
    names = [name for _, name in socket.if_nameindex()]
    if host.startswith("127."):
        return next(name for name in names if name.startswith("lo"))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((host, int(port)))  # nothing is sent
        own = socket.inet_aton(asking.getsockname()[0])
        for name in names:
            with suppress(OSError):  # it has no address
                request = struct.pack("256s", name.encode())
                if fcntl.ioctl(asking.fileno(), GET_ADDRESS, request)[20:24] == own:
                    return name
    return None


@contextmanager
def _lost_processes() -> Iterator[None]:
    """What torch raises of a process that is gone or late, as what it is."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(str(error)) from error


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """A number that is equal for equal tensors, and hardly ever for others."""
    total = 0
    for tensor in tensors:
        flat = tensor.detach().flatten()
        bits = flat.view(torch.int32) if flat.dtype == torch.float32 else flat
        total = (total * 1_000_003 + int(bits.sum(dtype=torch.int64))) % (1 << 62)
    return total
