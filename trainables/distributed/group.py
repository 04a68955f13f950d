"""Communication between the processes of one trial: torch.distributed over NCCL or gloo.

Process 0 leads and the others follow its commands, on one machine or several. Collectives exchange
tensors, never objects: torch would unpickle objects, and the ports of the group need no token.
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
"""Seconds that a process waits for the others within a step before it considers them lost."""

FOREVER = timedelta(days=365)
"""Wait for the next command, in effect while process 0 lives: it may be evaluating."""

GET_ADDRESS = 0x8915
"""SIOCGIFADDR, the Linux ioctl that returns the IPv4 address of a network interface."""

FINGERPRINT_BLOCK = 1 << 20
"""Values of a tensor that a fingerprint reads at a time, which bounds its memory."""

PIECE = 1 << 26
"""Bytes per broadcast in `Group.share`."""


class ProcessLostError(Exception):
    """Another process of the trial ended or did not answer in time."""


class Group:
    """Process group of one trial, as seen by one of its processes.

    Attributes:
        store: Key-value store for commands and notes, served by process 0.
        address: Address of the store, `host:port`.
        rank: Process rank of this process, from 0.
        size: Number of processes.
        device: Device on which this process computes and holds the tensors it exchanges.
        patience: Seconds that this process waits for the others within a step.
    """

    def __init__(
        self,
        store: TCPStore,
        rank: int,
        size: int,
        device: torch.device,
        patience: float | None = None,
    ) -> None:
        """Store the parts; call `lead` or `follow` instead."""
        self.store, self.rank, self.size, self.device = store, rank, size, device
        self.address = f"{store.host}:{store.port}"
        self.patience = patience or PATIENCE
        self._words = 0
        self._before: dict[str, str | None] = {}

    @classmethod
    def lead(
        cls, size: int, device: torch.device, *, host: str = LOOPBACK, patience: float | None = None
    ) -> Group:
        """Create the group as process 0, listening on `host` only, not on every interface."""
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
        """Join the group whose process 0 listens at `address`, as process `rank`."""
        host, _, port = address.rpartition(":")
        store = TCPStore(host, int(port), size, False, wait_for_workers=False)
        return cls(store, rank, size, device, patience)

    def form(self) -> None:
        """Connect all processes; each must call this within `patience` seconds.

        Raises:
            ProcessLostError: A process did not connect in time.
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
        """Disconnect; `abort` if other processes may be gone, as NCCL would wait for them."""
        if dist.is_initialized():
            if abort and self.device.type == "cuda":
                # torch has no public call that aborts NCCL and also removes the group
                dist.distributed_c10d._abort_process_group()
            else:
                dist.destroy_process_group()
        before, self._before = self._before, {}
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})

    def announce(self, word: str) -> None:
        """Send the next command to all processes, if this is process 0; else do nothing.

        The others call this from the step that the command started.
        """
        if not self.rank:
            self.store.set(f"word/{self._words}", word)
            # every process read the command before last: each step since needed all of them
            self.store.delete_key(f"word/{self._words - 2}")
            self._words += 1

    def words(self) -> Iterator[str]:
        """Yield the commands of process 0 until it sends `end`.

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
        """Store a note of this process, for process 0 to read.

        Raises:
            ProcessLostError: Process 0 is gone.
        """
        with _lost_processes():
            self.store.set(f"{key}/{self.rank}", value)

    def noted(self, key: str, rank: int) -> str | None:
        """Return the note of the process of this process rank; None if it left none."""
        name = f"{key}/{rank}"
        return self.store.get(name).decode() if self.store.check([name]) else None

    def gather(self, own: Tensor | None, n: int) -> Tensor:
        """All-gather n rows that are distributed round-robin over the processes, without gradient.

        Args:
            own: (k, ...) rows of this process, those with index `rank`, `rank + size`, ...; None if
                it has no row, which needs n < `size`.
            n: Number of rows of all processes together.

        Returns:
            (n, ...) float32, in the original order.
        """
        shape = self._row_shape(own) if n < self.size else own.shape[1:]  # type: ignore[union-attr]
        padded = torch.zeros((-(-n // self.size), *shape), device=self.device)
        if own is not None:
            padded[: len(own)] = own
        return torch.stack(self._all_gather(padded), 1).flatten(0, 1)[:n]

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], alike: Sequence[nn.Parameter] = ()
    ) -> None:
        """Replace the gradients by their sums over all processes, in one all-reduce.

        A parameter without gradient in every process keeps None, so that the optimizer skips it as
        it does in a trial of one process.

        Args:
            parameters: Parameters in the same order in every process.
            alike: Parameters whose gradient each process has for the whole batch; only that of
                process 0 counts.
        """
        trained = [p for p in (*parameters, *alike) if p.requires_grad]
        ignored = {id(p) for p in alike} if self.rank else set()
        gradients = [None if id(p) in ignored else p.grad for p in trained]
        present = torch.tensor([float(grad is not None) for grad in gradients], device=self.device)
        pairs = zip(trained, gradients, strict=True)
        parts = [(torch.zeros_like(p) if grad is None else grad).flatten() for p, grad in pairs]
        buffer = torch.cat([*parts, present])
        with _lost_processes():
            dist.all_reduce(buffer)
        *sums, counts = torch.split(buffer, [*(p.numel() for p in trained), len(trained)])
        for parameter, total, count in zip(trained, sums, counts.tolist(), strict=True):
            parameter.grad = total.view_as(parameter) if count else None

    def share(self, data: bytes) -> bytes:
        """Broadcast and return the bytes of process 0; those of other processes are ignored."""
        size = torch.tensor([len(data)], device=self.device)
        with _lost_processes():
            dist.broadcast(size, 0)
            buffer = torch.empty(int(size), dtype=torch.uint8)
            if not self.rank:
                buffer.numpy()[:] = np.frombuffer(data, dtype=np.uint8)
            for start in range(0, len(buffer), PIECE):
                piece = buffer[start : start + PIECE]
                on_device = piece.to(self.device)
                dist.broadcast(on_device, 0)
                piece.copy_(on_device)
        return buffer.numpy().tobytes()

    def unequal_processes(self, tensors: Iterable[Tensor]) -> list[int]:
        """Return the process ranks whose tensors have another `fingerprint` than process 0's."""
        local = torch.tensor([fingerprint(tensors)], dtype=torch.int64, device=self.device)
        values = torch.cat(self._all_gather(local)).tolist()
        return [rank for rank, value in enumerate(values) if value != values[0]]

    def _all_gather(self, local: Tensor) -> list[Tensor]:
        """Return the tensor of each process, by process rank; all must have one shape."""
        parts = [torch.empty_like(local) for _ in range(self.size)]
        with _lost_processes():
            dist.all_gather(parts, local)
        return parts

    def _row_shape(self, rows: Tensor | None) -> tuple[int, ...]:
        """Return the shape of one row (at most two dimensions), in processes without rows too."""
        sizes = torch.zeros(2, dtype=torch.int64, device=self.device)
        if rows is not None:
            sizes[: rows.ndim - 1] = torch.tensor(rows.shape[1:])
        largest = torch.stack(self._all_gather(sizes)).amax(0)
        return tuple(size for size in largest.tolist() if size)

    def _bind(self) -> None:
        """Restrict the group to the network of its address, and have NCCL's errors raised."""
        variables = {"TORCH_NCCL_BLOCKING_WAIT": "1", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
        if name := _interface(self.address):
            variables |= {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
        self._before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)


def _interface(address: str) -> str | None:
    """Return the network interface that reaches `host:port` from here; None if unknown."""
    host, _, port = address.rpartition(":")
    names = [name for _, name in socket.if_nameindex()]
    if host.startswith("127."):
        return next(name for name in names if name.startswith("lo"))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))  # UDP: chooses a route, sends nothing
        local = socket.inet_aton(probe.getsockname()[0])
        for name in names:
            with suppress(OSError):  # an interface without address
                request = struct.pack("256s", name.encode())
                if fcntl.ioctl(probe.fileno(), GET_ADDRESS, request)[20:24] == local:
                    return name
    return None


@contextmanager
def _lost_processes() -> Iterator[None]:
    """Raise torch's RuntimeError as ProcessLostError: a process is gone or late."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(str(error)) from error


def fingerprint(tensors: Iterable[Tensor]) -> int:
    """Return a checksum of the bits of tensors and of the order of their values."""
    total = 0
    for tensor in tensors:
        flat = tensor.detach().flatten()
        bits = flat.view(torch.int32) if flat.dtype == torch.float32 else flat
        longest = min(len(flat), FINGERPRINT_BLOCK)
        places = torch.arange(1, 2 * longest, 2, dtype=torch.int32, device=flat.device)
        for block in torch.split(bits, FINGERPRINT_BLOCK):
            products = block * places[: len(block)]  # odd factors, so that no bit is lost
            total = (total * 1_000_003 + int(products.sum(dtype=torch.int64))) % (1 << 62)
    return total
